"""A plan survives JSON: what a worker reads is what the parent planned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weighbridge.case.load import load_cases
from weighbridge.case.model import Limits
from weighbridge.core.registry import Origin
from weighbridge.run.job import Job, RunOptions, job_from_json, job_to_json, stated
from weighbridge.run.plan import make_plan

ROOT = Path(__file__).parents[2]
CASES = sorted(ROOT.glob("cases/*/*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shipped_plan_comes_back_the_same(path: Path) -> None:
    for case in load_cases(path):
        options = RunOptions(
            ROOT,
            ROOT / ".weighbridge",
            artifacts=ROOT / "reports",
            before=1.5,
            limits=Limits(60.0, 4e9),
            confidence=0.9,
        )
        job = Job(f"{path}::{case.name}", str(path), make_plan(case), options, (Origin("conftest", "c.py"),))
        assert job_from_json(json.loads(json.dumps(job_to_json(job)))) == job


def test_what_a_limit_leaves_unsaid_stays_unsaid(tmp_path: Path) -> None:

    path = tmp_path / "case.yaml"
    path.write_text(
        "model: {onnx: m.onnx}\nrecipe: [{quantize: dynamic}]\n"
        "thresholds: {size_ratio: 3, speedup: {min: 1.2, batch: 8}}\nlimits: {time: 90, memory: 2 GB}\n"
        "batch: {state: 1, sr: null}\n"
    )
    (case,) = load_cases(path)
    options = RunOptions(tmp_path, tmp_path)
    job = job_from_json(json.loads(json.dumps(job_to_json(Job("a", "a", make_plan(case), options)))))
    limits = {ref.name: stated(ref.limit) for ref in job.plan.case.thresholds}
    assert limits == {"size_ratio": {"min": 3.0}, "speedup": {"min": 1.2, "batch": 8}}
    assert job.limits == Limits(90.0, 2e9)
    assert job.plan.case.batch == {"state": 1, "sr": None}
