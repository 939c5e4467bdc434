"""Heads taken out of attention: which go, and what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.projects import weigh
from tests.prune.attention import NETWORKS, X, Y, answers, kept, network, pruned, widths

from weighbridge.contracts import FORMATS, Context
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.prune import torch_heads


@pytest.mark.parametrize("method", ["heads", "taylor_heads"])
@pytest.mark.parametrize("name", ["apart", "together", "by_head"])
def test_half_of_the_heads_are_gone_and_the_checkpoint_opens(tmp_path: Path, name: str, method: str) -> None:
    before = network(name, tmp_path)
    after = pruned(before, tmp_path, method, scope="local")
    own = widths(after.value)
    parts = ["query", "key", "value"] if name == "apart" else ["qkv"]
    out = "out" if name == "apart" else "proj"
    for layer in ("layers.0", "layers.1"):
        assert {own[f"{layer}.{part}"] for part in parts} == {(32, 16 if name == "apart" else 48)}
        assert own[f"{layer}.{out}"] == (16, 32)
    assert own["embed"] == widths(before.value)["embed"]
    assert any("heads removed: layers.0 4 → 2, layers.1 4 → 2" in note for note in after.notes)
    artifact = FORMATS.get("torch").save(after, tmp_path, "smaller")
    opened = FORMATS.get("torch").open(artifact)
    np.testing.assert_array_equal(answers(opened.value), answers(after.value))


def test_the_heads_that_are_worth_least_go(tmp_path: Path) -> None:
    """Two heads that give nothing: without them the answers stay."""
    model = network("apart", tmp_path)
    with torch.no_grad():
        for layer in model.value.layers:
            for head in (1, 2):
                rows = slice(8 * head, 8 * head + 8)
                for part in (layer.query, layer.key, layer.value):
                    part.weight[rows] *= 1e-4
                    part.bias[rows] = 0
    after = pruned(model, tmp_path, scope="local")
    np.testing.assert_allclose(answers(after.value), answers(model.value), atol=1e-4)
    kept = [*range(8), *range(24, 32)]
    np.testing.assert_array_equal(
        after.value.layers[0].query.weight.detach(), model.value.layers[0].query.weight.detach()[kept]
    )


def test_across_all_attention_one_head_stays_in_each(tmp_path: Path) -> None:
    """The first attention gives next to nothing, by its weights and by the loss alike."""
    for method in ("heads", "taylor_heads"):
        model = network("apart", tmp_path)
        with torch.no_grad():
            for part in (layer := model.value.layers[0]).children():
                part.weight *= 1e-3
            layer.out.bias.zero_()
        after = pruned(model, tmp_path, method)
        assert [layer.query.out_features for layer in after.value.layers] == [8, 24]


def test_a_tied_weight_is_refused_by_name(tmp_path: Path) -> None:
    """Its two places lose other heads, and the module makes one of them again when it is opened."""
    for name, part in (("tied_parts", "query"), ("tied_out", "out"), ("tied_memory", "key")):
        one, other = (f"layers.{place}.{part}.weight" for place in (0, 1))
        with pytest.raises(StageError, match=f"{one} and {other} are one parameter.*'layers.0' to `exclude`"):
            pruned(network(name, tmp_path), tmp_path)
        after = pruned(network(name, tmp_path), tmp_path, exclude=["layers.0", "layers.1"])
        assert widths(after.value)["layers.2.query"] == (32, 16)


def test_one_attention_at_two_places_is_cut_once(tmp_path: Path) -> None:
    for method in ("heads", "taylor_heads"):
        after = pruned(network("shared", tmp_path), tmp_path, method)
        assert after.value.layers[0] is after.value.layers[1]
        opened = FORMATS.get("torch").open(FORMATS.get("torch").save(after, tmp_path, method))
        np.testing.assert_array_equal(answers(opened.value), answers(after.value))


def test_what_shares_memory_beside_attention_still_does(tmp_path: Path) -> None:
    after = pruned(network("tied_elsewhere", tmp_path), tmp_path).value
    assert after.unread.embed.weight.data_ptr() == after.net.embed.weight.data_ptr()


@pytest.mark.parametrize("method", ["heads", "taylor_heads"])
def test_frozen_weights_stay_frozen(tmp_path: Path, method: str) -> None:
    model = network("apart", tmp_path)
    model.value.requires_grad_(False)
    model.value.head.requires_grad_(True)
    after = pruned(model, tmp_path, method)
    trained = [name for name, parameter in after.value.named_parameters() if parameter.requires_grad]
    assert trained == ["head.weight", "head.bias"]
    assert widths(after.value) != widths(model.value)


def test_the_rank_says_which_weights_are_large(tmp_path: Path) -> None:
    """Heads 0 and 1 have one large weight each, heads 2 and 3 many small ones."""
    model = network("single", tmp_path)
    with torch.no_grad():
        for part in model.value.layers[0].children():
            part.weight.fill_(0.1)
        for part in (model.value.layers[0].query, model.value.layers[0].key, model.value.layers[0].value):
            part.weight[:16] = 0
        model.value.layers[0].out.weight[:, :16] = 0
        model.value.layers[0].query.weight[[0, 8], [0, 1]] = 10
        model.value.layers[0].query.weight[[16, 24], [0, 1]] = 0.2
    assert kept(model, pruned(model, tmp_path), "layers.0.query") == [0, 1]
    assert kept(model, pruned(model, tmp_path, rank="l1"), "layers.0.query") == [2, 3]


def test_the_loss_is_asked_however_the_next_layer_reads(tmp_path: Path) -> None:
    """Heads 1 and 2 give next to nothing."""
    for name in ("single", "flat", "pooled", "named", "halves"):
        model = network(name, tmp_path)
        with torch.no_grad():
            model.value.layers[0].out.weight[:, 8:24] *= 1e-4
        after = pruned(model, tmp_path, "taylor_heads")
        assert kept(model, after, "layers.0.query") == [0, 3], name


def test_steps_count_as_those_of_their_sample_along_whatever_axes() -> None:
    """Worth is a sum of what single samples give, so that what one gives and another takes does not cancel."""

    def gates(*shape: int) -> torch.Tensor:
        read = torch.arange(96.0).reshape(shape).requires_grad_()
        (read * torch.linspace(-1, 1, 96).reshape(shape)).sum().backward()
        return torch_heads._gates(read, 4, 2)

    expected = (torch.arange(96.0) * torch.linspace(-1, 1, 96)).reshape(2, 3, 4, 4).sum((1, 3))
    for shape in ((2, 3, 16), (6, 16), (2, 3, 1, 16)):
        torch.testing.assert_close(gates(*shape), expected)
    assert gates(3, 32).shape == (1, 4)


def test_worth_is_a_sum_over_samples_whatever_the_batches(tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(
        "from torch.nn.functional import cross_entropy\n\n\n"
        "def summed(outputs, targets):\n    return cross_entropy(outputs, targets, reduction='sum')\n"
    )
    data = Data({"test": (X, Y), "train": (X, Y)})
    module = network("apart", tmp_path).value
    worth = []
    for size in (24, 8, 7):
        options = torch_heads.TaylorHeadOptions(loss="loss.py:summed", batch_size=size)
        found, _ = torch_heads.find(module, None, options, data.sample(8))
        context = Context(tmp_path, tmp_path, 0, data)
        worth.append(torch_heads._by_loss(module, found, options, context))
    np.testing.assert_allclose(worth[1], worth[0], rtol=1e-4)
    np.testing.assert_allclose(worth[2], worth[0], rtol=1e-4)


def test_every_run_of_an_attention_counts(tmp_path: Path) -> None:
    """Only the first run does something; heads 0 and 1 do most of it."""
    model = network("twice", tmp_path)
    with torch.no_grad():
        model.value.layer.out.weight[:, 16:] *= 1e-4
    assert kept(model, pruned(model, tmp_path, "taylor_heads"), "layer.query") == [0, 1]


def test_attention_that_the_loss_does_not_ask_for_goes_first(tmp_path: Path) -> None:
    after = pruned(network("unread", tmp_path), tmp_path, "taylor_heads", amount=0.375)
    assert widths(after.value)["unread.layers.0.query"] == (32, 8)
    assert widths(after.value)["net.layers.0.query"] == (32, 32)


def test_a_loss_without_a_way_back_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"no gradient comes from the loss to net\.layers\.0.*`prune: heads`"
    ):
        pruned(network("no_grad", tmp_path), tmp_path, "taylor_heads")
    with pytest.raises(StageError, match=r"and back, as `taylor_heads` needs .*inplace operation"):
        pruned(network("in_place", tmp_path), tmp_path, "taylor_heads")
    assert widths(pruned(network("in_place", tmp_path), tmp_path).value)["layers.0.query"] == (32, 16)


@pytest.mark.slow
def test_it_ships_smaller_through_the_exporter_and_in_integers(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        NETWORKS + "\nimport numpy as np\n"
        "x = np.random.default_rng(2).standard_normal((64, 5, 6)).astype('float32')\n"
        "def data(): return {'test': x, 'calibration': x}\n"
    )
    sizes = {}
    for step in ("", "  - {prune: heads, amount: 0.5}\n"):
        found = weigh(
            tmp_path,
            "model: {torch: nets.py:together}\ndata: nets.py:data\n"
            f"recipe:\n{step}  - {{quantize: static, engine: onnxruntime, reduce_range: true}}\n"
            "thresholds: {size: 1 MB}\n",
        )
        assert not found.failed, (found.message, found.failed)
        sizes[step != ""] = found.measurements["size"].candidate
    assert sizes[True] < 0.8 * sizes[False]
