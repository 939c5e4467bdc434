"""`weighbridge new`: every format suggests a recipe that is a valid case, read from what the format says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from weighbridge.case.load import load_cases
from weighbridge.case.scaffold import Subject, scaffold
from weighbridge.contracts import ENGINES, FORMATS, Model
from weighbridge.core.errors import UsageError
from weighbridge.engines.base import EngineBase
from weighbridge.formats.base import FormatBase
from weighbridge.formats.suffixes import format_of

RUNNING = [format_.name for format_ in FORMATS if ENGINES.get(format_.engine).runs]


def named(name: str) -> str:
    format_ = FORMATS.get(name)
    return f"model{format_.suffixes[0]}" if format_.whole_file else "model.py:network"


@pytest.mark.parametrize("data", [None, "model.py:data"])
@pytest.mark.parametrize("name", RUNNING)
def test_what_a_format_suggests_is_a_valid_case(name: str, data: str | None, tmp_path: Path) -> None:
    text = scaffold(Subject(named(name), data=data)).replace(", weights: model.safetensors", "")
    (tmp_path / "case.yaml").write_text(text)
    (case,) = load_cases(tmp_path / "case.yaml")
    assert case.model.format == name
    assert case.recipe


@pytest.mark.parametrize("model", ["model.h6", "model", "model.ONNXX"])
def test_a_file_of_no_format_is_refused_with_what_there_is(model: str) -> None:
    with pytest.raises(UsageError, match=r"valid: .*\.onnx.*file\.py:callable"):
        scaffold(Subject(model))


def test_a_suffix_is_read_whatever_its_case() -> None:
    assert format_of(Path("NET.ONNX")) == "onnx"
    assert scaffold(Subject("NET.ONNX")).startswith("model: {onnx: NET.ONNX}")


class Half(FormatBase):
    """A format in one file: nothing of the package knows its name."""

    name = "half"
    suffixes = (".half",)
    engine = "halves"
    declares_inputs = True

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        return (("prune: half", "amount: 0.5"),)


class Halves(EngineBase):
    name = "halves"
    formats = ("half",)
    runs = False


def test_a_new_format_and_engine_are_a_file_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS._entries, "half", Half())
    monkeypatch.setitem(ENGINES._entries, "halves", Halves())
    assert format_of(Path("a.half")) == "half"
    assert "inputs: random" in scaffold(Subject("a.half"))
    assert "  - prune: half\n    amount: 0.5" in scaffold(Subject("a.half"))
    assert FORMATS.get("half").companions(Path("a.half")) == ()
    assert FORMATS.get("half").ports(Model("half", None)) == ([], [])
