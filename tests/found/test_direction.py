"""Which way a metric is better, and on which scale: where nobody says so, and the verdict hangs on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.found.planted_answers import case, judged, planted, right
from tests.projects import weigh

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
