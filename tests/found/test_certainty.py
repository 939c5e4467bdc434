"""How sure a case is, what is demanded of it, and what it says: a whole run each, with models that answer as planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.found.planted_answers import DATA, case, judged, planted, right
from tests.projects import CASE, report_of, statuses, weigh

from weighbridge.cli.main import main
from weighbridge.report.assembly import make_report
from weighbridge.report.markdown import Markdown
from weighbridge.report.terminal import render

Project = Callable[..., Path]


def test_a_confidence_is_the_limits_own_before_the_runs(tmp_path: Path) -> None:
    planted(tmp_path, right(400, slice(0, 20)), right(400, slice(0, 24)))
    thresholds = "accuracy_drop: 0.02, accuracy: 0.92, relative_accuracy_drop: {max: 0.02, confidence: 0.6}, size: 5 MB"
    free = judged(tmp_path, thresholds)
    assert {verdict.status for verdict in free.values()} == {"pass"}
    assert 0.8 < free["accuracy_drop"].sure < 0.95  # type: ignore[operator]
    held = judged(tmp_path, thresholds, confidence=0.97)
    assert {name: str(verdict.status) for name, verdict in held.items()} == {
        "accuracy_drop": "inconclusive",
        "accuracy": "inconclusive",
        "relative_accuracy_drop": "pass",
        "size": "pass",
    }
    drop = held["accuracy_drop"]
    assert drop.limit == {"max": 0.02, "confidence": 0.97}
    assert held["size"].limit == {"max": 5e6}
    assert "sure, and 97 % is asked for" in drop.message
    assert "samples like these 400 would decide it" in drop.advice[0]
    # As many as it says: the same shares of more samples.
    times = -(-int(drop.advice[0].split()[1]) // 400)
    planted(tmp_path, np.tile(right(400, slice(0, 20)), times), np.tile(right(400, slice(0, 24)), times))
    assert judged(tmp_path, thresholds, confidence=0.97)["accuracy_drop"].status == "pass"


def test_a_miss_must_be_sure_too_where_confidence_is_demanded(tmp_path: Path) -> None:
    planted(tmp_path, right(400, slice(0, 20)), right(400, slice(0, 30)))
    assert judged(tmp_path, "accuracy_drop: 0.02")["accuracy_drop"].status == "fail"
    assert judged(tmp_path, "accuracy_drop: 0.02", confidence=0.95)["accuracy_drop"].status == "inconclusive"
    planted(tmp_path, right(400, slice(0, 20)), right(400, slice(0, 80)))
    assert judged(tmp_path, "accuracy_drop: 0.02", confidence=0.95)["accuracy_drop"].status == "fail"


def test_the_confidence_of_a_run_is_an_option_before_it_is_an_ini_value(
    pytester: pytest.Pytester, project: Project
) -> None:
    """The project's own pass is sure of its drop to 99.9 %, not to 99.9999 %."""
    project(net=CASE.replace("size_ratio: 0.9", "size_ratio: 0.9\n  accuracy: 0.5"))
    pytester.makeini("[pytest]\nweighbridge_confidence = 0.999999\n")
    pytester.runpytest_inprocess()
    found = statuses(pytester.path)
    assert found["net::accuracy_drop"] == "inconclusive"
    assert found["net::size_ratio"] == found["net::accuracy"] == "pass"
    assert report_of(pytester.path)["options"]["confidence"] == 0.999999
    pytester.runpytest_inprocess("--confidence", "60 %")
    assert set(statuses(pytester.path).values()) == {"pass"}


@pytest.mark.parametrize("text", ["0.5", "1", "95", "sure"])
def test_what_is_no_confidence_is_refused_at_once(
    pytester: pytest.Pytester, project: Project, text: str
) -> None:
    project()
    result = pytester.runpytest_inprocess("--confidence", text)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*--confidence is a *" + ("did you mean 0.95" if text == "95" else "") + "*")
    pytester.makeini(f"[pytest]\nweighbridge_confidence = {text}\n")
    result = pytester.runpytest_inprocess()
    result.stderr.fnmatch_lines("*weighbridge_confidence is a *")


def test_an_audit_takes_a_confidence_and_its_record_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    planted(tmp_path, right(400, slice(0, 20)), right(400, slice(0, 24)))
    (tmp_path / "budget.yaml").write_text(f"{DATA}thresholds: {{accuracy: 0.93}}\n")
    audit = ["audit", "candidate.onnx", "--budget", "budget.yaml", "--executor", "inline"]
    assert main(audit) == 0
    assert main([*audit, "--confidence", "0.99"]) == 3
    assert "99 % is asked for" in " ".join(capsys.readouterr().out.split())
    verify = ["verify", "reports/audit.intoto.json", "candidate.onnx", "--budget", "budget.yaml", "--rerun"]
    verify.append("--allow-breach")
    assert main(verify) == 3
    assert "every verdict and every counted number is the same" in capsys.readouterr().out
    assert main([*audit, "--confidence", "7"]) == 2
    assert "--confidence is a probability above 0.5 and below 1, not 7" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["", "metric: metrics.py:share\n", "metric: metrics.py:whole\n"])
def test_a_floor_has_an_interval_and_a_certainty_whatever_the_metric(tmp_path: Path, metric: str) -> None:
    planted(tmp_path, right(300, slice(0, 20)), right(300, slice(0, 24)))
    (tmp_path / "metrics.py").write_text(
        "def share(outputs, targets):\n    return (outputs.argmax(1) == targets) * 1.0\nshare.higher_is_better = True\n"
        "def whole(outputs, targets):\n    return float((outputs.argmax(1) == targets).mean())\n"
        "whole.higher_is_better = True\n"
    )
    found = judged(tmp_path, "accuracy: 0.91, accuracy_drop: {min: -0.01, max: 0.2}", metric)
    floor, drop = found["accuracy"], found["accuracy_drop"]
    assert floor.measured == pytest.approx(0.92)
    assert floor.interval == pytest.approx((0.884, 0.945), abs=0.008)
    assert floor.sure == pytest.approx(0.72, abs=0.04)
    assert floor.status == "pass"
    # Between both limits, not only below the one.
    assert drop.sure is not None
    assert drop.sure > 0.95


