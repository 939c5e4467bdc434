"""The table in the terminal: what a person sees first, at every width and number of cases."""

from __future__ import annotations

import re
from typing import Any

import made_reports as made
import pytest

from weighbridge.report.layout import width_of
from weighbridge.report.names import short_names
from weighbridge.report.table import build
from weighbridge.report.terminal import MOST, render

COLOR = re.compile(r"\x1b\[[0-9;]*m")


def rows(text: str) -> list[str]:
    """The lines of the table: between the header and the first empty line."""
    lines = text.splitlines()
    return lines[3 : lines.index("", 3)] if "" in lines[3:] else lines[3:]


def single(**changes: Any) -> dict[str, Any]:
    """A report of one case that passes, with some keys changed."""
    report = made.settled(1, failing=0)
    report["rows"][0].update(changes)
    return report


def test_what_failed_comes_first_and_its_reason_once() -> None:
    report = made.settled(45)
    text = render(report)
    failed = report["rows"][22]
    assert text.splitlines()[0] == "45 cases: 1 fail, 44 pass"
    assert rows(text)[0].startswith("✗  group0/prune40-int8-22 ")
    assert rows(text)[-1].strip() == "… 33 more passed (-v shows them)"
    assert len(re.findall(r"accuracy_drop [\d.]+ points", text)) == 1
    reason, _, choices = text[text.index("✗ group0") :].partition("\n\n")
    assert choices.startswith("→ of 39 recipes that passed, ")
    assert reason.splitlines() == [
        f"✗ group0/prune40-int8-22  {failed['verdicts'][0]['message']}       cases/group0/model.yaml:21",
        "    calibrate on more samples, or exclude the most sensitive layers",
        "    pytest cases/group0/model.yaml::prune40-int8-22::accuracy_drop",
    ]


def test_the_place_stands_at_the_right_where_it_fits() -> None:
    line = next(
        line
        for line in render(made.settled(45), width=120).splitlines()
        if re.search(r"accuracy_drop [\d.]+ points", line)
    )
    assert line.endswith(" cases/group0/model.yaml:21")
    assert width_of(line) == 120


def test_few_passes_are_not_folded() -> None:
    assert "more passed" not in render(made.settled(5))
    assert len(rows(render(made.settled(5)))) == 5


def test_a_limit_is_shown_where_it_is_missed_and_all_of_them_on_demand() -> None:
    report = made.settled(2)
    missed, kept = rows(render(report))
    assert "✗ ≤1 point " in missed
    assert "≤" not in kept
    told = render(report, verbosity=1)
    for verdict in ("accuracy_drop", "size_ratio", "speedup"):
        assert len(re.findall(rf"[✓✗] {verdict}  \S.*limit [≤≥] .*margin ", told)) == 2
    assert "99.3 % sure" in told


def test_verbose_shows_every_case_note_and_expected_failure() -> None:
    report = made.report(60)
    report["rows"][0]["notes"] = ["9 of 12 layers were converted"]
    text = render(report, verbosity=1)
    assert all(f"{row['name']} " in text for row in report["rows"])
    assert "9 of 12 layers were converted" in text
    assert "more" not in re.sub(r"and \d+ more|calibrate on more", "", text)
    assert re.search(r"x group0/prune70-int8-7  accuracy_drop \d", text)
    assert "failed as expected" not in text


@pytest.mark.parametrize(
    ("status", "sure", "cell"),
    [
        ("pass", 0.993, " ✓"),
        ("pass", 0.5, " ! 50 %"),
        ("inconclusive", 0.5, " ? ≤1 point"),
        ("xfail", 1.0, " x ≤1 point"),
    ],
)
def test_marks(status: str, sure: float, cell: str) -> None:
    report = single(status=status)
    report["rows"][0]["verdicts"][0].update(status=status, sure=sure)
    assert f" %{cell}   " in rows(render(report))[0]


def test_sureness_is_never_rounded_up() -> None:
    report = single()
    report["rows"][0]["verdicts"][0]["sure"] = 0.9499
    assert "! 94 %" in rows(render(report))[0]


def test_what_was_not_measured_is_no_pass() -> None:
    report = made.settled(3, failing=0)
    skipped, unmeasured, _ = report["rows"]
    skipped["verdicts"][2].update(status="skip", measured=None, interval=None, message="needs --bench")
    skipped["verdicts"][2].update(sure=None, margin=None)
    unmeasured.update(made.row(1, made.random.Random(1), status="unmeasured"))
    text = render(report)
    assert text.splitlines()[0] == "3 cases: 1 unmeasured, 2 pass"
    first, second, third = rows(text)
    assert first.startswith("·  prune10-int8-1 ")
    assert second.startswith("✓  prune00-int4-0 ")
    assert first.endswith(" --bench ·")
    assert second.endswith(" --bench ·")
    assert third.endswith(" ✓")
    assert "· 1 not measured: speedup: with --bench only" in text
    assert "pytest cases/group0/model.yaml::prune10-int8-1::speedup --bench" in text


