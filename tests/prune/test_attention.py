"""What counts as attention whose heads can go, under whatever names and shapes, and why the rest keeps its heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.prune.attention import answers, network, pruned, widths

from weighbridge.contracts import FORMATS
from weighbridge.core.errors import StageError


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stated", {}, "'layers.0' does not run with fewer channels"),
        ("bound", {}, "'layers.0' does not run with fewer channels"),
        ("turned", {}, "computes something else than the original"),
        ("unsaid", {}, "no attention is found whose number of heads is known: .*or the step in `heads:`"),
        ("grouped", {}, "layers.0 keeps its 4 heads: no query, key and value of one width"),
        ("convs", {}, "only torch.nn.Linear layers are followed, not Conv1D"),
        ("torchs", {}, "layers.0.attention keeps its heads: torch.nn.MultiheadAttention"),
        ("apart", {"amount": 0.1}, "`amount: 0.1` removes no head: layers.0 has 4"),
        ("apart", {"layers": ["layer.0"]}, "no attention matches 'layer.0'; did you mean 'layers.0'"),
    ],
)
def test_what_cannot_do_with_fewer_is_told(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        pruned(network(name, tmp_path), tmp_path, **options)


def test_query_key_and_value_are_three_layers(tmp_path: Path) -> None:
    after = pruned(network("doubled", tmp_path), tmp_path)
    assert any("layers.0 keeps its 4 heads: no query, key and value" in note for note in after.notes)
    assert widths(after.value)["layers.0.query"] == (32, 32)
    assert widths(after.value)["layers.1.query"] == (32, 16)


def test_only_numbers_of_heads_and_widths_are_set_anew(tmp_path: Path) -> None:
    layer = pruned(network("numbers", tmp_path), tmp_path).value.layers[0]
    assert (layer.num_heads, layer.nhead, layer.inner_dim, layer.attn_dim) == (2, 32, 4, 16)
    assert layer.heads.shape == (3,)


def test_a_number_that_is_computed_is_left_to_the_module(tmp_path: Path) -> None:
    after = pruned(network("computed", tmp_path), tmp_path)
    assert widths(after.value)["layers.0.query"] == (32, 16)
    opened = FORMATS.get("torch").open(FORMATS.get("torch").save(after, tmp_path, "smaller"))
    np.testing.assert_array_equal(answers(opened.value), answers(after.value))


@pytest.mark.parametrize("options", [{}, {"heads": 4}])
def test_a_module_around_attention_is_none(tmp_path: Path, options: dict[str, Any]) -> None:
    for name, layer in (("blocks", "layers.0.attention"), ("around", "net.layers.0")):
        after = pruned(network(name, tmp_path), tmp_path, scope="local", **options)
        assert widths(after.value)[f"{layer}.query"] == (32, 16)
        assert not any("keeps its" in note for note in after.notes)


def test_the_whole_module_has_a_name_in_messages(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the module keeps its 4 heads"):
        pruned(network("around_grouped", tmp_path), tmp_path)


def test_the_number_of_heads_can_be_stated(tmp_path: Path) -> None:
    after = pruned(network("unsaid", tmp_path), tmp_path, heads=4)
    assert widths(after.value)["layers.0.query"] == (32, 16)


def test_attention_can_be_chosen_and_what_is_left_is_told(tmp_path: Path) -> None:
    after = pruned(network("apart", tmp_path), tmp_path, exclude=["layers.0"])
    assert widths(after.value)["layers.0.query"] == (32, 32)
    assert widths(after.value)["layers.1.query"] == (32, 16)
    mixed = pruned(network("both", tmp_path), tmp_path)
    assert any("layers.0 keeps its 4 heads" in note for note in mixed.notes)
