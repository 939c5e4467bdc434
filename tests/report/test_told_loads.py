"""What a timed quantity says of the loads that its interval is over."""

from __future__ import annotations

import made_reports as made

from weighbridge.report.terminal import render


def test_a_speed_says_how_many_loads_its_interval_is_over() -> None:
    report = made.settled(1, failing=0)
    report["rows"][0]["measurements"]["speed"]["details"] |= {"loads": 12, "processes": 6, "spread": 0.0132}
    assert " (12) ✓" in render(report)
    assert "12 loads in 6 processes, which differ by 1.3 %" in " ".join(render(report, verbosity=1).split())
    size = next(line for line in render(report, verbosity=1).splitlines() if "✓ size_ratio" in line)
    assert "loads" not in size
    report["rows"][0]["measurements"]["speed"]["details"] |= {"loads": 1, "processes": 1, "spread": None}
    assert " (1) ✓" in render(report)
    assert "loads" not in render(made.settled(1, failing=0)), "a report from before loads were counted"
