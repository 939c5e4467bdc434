"""Weight clustering: few distinct values a layer, to the end, and trained as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.found.torch_modules import apply, mlp, split
from tests.projects import CASE, weigh, write_project
from torch import nn

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.steps.cluster.kmeans import KmeansOptions, nearest


def clustered(folder: Path, module: nn.Module | None = None, **options: Any) -> Model:
    return apply("cluster:kmeans", module or mlp(12, 64, 3), folder, split(), **options)


def values(layer: Any) -> int:
    """Distinct ones that are not zero."""
    return len(np.unique(layer.weight.detach().numpy()[layer.weight.detach().numpy() != 0]))


@pytest.mark.parametrize("init", ["linear", "density"])
@pytest.mark.parametrize("epochs", [0, 2])
def test_each_layer_has_few_values(tmp_path: Path, init: str, epochs: int) -> None:
    made = clustered(tmp_path, clusters=8, epochs=epochs, init=init)
    assert [values(layer) for layer in made.value if isinstance(layer, nn.Linear)] == [8, 8]


def test_centroids_are_trained_and_what_shares_one_stays_together(tmp_path: Path) -> None:
    module = apply("finetune:supervised", mlp(12, 64, 3), tmp_path, split(), epochs=10, lr=1e-2).value
    before, after = (clustered(tmp_path, module, clusters=4, epochs=epochs, lr=3e-3) for epochs in (0, 5))
    x, y = (torch.from_numpy(each) for each in split()["train"])
    losses = [nn.functional.cross_entropy(made.value(x), y).item() for made in (before, after)]
    assert losses[1] < 0.9 * losses[0]
    for old, new in zip(before.value, after.value, strict=True):
        if isinstance(old, nn.Linear):
            _, first = np.unique(old.weight.detach().numpy(), return_inverse=True)
            _, last = np.unique(new.weight.detach().numpy(), return_inverse=True)
            assert len({*zip(first.ravel().tolist(), last.ravel().tolist(), strict=True)}) == 4
            assert not torch.equal(old.weight, new.weight)


def test_the_zeros_of_a_pruning_stay_and_are_no_cluster(tmp_path: Path) -> None:
    module = mlp(12, 64, 3)
    with torch.no_grad():
        module[0].weight[abs(module[0].weight) < 0.15] = 0
    zeros = module[0].weight == 0
    made = clustered(tmp_path, module, clusters=4, epochs=2)
    assert torch.equal(made.value[0].weight == 0, zeros)
    assert values(made.value[0]) == 4
    assert (module[0].weight == 0).sum() == zeros.sum()


def test_a_tie_stays_a_tie(tmp_path: Path) -> None:
    module = mlp(12, 12, 12, 3)
    module[2].weight = module[0].weight
    made = clustered(tmp_path, module, clusters=4)
    assert made.value[0].weight is made.value[2].weight
    assert values(made.value[0]) == 4
    assert any("shares its weight with" in note for note in made.notes)


def test_what_is_excluded_or_has_few_values_is_left_and_said(tmp_path: Path) -> None:
    module = mlp(12, 64, 3)
    with torch.no_grad():
        module[0].weight.copy_(module[0].weight.sign())
    made = clustered(tmp_path, module, clusters=4, epochs=0)
    assert torch.equal(made.value[0].weight, module[0].weight)
    assert "left alone, since they have no more than 4 values: 0" in made.notes
    made = clustered(tmp_path, clusters=4, epochs=0, exclude=["0"])
    assert values(made.value[0]) > 4 == values(made.value[2])
    with pytest.raises(StageError, match="cluster"):
        clustered(tmp_path, layers=["nothing"])


@pytest.mark.parametrize("epochs", [0, 1])
def test_where_no_layer_has_enough_values_nothing_is_clustered_and_that_is_an_error(
    tmp_path: Path, epochs: int
) -> None:
    """Training alone would change the weights too."""
    module = nn.Sequential(nn.Linear(12, 1), nn.ReLU(), nn.Linear(1, 3))
    with pytest.raises(StageError, match="no chosen layer has more than 16 values: 0, 2"):
        clustered(tmp_path, module, clusters=16, epochs=epochs)


@given(
    arrays(np.float32, st.integers(3, 200), elements=st.floats(-100, 100, width=16)),
    st.integers(2, 8),
    st.sampled_from(["linear", "density"]),
)
def test_every_number_is_in_the_cluster_whose_mean_is_nearest(numbers: Any, clusters: int, init: Any) -> None:
    assigned = nearest(numbers, KmeansOptions(clusters=clusters, init=init))
    assert assigned.min() >= 0
    assert assigned.max() < clusters
    used = np.unique(assigned)
    means = np.array([numbers[assigned == one].astype(np.float64).mean() for one in used])
    spread = float(np.ptp(numbers)) or 1.0
    own = abs(numbers - means[np.searchsorted(used, assigned)])
    best = abs(numbers[:, None] - means).min(1)
    assert (own <= best + 1e-2 * spread).all()


def test_k_means_finds_clusters_that_are_there() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 1000)
    numbers = (truth * 10 + random.normal(0, 0.1, 1000)).astype(np.float32)
    assert np.array_equal(nearest(numbers, KmeansOptions(clusters=4)), truth)


@pytest.mark.slow
def test_a_file_compresses_better_as_onnx_too(tmp_path: Path) -> None:
    recipe = "engine: onnxruntime\nrecipe:\n  - {cluster: kmeans, clusters: 4, epochs: 3}\n"
    text = CASE.partition("recipe:")[0] + recipe + "thresholds: {gzip_ratio: 5, accuracy_drop: 0.1}\n"
    weighed = weigh(write_project(tmp_path), text)
    assert {one.threshold: one.status.value for one in weighed.verdicts} == {
        "gzip_ratio": "pass",
        "accuracy_drop": "pass",
    }


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            "{finetune: supervised, epochs: 1}",
            "fine-tune first, then cluster: training moves each weight by itself",
        ),
        ("{prune: gradual, amount: 0.5}", "prune first, then cluster: training moves each weight by itself"),
        (
            "{equalize: cross_layer}",
            "leave out `equalize` or `cluster`: a scale a channel makes many values of few",
        ),
    ],
)
def test_what_makes_many_values_of_few_is_a_fault_of_the_file(
    pytester: pytest.Pytester, step: str, told: str
) -> None:
    recipe = f"recipe:\n  - cluster: kmeans\n  - {step}\n"
    text = CASE.partition("recipe:")[0] + recipe + "thresholds: {accuracy_drop: 0.5}\n"
    (write_project(pytester.path) / "net.yaml").write_text(text)
    done = pytester.runpytest_inprocess()
    done.stdout.fnmatch_lines([f"*net.yaml:6:*{told}*"])