def test_groups_widen_what_is_known_and_are_said(tmp_path: Path) -> None:
    baseline, candidate = right(60, slice(0, 4)), right(60, slice(0, 6))
    planted(
        tmp_path, *(np.repeat(side, 5) for side in (baseline, candidate)), photo=np.repeat(np.arange(60), 5)
    )
    grouped = weigh(tmp_path, case("accuracy_drop: 0.08", "groups: photo\n"), also=()).result
    assert any("300 test samples belong to 60 groups" in note for note in grouped.notes)
    assert grouped.measurements["accuracy"].details["groups"] == 60
    (verdict,) = grouped.verdicts
    copies = verdict.sure
    planted(tmp_path, baseline, candidate, photo=np.arange(60))
    single = judged(tmp_path, "accuracy_drop: 0.08", "groups: photo\n")["accuracy_drop"].sure
    planted(tmp_path, *(np.repeat(side, 5) for side in (baseline, candidate)), photo=np.arange(300))
    alone = judged(tmp_path, "accuracy_drop: 0.08", "groups: photo\n")["accuracy_drop"].sure
    assert copies is not None
    assert single is not None
    assert alone is not None
    assert copies == pytest.approx(single, abs=0.02)
    assert copies < 0.95 < alone


def test_a_limit_that_the_test_split_is_too_small_for_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(tmp_path, right(360, slice(0, 20)), right(360, slice(0, 20)))
    wanted = "a limit of 0.1 points is below what 360 samples can decide"
    verdict = judged(tmp_path, "accuracy_drop: 0.001")["accuracy_drop"]
    assert verdict.status == "pass"
    assert verdict.advice[0].startswith(wanted)
    assert "0.746 points; use at least 2703 samples" in verdict.advice[0]
    assert judged(tmp_path, "accuracy_drop: 0.001", confidence=0.9)["accuracy_drop"].status == "inconclusive"
    assert not judged(tmp_path, "accuracy_drop: 0.01")["accuracy_drop"].advice
    result = weigh(tmp_path, case("accuracy_drop: 0.001"), also=()).result
    report = make_report([result.row()], {"bench": False}, tmp_path)
    assert f"! case: accuracy_drop passed; {wanted}"[:60] in render(report)
    assert "use at least 2703 samples" in " ".join(render(report, verbosity=1, width=300).split())
    assert "use at least 2703 samples" in Markdown().render(report)
    assert main(["check", str(tmp_path / "case.yaml")]) == 0
    assert f"case.yaml:5:14: note: accuracy_drop: {wanted}" in capsys.readouterr().out


def test_a_limit_that_a_net_gain_decides_is_not_called_too_small(tmp_path: Path) -> None:
    planted(tmp_path, right(360, slice(0, 40)), right(360, slice(0, 20)))
    verdict = judged(tmp_path, "accuracy_drop: 0.001")["accuracy_drop"]
    assert verdict.sure is not None
    assert verdict.sure > 0.99
    assert not verdict.advice


def test_a_gain_that_compression_does_not_explain_is_a_finding(tmp_path: Path) -> None:
    planted(tmp_path, right(400, slice(0, 100)), right(400, slice(0, 10)))
    verdict = judged(tmp_path, "accuracy_drop: 0.01")["accuracy_drop"]
    assert verdict.status == "pass"
    assert "a gain that compression does not explain" in verdict.advice[0]
    # Finetuned, and honestly better.
    planted(tmp_path, right(400, slice(0, 48)), right(400, slice(0, 28)))
    assert not judged(tmp_path, "accuracy_drop: 0.01")["accuracy_drop"].advice


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_samples_is_sure_of_nothing(tmp_path: Path, n: int) -> None:
    for metric in ("", "metric: metrics.py:score\n", "metric: metrics.py:whole\n"):
        planted(tmp_path, right(n, slice(0, 0)), right(n, slice(0, 0)))
        (tmp_path / "metrics.py").write_text(
            "def score(outputs, targets):\n    return (outputs.argmax(1) == targets) * 1.0\n"
            "def whole(outputs, targets):\n    return float((outputs.argmax(1) == targets).mean())\n"
        )
        more = f"{metric}allow_chance: true\n"
        verdict = judged(tmp_path, "accuracy_drop: 0.1", more)["accuracy_drop"]
        assert verdict.sure is not None
        assert verdict.sure < 0.8


def test_a_metric_without_a_value_on_most_resamples_is_sure_of_nothing(tmp_path: Path) -> None:
    """One positive of 200: a third of all resamples have none, and the others favour it."""
    planted(tmp_path, right(200, slice(0, 10)), right(200, slice(0, 12)))
    (tmp_path / "metrics.py").write_text(
        "def recall(outputs, targets):\n    return float((outputs.argmax(1) == targets)[targets == 0].mean())\n"
        "recall.higher_is_better = True\n"
    )
    samples = dict(np.load(tmp_path / "samples.npz"))
    samples["labels"][:] = 1
    samples["labels"][0] = 0
    np.savez(tmp_path / "samples.npz", **samples)
    verdict = judged(tmp_path, "accuracy_drop: 0.1", "metric: metrics.py:recall\nallow_chance: true\n")[
        "accuracy_drop"
    ]
    assert verdict.sure == 0.5
    assert verdict.interval is None
    assert "the metric has no value" in verdict.advice[0]
