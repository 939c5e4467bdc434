"""MLflow's tracking: a run of this program is a run there, and each case one inside it, with what was measured.

Where it goes is MLflow's to say: `MLFLOW_TRACKING_URI`, and `MLFLOW_EXPERIMENT_NAME` (weighbridge).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.environment.extras import MLFLOW, load
from weighbridge.report.escape import visible

LONGEST = 500
"""Characters of a tag or parameter, which MLflow limits."""


class MlFlow:
    """Writes no file. Raises `OSError` where MLflow cannot be reached or refuses."""

    name = "mlflow"
    requires = (MLFLOW,)

    def write(self, report: Mapping[str, Any], folder: Path, stem: str = "latest") -> list[Path]:
        mlflow: Any = load(MLFLOW)
        for logger in ("mlflow", "alembic"):  # a database that is made for the first time says so at length
            logging.getLogger(logger).setLevel(logging.WARNING)
        open_runs: list[str] = []
        try:
            _track(mlflow, report, open_runs)
        # What MLflow, its database or its server cannot do costs the run no verdict.
        except Exception as error:
            # A server that is away has been waited for once, and will not hear this either.
            with suppress(Exception):
                for run in reversed(open_runs):
                    mlflow.MlflowClient().set_terminated(run, "FAILED")
            raise OSError(f"MLflow: {type(error).__name__}: {error}") from error
        return []


def _track(mlflow: Any, report: Mapping[str, Any], open_runs: list[str]) -> None:
    """`open_runs` has the runs that were made and not ended, the outer one first.

    A report says when it was made and how long each case took: the cases are laid one after the other, up to then.
    """
    client = mlflow.MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "weighbridge")
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)

    def begin(at: int, tags: Mapping[str, Any], called: str) -> Any:
        run = client.create_run(number, at, _texts(tags), called)
        open_runs.append(run.info.run_id)
        return run

    ended = round(datetime.fromisoformat(report["created"]).timestamp() * 1000)
    durations = [round(1000 * row["seconds"]) for row in report["rows"]]
    at = ended - sum(durations)
    about = {
        "mlflow.source.git.commit": report.get("commit"),
        "mlflow.source.git.branch": report.get("branch"),
    }
    tags = {"weighbridge.run": report["run"], "weighbridge.machine": report.get("machine_class")} | about
    whole = begin(at, tags, f"weighbridge {report['run'][:8]}")
    statuses = [row["status"] for row in report["rows"]]
    counts = {f"cases.{status}": statuses.count(status) for status in sorted({*statuses})}
    _log(mlflow, client, whole, ended, counts)
    for row, duration in zip(report["rows"], durations, strict=True):
        parent = {"mlflow.parentRunId": whole.info.run_id, "weighbridge.case": row["case"]}
        verdicts = {f"verdict.{one['threshold']}": one["status"] for one in row["verdicts"]}
        told = {"status": row["status"], "message": row["message"], "engine": row["engine"]}
        run = begin(at, {**parent, **told, **verdicts}, visible(row["name"])[:LONGEST])
        recipe = {f"step.{place}": step["step"] for place, step in enumerate(row["steps"], 1)}
        at += duration
        _log(mlflow, client, run, at, dict(_numbers(row)), recipe)
        status = "FINISHED" if row["status"] in ("pass", "xfail", "skip") else "FAILED"
        client.set_terminated(open_runs[-1], status, at)
        open_runs.pop()
    client.set_terminated(whole.info.run_id, "FINISHED", ended)


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What was measured of both sides, and of each threshold its value: `size.candidate`, `speedup`."""
    for name, one in row["measurements"].items():
        for side in ("baseline", "candidate"):
            if one.get(side) is not None:
                yield f"{name}.{side}", one[side]
    for verdict in row["verdicts"]:
        if verdict["measured"] is not None:
            yield verdict["threshold"], verdict["measured"]
    yield "seconds", row["seconds"]


def _log(
    mlflow: Any,
    client: Any,
    run: Any,
    at: int,
    numbers: Mapping[str, float],
    parameters: Mapping[str, str] | None = None,
) -> None:
    entities = mlflow.entities
    metrics = [entities.Metric(_name(name), float(value), at, 0) for name, value in numbers.items()]
    said = [entities.Param(_name(name), text) for name, text in _texts(parameters or {}).items()]
    client.log_batch(run.info.run_id, metrics=metrics, params=said)


def _name(text: str) -> str:
    """MLflow's names have letters, digits and a few signs."""
    return re.sub(r"[^\w\-./ ]", "_", text)[: LONGEST // 2]


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        _name(name): visible(str(value))[:LONGEST] for name, value in found.items() if value not in (None, "")
    }


REPORTS.add(MlFlow.name, MlFlow())
