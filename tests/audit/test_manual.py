"""The commands of docs/audit.md, on a model that is within the budget that stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import onnx
import pytest
from tests.found.onnx_graphs import model, node, quantize, weight
from tests.shell import in_bash

PAGE = (Path(__file__).parents[2] / "docs/audit.md").read_text(encoding="utf-8")
(BUDGET,) = re.findall(r"```yaml\n(# budget\.yaml.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()
KEYS = re.findall(r"`(openssl .*?)`", PAGE.replace("\n", " "))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with the files that the commands name."""
    nodes = [node("MatMul", "x a", "h", "a"), node("Relu", "h", "r"), node("MatMul", "r b", "y", "b")]
    floats = model(nodes, {"a": weight(64, 128), "b": weight(128, 64)}, ["n", 64])
    int8 = quantize(tmp_path, floats, "static", float_share=0)
    onnx.save(int8.value, tmp_path / "model.onnx")
    for folder in ("release", "old"):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "model.onnx", tmp_path / folder / f"{folder}.onnx")
    (tmp_path / "budget.yaml").write_text(BUDGET)
    assert len(KEYS) == 2
    for command in KEYS:
        assert in_bash(command, tmp_path).returncode == 0, command
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_every_command_of_the_page_works(release: Path) -> None:
    pytest.importorskip("cryptography", reason="pip install 'weighbridge[sign]'")
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        done = in_bash(command, release)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "the signature is good" in in_bash(COMMANDS[3], release).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_record_is_of_that_file(release: Path) -> None:
    """One byte of metadata later it is another."""
    pytest.importorskip("cryptography", reason="pip install 'weighbridge[sign]'")
    assert in_bash(COMMANDS[2], release).returncode == 0
    changed = onnx.load(release / "model.onnx")
    changed.doc_string = "changed"
    onnx.save(changed, release / "model.onnx")
    assert in_bash(COMMANDS[3], release).returncode == 1
