"""Every line of a budget catches the fault it exists for, and no other line does; exit codes; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import networks
import pytest

from weighbridge.audit.budget import find_artifacts, labels, read_budget
from weighbridge.audit.run import OVER, UNDECIDED, UNREADABLE, WITHIN
from weighbridge.cli.main import main
from weighbridge.core.errors import CaseError, UsageError

# What the unspoiled network just keeps.
KEPT: dict[str, object] = {
    "size": "13 kB",
    "gzip_size": "5 kB",
    "parameters": 2460,
    "nonzero": 1400,
    "largest_tensor": 1100,
    "operators": "{allowed: [DequantizeLinear, MatMul, Concat, Relu, Gemm, Add, Cast]}",
    "dtypes": "{allowed: [int8, float32]}",
    "opset": "{min: 13, max: 18}",
    "domains": "{allowed: [ai.onnx]}",
    "quantized": "{min: 0.88, granularity: per_channel, symmetric: true}",
    "accuracy": "{min: 0.9}",
}
# A spoiled property -> the line that must catch it.
SPOILED = {name: name for name in KEPT} | {"granularity": "quantized", "symmetric": "quantized"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("budget")
    networks.write_data(folder)
    networks.budget(folder, KEPT, "data: data.py:splits\n")
    return folder


def run(
    folder: Path, *artifacts: Path, budget: str = "budget.yaml", arguments: tuple[str, ...] = ()
) -> tuple[int, Any]:
    """Exit code and report of `weighbridge audit`."""
    out = folder / "reports"
    shutil.rmtree(out, ignore_errors=True)
    code = main(
        ["audit", *map(str, artifacts), "--budget", str(folder / budget), "--out", str(out), *arguments]
    )
    report = out / "audit.json"
    return code, json.loads(report.read_text()) if report.exists() else None


def missed(report: Any) -> list[str]:
    return [
        verdict["threshold"]
        for row in report["rows"]
        for verdict in row["verdicts"]
        if verdict["status"] != "pass"
    ]


def test_the_unspoiled_network_keeps_every_line(shared: Path) -> None:
    code, report = run(shared, networks.write(shared))
    assert missed(report) == []
    assert code == WITHIN
    assert {verdict["threshold"] for verdict in report["rows"][0]["verdicts"]} == set(KEPT)


@pytest.mark.parametrize(("spoil", "line"), SPOILED.items())
def test_a_breach_fails_just_its_line(shared: Path, spoil: str, line: str) -> None:
    code, report = run(shared, networks.write(shared, spoil, "spoiled.onnx"))
    assert missed(report) == [line]
    assert code == OVER


TIMED = {"latency": ("60 s", "1e-6"), "peak_memory": ("4 GB", "1 b"), "cold_start": ("60 s", "1e-6")}
"""Limits that any machine keeps, and limits that none can."""


def breach_of(line: str, others: list[str], folder: Path) -> None:
    limits = {name: TIMED[name][name == line] for name in (line, *others)}
    networks.budget(folder, limits, name="timed.yaml")
    code, report = run(folder, networks.write(folder), budget="timed.yaml")
    assert missed(report) == [line]
    assert code == OVER


@pytest.mark.slow
@pytest.mark.parametrize(("line", "other"), [("latency", "peak_memory"), ("peak_memory", "latency")])
def test_a_breach_of_time_or_memory_fails_just_its_line(shared: Path, line: str, other: str) -> None:
    breach_of(line, [other], shared)


@pytest.mark.slow
def test_a_breach_of_the_cold_start_fails_just_its_line(shared: Path) -> None:
    """Slow, since some ten fresh processes have to start before the interval is bounded."""
    breach_of("cold_start", ["latency", "peak_memory"], shared)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("operators", "1 LeakyRelu"),
        ("dtypes", "1 float64"),
        ("domains", "com.microsoft"),
        ("quantized", "'third.weight' is float32"),
        ("granularity", "'third.weight' is int8 per_tensor symmetric"),
        ("largest_tensor", "it is 'head.weight'"),
    ],
)
def test_the_message_names_the_offender(shared: Path, spoil: str, words: str) -> None:
    limits = {**KEPT, "largest_tensor": 1000} if spoil == "largest_tensor" else KEPT
    networks.budget(shared, limits, "data: data.py:splits\n", "named.yaml")
    path = networks.write(shared, "" if spoil == "largest_tensor" else spoil, "spoiled.onnx")
    _, report = run(shared, path, budget="named.yaml")
    messages = [
        verdict["message"] for verdict in report["rows"][0]["verdicts"] if verdict["status"] == "fail"
    ]
    assert [words in message for message in messages] == [True]


def test_the_size_is_of_the_file_itself(shared: Path) -> None:
    path = networks.write(shared)
    path.write_bytes(path.read_bytes() + b"\xba\x06\x00" * 500)  # unknown fields, which rewriting would drop
    _, report = run(shared, path)
    assert report["rows"][0]["measurements"]["size"]["candidate"] == path.stat().st_size


def test_relative_to_the_previous_release(shared: Path) -> None:
    networks.write(shared, name="previous.onnx")
    networks.budget(shared, {"size_ratio": 0.99}, "baseline: previous.onnx\n", "relative.yaml")
    assert run(shared, networks.write(shared), budget="relative.yaml")[0] == WITHIN
    code, report = run(shared, networks.write(shared, "size", "larger.onnx"), budget="relative.yaml")
    assert (code, missed(report)) == (OVER, ["size_ratio"])


def test_what_nobody_asked_for_costs_no_verdict(shared: Path) -> None:
    """An inner axis is free, so no samples can be made up to compare the outputs: the sizes are judged all the same."""
    import onnx

    for name in ("free.onnx", "free-before.onnx"):
        model = networks.Network().model()
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "free"
        onnx.save(model, shared / name)
    networks.budget(shared, {"size_ratio": 0.99}, "baseline: free-before.onnx\n", "free.yaml")
    code, report = run(shared, shared / "free.onnx", budget="free.yaml")
    assert code == WITHIN
    assert "fidelity" not in report["rows"][0]["measurements"]


def test_a_line_that_cannot_be_measured_leaves_the_others_their_verdict(shared: Path) -> None:
    import onnx

    model = networks.Network().model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "free"
    onnx.save(model, shared / "free.onnx")
    networks.budget(shared, {"fidelity": 20, "size": "13 kB"}, "baseline: free.onnx\n", "free.yaml")
    code, report = run(shared, shared / "free.onnx", budget="free.yaml")
    assert code == UNDECIDED
    assert {one["threshold"]: one["status"] for one in report["rows"][0]["verdicts"]} == {
        "fidelity": "error",
        "size": "pass",
    }
    assert "neither `data` nor `inputs`" in report["rows"][0]["verdicts"][0]["message"]


def test_many_in_one_table(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared / "release"
    folder.mkdir(exist_ok=True)
    for name, spoil in (("a.onnx", ""), ("b.onnx", "size"), ("c.onnx", "")):
        networks.write(folder, spoil, name)
    (folder / "notes.txt").write_text("not a model")
    for named in (folder, folder / "*.onnx"):
        code, report = run(shared, named)
        assert [(row["name"], row["status"]) for row in report["rows"]] == [
            ("a.onnx", "pass"), ("b.onnx", "fail"), ("c.onnx", "pass")]  # fmt: skip
        assert code == OVER
        assert "2 pass" in capsys.readouterr().out


def test_an_unreadable_file_stands_before_a_breach(shared: Path) -> None:
    broken = shared / "broken.onnx"
    broken.write_bytes(networks.write(shared).read_bytes()[:500])
    code, report = run(shared, networks.write(shared, "size", "over.onnx"), broken)
    assert code == UNREADABLE
    assert {row["status"] for row in report["rows"]} == {"fail", "error"}


def test_undecided_is_neither_kept_nor_missed(shared: Path) -> None:
    absent = "requires: [{package: no_such_package_at_all, install: pip install it}]\n"
    networks.budget(shared, {"size": "12 kB"}, absent, "absent.yaml")
    code, report = run(shared, networks.write(shared), budget="absent.yaml")
    assert (code, report["rows"][0]["status"]) == (UNDECIDED, "skip")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("thresholds: {sise: 1}\n", "did you mean 'size'"),
        ("model: {onnx: a.onnx}\nthresholds: {size: 1}\n", "`model` does not belong"),
        ("recipe: []\nthresholds: {size: 1}\n", "`recipe` does not belong"),
        ("thresholds: {accuracy: 0.9}\n", "needs `data`"),
        ("thresholds: {size_ratio: 2}\n", "compares two models"),
        ("baseline: gone.onnx\nthresholds: {size_ratio: 2}\n", "no file"),
        ("thresholds: {quantized: {granularity: per_chanel}}\n", "per_channel"),
        ("- 1\n", "a budget is a mapping"),
    ],
)
def test_a_faulty_budget_is_said_with_its_line(
    shared: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (shared / "faulty.yaml").write_text(text)
    code, report = run(shared, networks.write(shared), budget="faulty.yaml")
    error = capsys.readouterr().err
    assert (code, report) == (UNREADABLE, None)
    assert words in error
    assert "faulty.yaml:" in error


def test_what_cannot_be_measured_is_said_when_the_budget_is_read(shared: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    path = shared / "bare.safetensors"
    save_file({"weight": np.ones((4, 4), np.float32)}, path)
    for name in ("opset", "domains", "operators"):
        with pytest.raises(CaseError, match=f"'{name}' is a quantity of .*; bare.safetensors is safetensors"):
            read_budget(networks.budget(shared, {name: 1}, name="bare.yaml"), [path])
    with pytest.raises(CaseError, match="'accuracy' needs a model that runs; bare"):
        read_budget(networks.budget(shared, {"accuracy": 0.9}, "data: data.py:splits\n", "bare.yaml"), [path])
    networks.budget(shared, {"size": "1 kB", "nonzero": 15, "parameters": 16}, name="bare.yaml")
    code, report = run(shared, path, budget="bare.yaml")
    assert (code, missed(report)) == (OVER, ["nonzero"])


def test_artifacts_are_found_and_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    for name in ("a/one/m.onnx", "a/two/m.onnx", "b/n.onnx"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        networks.write(path.parent, name=path.name)
    found = find_artifacts([str(tmp_path), str(tmp_path / "b" / "n.onnx")])
    assert sorted(labels(found).values()) == ["n.onnx", "one/m.onnx", "two/m.onnx"]


@pytest.mark.parametrize("name", ["gone.onnx", "*.tflite", "empty", "model.pickle"])
def test_a_name_that_is_no_artifact_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.pickle").write_bytes(b"")
    with pytest.raises(UsageError):
        find_artifacts([str(tmp_path / name)])
