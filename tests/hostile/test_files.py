"""No file runs code, hangs, fills the memory or ends in a traceback; each gets its sentence, and is unreadable (2)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import saved_models

import hostile
from weighbridge.audit.inspect import describe, table
from weighbridge.audit.run import UNREADABLE
from weighbridge.cli.main import main
from weighbridge.contracts import FORMATS
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.formats.keras_archive import check_keras, keras_generation
from weighbridge.formats.saved_model import check_saved_model

KINDS = {"onnx": hostile.ONNX, "safetensors": hostile.SAFETENSORS, "pt2": hostile.PT2}
EVERY = [(suffix, name) for suffix, kind in KINDS.items() for name in kind]


@pytest.fixture(autouse=True)
def unmarked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Whatever ran code has left its mark."""
    mark = tmp_path / "ran"
    monkeypatch.setenv(hostile.MARK, str(mark))
    yield
    assert not mark.exists()


def test_the_planted_code_would_leave_its_mark(tmp_path: Path) -> None:
    exec(hostile.CODE)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()


@pytest.mark.parametrize(("suffix", "name"), EVERY)
def test_a_hostile_file_audits_as_unreadable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, name: str
) -> None:
    make, sentence = KINDS[suffix][name]
    path = tmp_path / f"{name}.{suffix}"
    make(path)
    budget = tmp_path / "budget.yaml"
    budget.write_text("thresholds: {size: 100 MB, nonzero: 100000}\n")
    out = tmp_path / "out"
    assert main(["audit", str(path), "--budget", str(budget), "--out", str(out)]) == UNREADABLE
    (row,) = json.loads((out / "audit.json").read_text())["rows"]
    assert row["status"] == "error"
    assert re.search(sentence, row["message"])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("suffix", "name"), EVERY)
def test_inspect_shows_it_or_says_why_not(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"{name}.{suffix}"
    KINDS[suffix][name][0](path)
    try:
        shown = table(describe(path))
    except WeighbridgeError as error:
        shown = str(error)
    assert shown
    assert not re.search("[\x00-\x09\x0b-\x1f]", shown)


@pytest.mark.parametrize("name", hostile.NO_FILES)
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.onnx"
    hostile.NO_FILES[name](path)
    budget = tmp_path / "budget.yaml"
    budget.write_text("thresholds: {size: 1 MB}\n")
    for verb in (
        ["inspect", str(path)],
        ["audit", str(path), "--budget", str(budget), "--out", str(tmp_path)],
    ):
        assert main(verb) == UNREADABLE


@pytest.mark.parametrize("name", hostile.KERAS)
def test_a_keras_archive_is_looked_at_before_keras_opens_it(tmp_path: Path, name: str) -> None:
    make, sentence = hostile.KERAS[name]
    make(tmp_path / "model.keras")
    read = keras_generation if name == "no_version" else check_keras
    with pytest.raises(WeighbridgeError, match=sentence):
        read(tmp_path / "model.keras")


@pytest.mark.parametrize("name", saved_models.SAVED_MODELS)
def test_a_saved_model_is_looked_at_before_tensorflow_opens_it(tmp_path: Path, name: str) -> None:
    make, sentence = saved_models.SAVED_MODELS[name]
    make(tmp_path / "net")
    with pytest.raises(WeighbridgeError, match=sentence):
        check_saved_model(tmp_path / "net")


def test_right_archives_are_opened(tmp_path: Path) -> None:
    hostile.program()(tmp_path / "net.pt2")
    model = FORMATS.get("exported").load("net.pt2", None, tmp_path)
    assert [one.name for one in FORMATS.get("exported").tensors(model)] == ["layer.weight", "layer.bias"]
    hostile.keras(hostile.layer("Dense"))(tmp_path / "net.keras")
    check_keras(tmp_path / "net.keras")
    saved_models.saved_model(layers=json.dumps(hostile.layer("Dense")))(tmp_path / "net")
    check_saved_model(tmp_path / "net")
    assert keras_generation(tmp_path / "net.keras") == 3


def test_names_from_a_model_are_shown_by_their_codes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def rename(model: object) -> None:
        model.graph.initializer[0].name = evil  # type: ignore[attr-defined]
        model.graph.node[0].input[1] = evil  # type: ignore[attr-defined]

    evil = "\x1b[31mred\n::error file=a.py::pwned\n##[group]" + "w" * 1_000_000
    hostile.proto(rename)(tmp_path / "net.onnx")
    assert main(["inspect", str(tmp_path / "net.onnx")]) == 0
    out = capfd.readouterr().out
    assert "\\x1b[31mred\\x0a::error" in out
    assert "\x1b" not in out
    assert "\n::" not in out
    assert len(out) < 200_000


@pytest.mark.worker
def test_a_file_that_crashes_its_reader_costs_its_own_row(tmp_path: Path) -> None:
    """found/a07: an operator reads a tensor that nothing has written. LiteRT opens it and dies of it."""

    pytest.importorskip("ai_edge_litert")
    crashing = Path(__file__).with_name("unwritten_input.tflite")
    for name in ("a.onnx", "z.onnx"):
        hostile.proto(hostile.void)(tmp_path / name)
    shutil.copy(crashing, tmp_path / "m.tflite")
    budget = tmp_path / "budget.yaml"
    budget.write_text("thresholds: {size: 1 MB, determinism: 0.1}\n")
    out = tmp_path / "out"
    assert main(["audit", str(tmp_path), "--budget", str(budget), "--out", str(out)]) == UNREADABLE
    rows = json.loads((out / "audit.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["pass", "error", "pass"]
    assert "SIGSEGV" in rows[1]["message"]
    assert (out / "audit.intoto.json").is_file()


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").touch()
    with pytest.raises(UsageError, match="unknown kind of file"):
        describe(tmp_path / "model.pkl")
