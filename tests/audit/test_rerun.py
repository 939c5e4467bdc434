"""`verify --rerun` measures again: what was recorded, on the same samples, against the same previous release."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from audited import LIMITS, Audited

from weighbridge.audit.run import OVER, WITHIN
from weighbridge.cli.main import main


def test_rerun_tells_files_of_one_name_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, spoil in (("good", ""), ("bad", "size")):
        (tmp_path / folder).mkdir()
        networks.write(tmp_path / folder, spoil)
    files = [str(tmp_path / folder / "net.onnx") for folder in ("good", "bad")]
    budget = str(networks.budget(tmp_path, LIMITS))
    record = str(tmp_path / "audit.intoto.json")
    assert main(["audit", *files, "--budget", budget, "--record", record, "--out", str(tmp_path)]) == OVER
    for order in (files, files[::-1]):
        code = main(["verify", record, *order, "--budget", budget, "--rerun", "--allow-breach"])
        assert "every verdict and every counted number is the same" in capsys.readouterr().out
        assert code == WITHIN


def test_rerun_measures_again(plain: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    assert plain.verify("--rerun", "--budget", plain.budget) == WITHIN
    assert "measured again" in capsys.readouterr().out
    statement = plain.statement()
    statement["predicate"]["results"][0]["verdicts"][1]["measured"] += 1
    plain.replace(statement)
    assert plain.verify() == WITHIN  # unsigned, and whoever altered it mended the checksum
    assert plain.verify("--rerun", "--budget", plain.budget) == OVER
    assert "nonzero: was " in capsys.readouterr().out


def test_rerun_misses_a_verdict_that_was_taken_out(
    plain: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    statement = plain.statement()
    del statement["predicate"]["results"][0]["verdicts"][0]
    plain.replace(statement)
    assert plain.verify("--rerun", "--budget", plain.budget) == OVER
    assert "size: the record has no verdict on it" in capsys.readouterr().out


def test_rerun_refuses_other_data(tmp_path: Path) -> None:
    networks.write_data(tmp_path)
    audited = Audited(tmp_path, signed=False)
    networks.budget(tmp_path, LIMITS, "data: data.py:splits\n")
    main(
        ["audit", str(audited.artifact), "--budget", str(audited.budget), "--out", str(tmp_path / "reports")]
    )
    assert audited.verify("--rerun", "--budget", audited.budget) == WITHIN
    (tmp_path / "data.py").write_text(networks.DATA + "# altered\n")
    assert audited.verify("--rerun", "--budget", audited.budget) == OVER


@pytest.mark.parametrize("altered", ["samples.npz", "previous.onnx", "previous.bin"])
def test_rerun_refuses_other_samples_and_another_previous_release(
    tmp_path: Path, altered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights of the previous release, and samples that no code reads, were no part of the record."""
    networks.write_data(tmp_path)
    kept = np.load(tmp_path / "data.npz")
    np.savez(tmp_path / "samples.npz", test_x=kept["inputs"], test_y=kept["targets"])
    onnx.save(
        networks.Network().model(), tmp_path / "previous.onnx",
        save_as_external_data=True, location="previous.bin", size_threshold=0,
    )  # fmt: skip
    audited = Audited(tmp_path, signed=False)
    limits = {"accuracy": 0.9, "accuracy_drop": 0.01}
    networks.budget(tmp_path, limits, "data: samples.npz\nbaseline: previous.onnx\n")
    arguments = [str(audited.artifact), "--budget", str(audited.budget), "--out", str(tmp_path / "reports")]
    assert main(["audit", *arguments]) == WITHIN
    assert audited.verify("--rerun", "--budget", audited.budget) == WITHIN
    (tmp_path / altered).write_bytes((tmp_path / altered).read_bytes() + b"\0")
    assert audited.verify("--rerun", "--budget", audited.budget) == OVER
    assert f"{altered}, which decided the verdicts, is not the file that was used" in capsys.readouterr().err


def test_materials_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Data and metric are each read by a `code.py`, in folders of their own."""
    networks.write_data(tmp_path)
    code = {
        "data": networks.DATA.replace('"data.py"', '"data/code.py"'),
        "metric": "def right(outputs, targets):\n    return outputs.argmax(1) == targets\nright.higher_is_better = True\n",
    }
    for name, text in code.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_text(text)
    audited = Audited(tmp_path, signed=False)
    networks.budget(tmp_path, {"accuracy": 0.9}, "data: data/code.py:splits\nmetric: metric/code.py:right\n")
    arguments = [str(audited.artifact), "--budget", str(audited.budget), "--out", str(tmp_path / "reports")]
    assert main(["audit", *arguments]) == WITHIN
    assert audited.verify("--rerun", "--budget", audited.budget) == WITHIN
    (tmp_path / "data" / "code.py").write_text(code["data"] + "# altered\n")
    assert audited.verify("--rerun", "--budget", audited.budget) == OVER


def test_rerun_tells_that_code_gave_other_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.write_data(tmp_path)
    audited = Audited(tmp_path, signed=False)
    networks.budget(tmp_path, {"accuracy": 0.9}, "data: data.py:splits\n")
    main(
        ["audit", str(audited.artifact), "--budget", str(audited.budget), "--out", str(tmp_path / "reports")]
    )
    assert audited.verify("--rerun", "--budget", audited.budget) == WITHIN
    assert "other samples" not in capsys.readouterr().out
    kept = np.load(tmp_path / "data.npz")
    np.savez(tmp_path / "data.npz", inputs=kept["inputs"][:150], targets=kept["targets"][:150])
    assert audited.verify("--rerun", "--budget", audited.budget) == WITHIN
    assert "its accuracy is of other samples than the record's" in capsys.readouterr().out
