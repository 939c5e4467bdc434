"""Opening an exported program runs no code from it."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from weighbridge.contracts import FORMATS
from weighbridge.core.errors import StageError

torch = pytest.importorskip("torch")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def exported(path: Path) -> Path:
    program = torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(1, 4),))
    torch.export.save(program, path)
    return path


def test_a_good_archive_opens(tmp_path: Path) -> None:
    path = exported(tmp_path / "good.pt2")
    model = FORMATS.get("exported").load(path.name, None, tmp_path)
    assert {tensor.name for tensor in FORMATS.get("exported").tensors(model)} == {"weight", "bias"}


def test_sample_inputs_that_are_a_pickle_of_code_are_not_run(tmp_path: Path) -> None:
    good, bad = exported(tmp_path / "good.pt2"), tmp_path / "bad.pt2"
    plant(good, bad, tmp_path / "ran")
    with pytest.raises(StageError, match=r"bad\.pt2 is not opened: it holds pickled code"):
        FORMATS.get("exported").load(bad.name, None, tmp_path)
    assert not (tmp_path / "ran").exists()


def plant(good: Path, bad: Path, witness: Path) -> None:
    """Write `good` with sample inputs that leave a witness when they are unpickled."""
    planted = 0
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if "sample_inputs" in entry.filename:
                content, planted = hostile(content, witness), planted + 1
            target.writestr(entry, content)
    assert planted


def hostile(content: bytes, witness: Path) -> bytes:
    """A checkpoint with the pickle of something that writes a file when it is loaded."""
    payload = pickle.dumps(Hostile(witness), protocol=2)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return payload
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w") as target:
        for entry in source.infolist():
            target.writestr(entry, payload if entry.filename.endswith("data.pkl") else source.read(entry))
    return made.getvalue()