def test_random_inputs_are_said() -> None:
    report = single(inputs="random")
    row = report["rows"][0]
    row["measurements"].pop("accuracy")
    row["measurements"]["fidelity"] = made.measurement("dB", 0, 28)
    row["verdicts"] = [made.verdict("fidelity", "pass", {"min": 20}, 28, None, "dB")]
    text = render(report)
    assert "random inputs ·" in rows(text)[0]
    assert "! 1 measured on random inputs, which say nothing of real data" in text
    assert "random" not in render(single())
    row["verdicts"] = [made.verdict("size", "pass", {"max": 2e6}, 1e6, None, "bytes")]
    assert "random" not in render(report), "a size does not depend on the inputs"


def test_the_same_reason_is_told_once_and_numbers_are_each_cases_own() -> None:
    report = made.report(50)
    for row in report["rows"]:
        for verdict in row["verdicts"]:
            verdict["message"] = verdict["message"] and "accuracy_drop 4 points, allows 1 point"
    text = render(report)
    assert text.count("the quantizer returned its input unchanged") == 1
    assert "✗ group0/prune50-int16-5 and 5 more  the quantizer" in text
    assert text.count("✗ group0/prune30-int4-3  accuracy_drop 4 points") == 1
    assert text.count("accuracy_drop 4 points") == 12  # six failed, six undecided: no two share a line
    assert text.count("calibrate on more samples") == 1


def test_several_reasons_of_a_case_stand_under_its_name() -> None:
    report = single(status="fail", name="int8", case="cases/group0/model.yaml::int8")
    row = report["rows"][0]
    row["verdicts"] = [
        made.verdict("size_ratio", "fail", {"min": 3}, 2.456, None, "ratio"),
        made.verdict("latency", "error", {"max": 3}, None, None, "ms") | {"message": "no inputs to run on"},
        made.verdict("peak_memory", "error", {"max": 3}, None, None, "bytes")
        | {"message": "no inputs to run on"},
        made.verdict("round_trip", "fail", {}, None)
        | {"message": "cases/group0/model.yaml:4: 4 bits asked for, 8 found"},
    ]
    text = render(report)
    assert text.count("✗ int8") == 1
    assert "    latency, peak_memory: no inputs to run on" in text
    assert "    round_trip: 4 bits asked for, 8 found" in text
    assert text.endswith("    pytest cases/group0/model.yaml::int8 --bench\n")
    assert re.search(r"2\.46x ✗ ≥3x .* error ✗ .* ✗$", rows(text)[0])


def test_an_audit_is_not_run_by_pytest() -> None:
    report = made.settled(1)
    report["options"] = {"audit": True}
    assert "pytest" not in render(report)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("count", [1, 5, 50, 500])
def test_nothing_is_wider_than_the_terminal(count: int, width: int, color: bool) -> None:
    report = made.report(count)
    for row in report["rows"][::3]:
        row["name"] += "-which-somebody-named-after-all-of-its-options-per_channel-symmetric-calibrated"
        row["case"] = f"{row['path']}::{row['name']}"
    text = render(report, color=color, width=width)
    assert bool(COLOR.search(text)) == color
    plain = COLOR.sub("", text)
    assert plain == render(report, width=width)
    # What is to be copied stays on one line.
    lines = [line for line in plain.splitlines() if not line.startswith("    pytest ")]
    assert max(map(width_of, lines)) <= width
    assert len(plain.splitlines()) <= MOST


def test_wide_characters_keep_the_columns() -> None:
    report = made.settled(2)
    report["rows"][0]["name"] = "量子化-int8"
    lines = rows(render(report))
    assert len({width_of(line[: line.index("97.6→")]) for line in lines}) == 1


def test_narrow_terminals_keep_the_columns_that_failed() -> None:
    report = made.settled(6, failing=0)
    for row in report["rows"]:
        row["verdicts"] += [
            made.verdict(name, "pass", {"max": 1e9}, 5.0, None, "ms") for name in ("latency", "cold_start")
        ]
    report["rows"][3]["verdicts"][-1].update(status="fail", measured=2e9, margin=-1e9)
    report["rows"][3]["status"] = "fail"
    narrow, wide = render(report, width=70), render(report, width=160)
    head = narrow.splitlines()[2]
    assert "cold start" in head
    assert "latency" not in head
    assert re.search(r"not shown for want of width: .*latency", narrow)
    assert "latency" in wide.splitlines()[2]
    assert "for want of width" not in wide


