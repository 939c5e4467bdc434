"""One fault for each threshold: a candidate that is worse in one way fails the item that exists for it, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import statuses

Project = Callable[..., Path]

# Exactly the original in every quantity, so that one fault moves as few of them as it can.
MODELS = '''
import torch
from torch import nn
from safetensors.torch import load_file
from model import HERE


class Net(nn.Module):
    def __init__(self, padding=0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 4))
        self.padding = nn.Parameter(torch.zeros(1, padding)) if padding else None

    def forward(self, x):
        return self.layers(x)


def load(net):
    net.layers.load_state_dict(load_file(HERE / "net.safetensors"))
    return net


def original():
    net = load(Net())
    with torch.no_grad():
        net.layers[2].weight[:, :48] = 0
        net.layers[2].weight.data[0, 0] = 0
    return net


def same_but_one_bit():
    net = original()
    with torch.no_grad():
        net.layers[0].bias[0] += 1e-6
    return net


def less_accurate():
    """The same numbers; two classes are swapped."""
    net = original()
    with torch.no_grad():
        net.layers[4].weight.copy_(net.layers[4].weight[[1, 0, 2, 3]])
        net.layers[4].bias.copy_(net.layers[4].bias[[1, 0, 2, 3]])
    return net


def larger():
    """Zeros that nothing reads."""
    net = Net(padding=4000)
    net.layers.load_state_dict(same_but_one_bit().layers.state_dict())
    return net


def denser():
    """A weight that was zero, and as good as zero, is none."""
    net = original()
    with torch.no_grad():
        net.layers[2].weight[net.layers[2].weight == 0] = 1e-9
    return net


def unfaithful():
    """Every output twice as large: the same answers."""
    net = original()
    with torch.no_grad():
        net.layers[4].weight *= 2
        net.layers[4].bias *= 2
    return net
'''

CASE = """
model: {{torch: models.py:original}}
candidate: {{torch: models.py:{candidate}}}
data: model.py:splits
thresholds:
  accuracy_drop: 0.02
  accuracy: 0.85
  size_ratio: 0.9
  weights_ratio: 0.9
  size: 60 kB
  nonzero: 6800
  nonzero_ratio: 0.62
  fidelity: 20
"""


@pytest.mark.parametrize(
    ("candidate", "caught_by"),
    [
        ("same_but_one_bit", set()),
        ("less_accurate", {"accuracy_drop", "accuracy", "fidelity"}),
        ("larger", {"size_ratio", "weights_ratio", "size"}),
        ("denser", {"nonzero", "nonzero_ratio"}),
        ("unfaithful", {"fidelity"}),
    ],
)
def test_a_worse_candidate(
    pytester: pytest.Pytester, project: Project, candidate: str, caught_by: set[str]
) -> None:
    folder = project(planted=CASE.format(candidate=candidate))
    (folder / "models.py").write_text(MODELS)
    pytester.runpytest_inprocess()
    failed = {name.partition("::")[2] for name, status in statuses(pytester.path).items() if status != "pass"}
    assert failed == caught_by
    assert set(statuses(pytester.path).values()) <= {"pass", "fail"}


@pytest.mark.parametrize(
    ("threshold", "stated"),
    [
        ("accuracy_drop", "-0.5"),
        ("flip_rate", "-0.5"),
        ("worst_class_drop", "-0.5"),
        ("relative_accuracy_drop", "-0.5"),
        ("accuracy", "0.999"),
        ("size", "1 kB"),
        ("gzip_size", "1 kB"),
        ("weights_size", "1 kB"),
        ("size_ratio", "50"),
        ("gzip_ratio", "50"),
        ("weights_ratio", "50"),
        ("nonzero", "10"),
        ("nonzero_ratio", "0.01"),
        ("fidelity", "150"),
        ("parameters", "10"),
        ("size", "{equals: 3}"),
        ("gzip_size", "{min: 1 GB}"),
    ],
)
def test_every_threshold_can_fail(
    pytester: pytest.Pytester, project: Project, threshold: str, stated: str
) -> None:
    """An impossible limit: no threshold passes whatever it is told."""
    project(
        planted=f"""
model: {{torch: model.py:net, weights: net.safetensors}}
data: model.py:splits
recipe: [{{prune: l1_unstructured, amount: 0.1}}]
thresholds:
  {threshold}: {stated}
"""
    )
    pytester.runpytest_inprocess()
    assert set(statuses(pytester.path).values()) == {"fail"}


def test_an_improvement_never_fails(pytester: pytest.Pytester, project: Project) -> None:
    """The candidate is right where the baseline is not, smaller, sparser."""
    folder = project(
        better="""
model: {torch: models.py:less_accurate}
candidate: {torch: models.py:original}
data: model.py:splits
thresholds: {accuracy_drop: 0.0, relative_accuracy_drop: 0, size_ratio: 0.99, nonzero_ratio: 0.999}
"""
    )
    (folder / "models.py").write_text(MODELS)
    pytester.runpytest_inprocess().assert_outcomes(passed=4)


def test_a_baseline_that_guesses_is_an_error(pytester: pytest.Pytester, project: Project) -> None:
    case = """
model: {torch: model.py:untrained}
data: model.py:splits
recipe: [{quantize: dynamic, engine: torch}]
thresholds: {accuracy_drop: 0.5, size_ratio: 2.5}
"""
    project(guesses=case, allowed=f"allow_chance: true\n{case}")
    result = pytester.runpytest_inprocess()
    assert statuses(pytester.path) == {
        "guesses::accuracy_drop": "error",
        "guesses::size_ratio": "pass",
        "allowed::accuracy_drop": "pass",
        "allowed::size_ratio": "pass",
    }
    result.stdout.fnmatch_lines(
        "*the baseline is no better than guessing: *always naming the most frequent answer*"
    )
