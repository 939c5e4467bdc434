"""Runs in MLflow's own tracking database."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.report import made_reports as made

from weighbridge.report.mlflow import MlFlow

mlflow: Any = pytest.importorskip("mlflow", reason="pip install 'weighbridge[mlflow]'")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database before a run: making its tables takes seconds, once for all tests."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    uri = f"sqlite:///{shutil.copy(empty, tmp_path)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(None)
    return mlflow.MlflowClient(tracking_uri=uri)


def runs(client: Any, name: str = "weighbridge") -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_a_run_has_a_run_for_each_case_with_what_was_measured(tmp_path: Path, client: Any) -> None:
    report = made.report(8)
    assert MlFlow().write(report, tmp_path) == []
    found = {run.data.tags["mlflow.runName"]: run for run in runs(client)}
    assert len(found) == 9
    whole = found.pop(f"weighbridge {report['run'][:8]}")
    assert whole.data.tags["mlflow.source.git.commit"] == report["commit"]
    assert sum(whole.data.metrics.values()) == 8
    for row in report["rows"]:
        run = found[row["name"]]
        assert run.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert run.data.tags["status"] == row["status"]
        for name, one in row["measurements"].items():
            assert run.data.metrics[f"{name}.candidate"] == pytest.approx(one["candidate"])
        for verdict in row["verdicts"]:
            assert run.data.tags[f"verdict.{verdict['threshold']}"] == verdict["status"]
        ended = "FINISHED" if row["status"] in ("pass", "skip", "xfail") else "FAILED"
        assert run.info.status == ended


@pytest.mark.slow
def test_the_times_are_those_of_the_cases_and_end_when_the_run_did(tmp_path: Path, client: Any) -> None:
    report = made.report(8)
    MlFlow().write(report, tmp_path)
    found = {run.data.tags["mlflow.runName"]: run.info for run in runs(client)}
    whole = found.pop(f"weighbridge {report['run'][:8]}")
    assert whole.end_time == datetime.fromisoformat(report["created"]).timestamp() * 1000
    took = {row["name"]: round(1000 * row["seconds"]) for row in report["rows"]}
    assert {name: info.end_time - info.start_time for name, info in found.items()} == took
    assert whole.start_time == min(info.start_time for info in found.values())
    assert whole.end_time == max(info.end_time for info in found.values())


def test_what_could_not_be_written_to_its_end_is_failed_and_not_running(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the second case."""
    report = made.report(3)
    log, logged = mlflow.MlflowClient.log_batch, []

    def full(*arguments: Any, **more: Any) -> None:
        logged.append(arguments)
        if len(logged) == 3:
            raise RuntimeError("disk full")
        log(*arguments, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", full)
    with pytest.raises(OSError, match="MLflow: RuntimeError: disk full"):
        MlFlow().write(report, tmp_path)
    found = {run.data.tags["mlflow.runName"]: run.info.status for run in runs(client)}
    first, second, _ = report["rows"]
    assert found == {
        f"weighbridge {report['run'][:8]}": "FAILED",
        first["name"]: "FINISHED" if first["status"] in ("pass", "skip", "xfail") else "FAILED",
        second["name"]: "FAILED",
    }


def test_the_experiment_is_mlflows_to_name_and_is_used_again(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "releases")
    for _ in range(2):
        MlFlow().write(made.report(1), tmp_path)
    assert len(runs(client, "releases")) == 4
    assert runs(client) == []


def test_hostile_names_and_long_messages_are_taken(tmp_path: Path, client: Any) -> None:
    report = made.report(1)
    report["rows"][0].update(name="a\x1b[31m:b", message="x" * 100_000)
    report["rows"][0]["measurements"] = {
        "size/*?": {"baseline": None, "candidate": 3.0, "unit": "bytes", "details": {}}
    }
    MlFlow().write(report, tmp_path)
    (case,) = (run for run in runs(client) if "mlflow.parentRunId" in run.data.tags)
    assert "\x1b" not in case.data.tags["mlflow.runName"]
    assert len(case.data.tags["message"]) == 500
    assert case.data.metrics["size/__.candidate"] == 3


def test_odd_values_are_taken_and_damaged_ones_are_one_sentence(tmp_path: Path, client: Any) -> None:
    MlFlow().write({**made.odd(), "created": made.report(1)["created"]}, tmp_path)
    assert {run.info.status for run in runs(client)} <= {"FINISHED", "FAILED"}
    with pytest.raises(OSError, match="MLflow: ValueError: Invalid isoformat string: 'yesterday'"):
        MlFlow().write({**made.report(1), "created": "yesterday"}, tmp_path)


def test_a_server_that_is_away_costs_no_run(
    project: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)
    project()
    result = pytester.runpytest_inprocess("--report", "mlflow")
    assert result.parseoutcomes()["passed"] >= 2
    assert "the mlflow report could not be written: MLflow: " in result.stdout.str()
    assert (pytester.path / "reports" / "latest.json").is_file()


def test_without_mlflow_it_says_what_to_install_before_anything_runs(
    project: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.environment.requirements._package", lambda name: name != "mlflow")
    project()
    result = pytester.runpytest_inprocess("--report", "mlflow")
    assert "pip install 'weighbridge[mlflow]'" in result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
