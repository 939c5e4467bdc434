"""How sure a case is, what is demanded of it, and what it says: a whole run each, with models that answer as planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.projects import CASE, report_of, statuses, weigh

from weighbridge.cli.main import main
from weighbridge.core.results import Verdict
from weighbridge.report.assembly import make_report
from weighbridge.report.markdown import Markdown
from weighbridge.report.terminal import render

Project = Callable[..., Path]
CLASSES = 4
DATA = "data: samples.npz\ntargets: labels\n"


def identity(path: Path, name: str) -> None:
    """A model that says what it is given under `name`."""
    shape = ["n", CLASSES]
    tensors = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT, shape)
        for one in ("baseline", "candidate", "answer")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["answer"])], "g", tensors[:2], tensors[2:]
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), path)


def planted(folder: Path, baseline: Any, candidate: Any, **columns: Any) -> None:
    """Two models of which `baseline` and `candidate`, booleans of shape [N], say where they are right."""
    random, n = np.random.default_rng(0), len(baseline)
    labels = random.integers(0, CLASSES, n)
    said = {
        name: np.eye(CLASSES, dtype="float32")[np.where(right, labels, (labels + 1) % CLASSES)]
        for name, right in (("baseline", baseline), ("candidate", candidate))
    }
    np.savez(folder / "samples.npz", labels=labels, **said, **columns)
    for name in said:
        identity(folder / f"{name}.onnx", name)


def case(thresholds: str, more: str = "") -> str:
    return (
        f"model: {{onnx: baseline.onnx}}\ncandidate: {{onnx: candidate.onnx}}\n{DATA}{more}"
        f"thresholds: {{{thresholds}}}\n"
    )


def judged(folder: Path, thresholds: str, more: str = "", **options: Any) -> dict[str, Verdict]:
    result = weigh(folder, case(thresholds, more), also=(), **options).result
    assert result.stage == "done", result.message
    return {verdict.threshold: verdict for verdict in result.verdicts}


def right(n: int, wrong: slice) -> Any:
    found = np.ones(n, dtype=bool)
    found[wrong] = False
    return found


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


ERROR = "def error_rate(outputs, targets):\n    return (outputs.argmax(1) != targets) * 1.0\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wrong", "went from 0.025 to 0.25, which counts as a gain"),
        ("error_rate", "is called an error or a loss"),
        ("pinball", "is called an error or a loss"),
    ],
)
def test_an_error_rate_without_a_direction_makes_no_ruined_model_a_gain(
    tmp_path: Path, name: str, told: str
) -> None:
    planted(tmp_path, right(400, slice(0, 10)), right(400, slice(0, 100)))
    (tmp_path / "metrics.py").write_text(ERROR.replace("error_rate", name))
    text = case("accuracy_drop: 0.01", f"metric: metrics.py:{name}\n")
    (verdict,) = weigh(tmp_path, text, also=()).result.verdicts
    assert verdict.status == "error"
    assert told in verdict.message
    assert "`higher_is_better = False`" in verdict.message
    (tmp_path / "directed.py").write_text(f"{ERROR}error_rate.higher_is_better = False\n")
    assert (
        judged(tmp_path, "accuracy_drop: 0.01", "metric: directed.py:error_rate\n")["accuracy_drop"].status
        == "fail"
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("error_rate", "error"),
        ("val_loss", "error"),
        ("RootMSE", "error"),
        ("negative_loss", "pass"),
        ("negative_log_likelihood", "error"),
        ("NegLogLik", "error"),
        ("log_likelihood", "pass"),
        ("negative_recall", "pass"),
        ("error_free", "pass"),
        ("latency_ms", "error"),
        ("share_of_wrong", "error"),
        ("terse", "error"),
        ("top_terse", "pass"),
        ("recognised_exact", "pass"),
        ("f1", "pass"),
        ("meanIoU", "pass"),
    ],
)
def test_an_error_that_grows_a_little_is_not_taken_for_a_small_gain(
    tmp_path: Path, name: str, status: str
) -> None:
    """From 10 to 14 % of the samples: not beyond belief as a gain, and beyond any limit as a drop."""
    planted(tmp_path, right(400, slice(0, 40)), right(400, slice(0, 56)))
    (tmp_path / "metrics.py").write_text(ERROR.replace("error_rate", name))
    found = judged(tmp_path, "accuracy_drop: 0.01", f"metric: metrics.py:{name}\n")
    assert found["accuracy_drop"].status == status


@pytest.mark.parametrize("name", ["share", "worth.py:share"])
@pytest.mark.parametrize(
    ("thresholds", "status"),
    [
        ("accuracy_drop: 0.05", "pass"),
        ("accuracy_drop: 0.03", "error"),
        ("relative_accuracy_drop: 0.41", "pass"),
        ("relative_accuracy_drop: 0.39", "error"),
        ("accuracy: 0.05", "error"),
    ],
)
def test_a_direction_is_asked_for_where_the_verdict_hangs_on_it(
    tmp_path: Path, thresholds: str, status: str, name: str
) -> None:
    """From 10 to 14 %, by a name that tells nothing; one word in the function answers it, whichever way."""
    planted(tmp_path, right(400, slice(0, 40)), right(400, slice(0, 56)))
    text = ERROR.replace("error_rate", "share")
    (tmp_path / "metrics.py").write_text(text)
    (tmp_path / "worth.py").write_text(f"{text}share.higher_is_better = True\n")
    metric = name if ":" in name else f"metrics.py:{name}"
    (verdict,) = judged(tmp_path, thresholds, f"metric: {metric}\n").values()
    assert verdict.status == ("pass" if ":" in name else status)
    if verdict.status == "error":
        assert "went from 0.1 to 0.14, which counts as a gain" in verdict.message


@pytest.mark.parametrize(
    ("threshold", "status"),
    [("{equals: 0.25}", "pass"), ("{max: 0.3}", "pass"), ("{max: 0.2}", "fail"), ("0.2", "error")],
)
def test_a_metric_without_a_direction_is_held_to_limits_that_need_none(
    tmp_path: Path, threshold: str, status: str
) -> None:
    planted(tmp_path, right(400, slice(0, 10)), right(400, slice(0, 100)))
    (tmp_path / "metrics.py").write_text(ERROR)
    found = judged(tmp_path, f"accuracy: {threshold}", "metric: metrics.py:error_rate\n")
    assert found["accuracy"].status == status


PERCENT = """
def share(outputs, targets):
    return (outputs.argmax(1) == targets) * SCALE