def test_a_matrix_over_two_keys_is_a_grid() -> None:
    report = made.settled(3, failing=0)
    report["rows"] += made.sweep(["0.3", "0.5", "0.9"], ["4", "8"])
    text = render(report)
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("   digits/prune-int8"))
    assert lines[at].split() == ["digits/prune-int8", "accuracy", "size", "nonzero", "speed"]
    assert lines[at + 1].split()[:2] == ["4", "8"]
    assert [line.split()[0] for line in lines[at + 2 : at + 5]] == ["0.3", "0.5", "0.9"]
    assert lines[at + 4].count("✗") == 1
    assert not any("prune-int8-0.3" in line for line in rows(text))
    assert "✗ digits/prune-int8-0.9,8  accuracy_drop " in text


@pytest.mark.parametrize(
    "names", [["a-1,2", "a-1,3"], ["a-1,2", "a-3,4"], ["a-1,2,3", "a-1,3,3"], ["a", "b"]]
)
def test_what_is_no_grid_stays_rows(names: list[str]) -> None:
    report = made.settled(len(names), failing=0)
    for row, name in zip(report["rows"], names, strict=True):
        row.update(name=name, case=f"{row['path']}::{name}", line=4)
    assert len(rows(render(report))) == len(names)


def test_a_matrix_with_holes_or_a_crash_is_still_a_grid() -> None:
    report = made.report(0)
    report["rows"] = made.sweep(["l1-0.3", "l1-0.5"], ["int4", "int8", "int16"], name="both")[:-1]
    crashed = report["rows"][0]
    crashed.update(
        status="error", stage="quantize", message="a worker was killed", verdicts=[], measurements={}
    )
    text = render(report)
    assert "error ✗" in text
    assert "✗ both-l1-0.3,int4  a worker was killed" in text


def hard() -> dict[str, dict[str, Any]]:
    """Reports that would be long: many of everything, or one thing that is endless."""
    chance = made.random.Random(5)
    failing, passing, skipping, grids, endless = (made.report(0) for _ in range(5))
    failing["rows"] = [made.row(index, chance, status="fail") for index in range(5000)]
    passing["rows"] = [made.row(index, chance, status="pass") for index in range(5000)]
    skipping["rows"] = [
        made.row(index, chance, status="skip") | {"message": f"needs the package 'p{index}'\nand more"}
        for index in range(5000)
    ]
    for index in range(60):
        grids["rows"] += made.sweep(["1", "2", "3"], ["4", "5"], name=f"sweep{index}")
        for row in grids["rows"][-6:]:
            row["line"] = index + 1
    endless["rows"] = [made.row(index, chance, status="error") for index in range(3)]
    for index, row in enumerate(endless["rows"]):
        row["message"] = "\n".join(f"line {number} of {index}" for number in range(10_000))
    return {
        "mixed": made.report(5000),
        "failing": failing,
        "passing": passing,
        "skipping": skipping,
        "grids": grids,
        "endless": endless,
    }


HARD = hard()


@pytest.mark.parametrize("name", HARD)
def test_thousands_of_cases_are_a_hundred_lines(name: str) -> None:
    text = render(HARD[name])
    assert len(text.splitlines()) <= MOST
    counts = {
        status: sum(row["status"] == status for row in HARD[name]["rows"]) for status in ("fail", "pass")
    }
    for status, count in counts.items():
        assert (f" {count} {status}" in text.splitlines()[0]) == bool(count)


def test_of_thousands_some_of_every_kind_are_shown() -> None:
    marks = [line[0] for line in rows(render(HARD["mixed"]))]
    assert {"✗", "?", "x", "✓"} <= set(marks)
    assert any("%" in line for line in rows(render(HARD["mixed"])) if line.startswith("✗"))


def test_text_that_was_wrapped_is_no_command_of_a_runner() -> None:
    report = made.settled(1)
    report["rows"][0]["verdicts"][0]["message"] = f"{'x' * 70} ::error::forged"
    lines = render(report, width=80).splitlines()
    assert any("::error::forged" in line for line in lines)
    assert not any(line.lstrip().startswith("::") for line in lines)


def test_nothing_ran() -> None:
    assert render(made.report(0)) == "0 cases: nothing ran\n"


