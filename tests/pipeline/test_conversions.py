"""A conversion is carried out once for a model, however many ways lead through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from weighbridge.contracts import CONVERTERS, Context, Converter, Model
from weighbridge.core.data import Data
from weighbridge.run.pipeline import _Conversions


def test_the_same_model_is_converted_once_and_another_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def convert(model: Model, context: Context) -> Model:
        seen.append(model.value)
        return Model("b", f"converted {model.value}")

    monkeypatch.setitem(CONVERTERS._entries, "a->b", Converter("a", "b", convert))
    conversions = _Conversions(Context(tmp_path, tmp_path, 0, Data()))
    float_model, pruned = Model("a", "float"), Model("a", "pruned")
    assert conversions(float_model, "b") is conversions(float_model, "b")
    assert conversions(pruned, "b").value == "converted pruned"
    assert seen == ["float", "pruned"]