share.higher_is_better = True
"""


@pytest.mark.parametrize(
    ("scale", "floor", "status"),
    [
        (100.0, 0.9, "error"),
        (100.0, 90, "fail"),
        (100.0, 15, "pass"),
        (1.0, 0.9, "fail"),
        (1.0, 0.02, "pass"),
        (3.0, 0.3, "pass"),
    ],
)
def test_a_fraction_is_no_floor_of_a_metric_in_percent(
    tmp_path: Path, scale: float, floor: float, status: str
) -> None:
    """From 97.5 to 20 %: 20 is more than 0.9. A low floor of a fraction, or of a metric of another scale, is one."""
    planted(tmp_path, right(400, slice(0, 10)), right(400, slice(0, 320)))
    (tmp_path / "metrics.py").write_text(PERCENT.replace("SCALE", str(scale)))
    (verdict,) = weigh(
        tmp_path, case(f"accuracy: {floor}", "metric: metrics.py:share\n"), also=()
    ).result.verdicts
    assert verdict.status == status, verdict.message
    assert ("if the metric is in percent, say 90" in verdict.message) is (status == "error")


def test_an_error_below_zero_is_one_that_was_turned_round(tmp_path: Path) -> None:
    planted(tmp_path, right(400, slice(0, 40)), right(400, slice(0, 41)))
    (tmp_path / "metrics.py").write_text(ERROR.replace("return", "return -1.0 *"))
    found = judged(tmp_path, "accuracy_drop: 0.01", "metric: metrics.py:error_rate\n")
    assert found["accuracy_drop"].status == "pass"


def test_a_score_without_a_direction_may_gain_a_little(tmp_path: Path) -> None:
    planted(tmp_path, right(400, slice(0, 60)), right(400, slice(0, 20)))
    (tmp_path / "metrics.py").write_text(
        "def score(outputs, targets):\n    return (outputs.argmax(1) == targets) * 1.0\n"
    )
    verdict = judged(tmp_path, "accuracy_drop: 0.01", "metric: metrics.py:score\n")["accuracy_drop"]
    assert verdict.status == "pass"


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