@pytest.mark.parametrize(
    ("cases", "names"),
    [
        (
            ["cases/digits/cnn.yaml::int8", "cases/digits/mlp.yaml::int8"],
            ["cnn/int8", "mlp/int8"],
        ),
        (["cases/encoder/gate.yaml::int8", "cases/raw/gate.yaml::x"], ["encoder/int8", "raw/x"]),
        (["gate.yaml::int8"], ["int8"]),
        (["cases/net.yaml::net"], ["net"]),
        (["a/b.yaml::z", "a_b.yaml::z"], ["a/z", "a_b.yaml::z"]),
        (["a/x.yaml::b/c", "a/b/y.yaml::c"], ["a/x.yaml::b/c", "a/b/y.yaml::c"]),
    ],
)
def test_short_names(cases: list[str], names: list[str]) -> None:
    found = [{"case": case, "path": case.split("::")[0], "name": case.split("::")[1]} for case in cases]
    assert sorted(short_names(found)) == sorted(names) or len(set(short_names(found))) == len(cases)


def test_a_drop_and_a_distance_of_shares_are_in_points() -> None:
    report = made.settled(1)
    drop = r"accuracy_drop  [\d.]+ points \([\d.]+ to [\d.]+ points\), limit ≤ 1 point, margin -[\d.]+ points"
    assert re.search(drop, render(report, width=120, verbosity=1))
    report["rows"][0]["verdicts"] = [
        made.verdict("accuracy", "pass", {"min": 0.95}, 0.9766, None, "fraction")
    ]
    assert "accuracy  97.7 %, limit ≥ 95 %, margin 2.66 points" in render(report, verbosity=1)


def test_a_quantity_that_is_read_in_two_ways_has_two_columns() -> None:
    report = single(status="fail")
    row = report["rows"][0]
    row["measurements"]["parameters"] = made.measurement("count", 2e6, 1.6e6)
    row["verdicts"] = [
        made.verdict("parameters", "pass", {"max": 2e6}, 1.6e6, None, "count"),
        made.verdict("largest_tensor", "fail", {"max": 1e6}, 1.62e6, None, "bytes"),
    ]
    columns = build(report).columns
    assert {"parameters", "largest_tensor"} <= set(columns)
    line = rows(render(report))[0]
    assert "2M→1.6M ✓" in line
    assert "1.62 MB ✗ ≤1 MB" in line


def test_a_row_whose_verdicts_have_no_words_tells_its_own() -> None:
    report = single(
        status="error", stage="quantize", message="cases/group0/model.yaml:9: a worker was killed (SIGKILL)"
    )
    for verdict in report["rows"][0]["verdicts"]:
        verdict.update(status="error", measured=None, sure=None, margin=None, interval=None, message="")
    text = render(report)
    assert "✗ prune00-int4-0  a worker was killed (SIGKILL)" in text
    assert "accuracy_drop" not in text.split("\n\n")[-1]


def test_a_row_and_a_verdict_with_different_words_tell_both() -> None:
    report = single(status="error", stage="measure", message="the worker was killed")
    report["rows"][0]["verdicts"][1].update(status="fail", message="size_ratio 1x, needs 1.5x")
    text = render(report)
    assert "✗ prune00-int4-0  the worker was killed" in text
    assert "    size_ratio 1x, needs 1.5x" in text


def test_the_faults_of_a_file_keep_their_places() -> None:
    faults = "cases/bad.yaml:3:1: unknown key 'modle'\ncases/bad.yaml:9:3: unknown threshold 'size_ration'"
    report = single(status="error", stage="collect", path="cases/bad.yaml", name="case file", message=faults)
    row = report["rows"][0]
    row.update(case="cases/bad.yaml::case file", measurements={})
    row["verdicts"] = [made.verdict("case file", "error", {}, None) | {"message": faults, "line": 3}]
    text = render(report)
    for fault in faults.split("\n"):
        assert fault in text
    assert "pytest 'cases/bad.yaml::case file'\n" in text
    assert "stopped in collect" in rows(text)[0]


def test_what_passed_and_is_to_be_looked_at_is_told_once() -> None:
    report = made.settled(6)
    for row in report["rows"]:
        row["verdicts"][0].update(status="pass", advice=["the split is too small for this limit"])
    text = render(report)
    assert text.count("the split is too small for this limit") == 1
    assert re.match(r"! prune\d0-int\d+-\d: accuracy_drop passed; the split", text.splitlines()[-1])
    told = render(report, verbosity=1)
    assert told.count("the split is too small for this limit") == 6, "each case's row has its own"
