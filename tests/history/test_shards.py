"""Jobs that share the cases: everything runs once, and a report of the whole exists only where nothing is missing."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.history.histories import FIRST, SECOND, report, row
from tests.projects import report_of

from weighbridge.cli.main import main
from weighbridge.contracts import REPORTS
from weighbridge.core.errors import UsageError
from weighbridge.history.history import History
from weighbridge.history.shards import deal, fingerprint, read_shard
from weighbridge.report.json import Json
from weighbridge.report.merge import merge
from weighbridge.report.reading import read_report
from weighbridge.report.text import TextReport

Project = Callable[..., Path]
CASES = """
model: {torch: model.py:net, weights: net.safetensors}
matrix: {amount: [0.1, 0.2, 0.3, 0.4, 0.5]}
recipe: [{prune: l1_unstructured, amount: '${{ matrix.amount }}'}]
thresholds: {nonzero_ratio: 0.99}
"""
NAMES = st.lists(st.text("abcdef/:", min_size=1, max_size=12), unique=True, max_size=60)


@given(
    NAMES, st.integers(1, 9), st.dictionaries(st.text("abcdef/:", min_size=1, max_size=12), st.floats(0, 1e4))
)
def test_every_case_is_in_one_shard_whatever_their_order(
    names: list[str], of: int, seconds: dict[str, float]
) -> None:
    dealt = deal(names, of, seconds)
    assert set(dealt) == set(names)
    assert set(dealt.values()) <= set(range(1, of + 1))
    assert deal(reversed(names), of, seconds) == dealt


@given(NAMES, st.text("xyz", min_size=1), st.integers(1, 9))
def test_a_new_case_moves_no_other(names: list[str], new: str, of: int) -> None:
    seconds = {name: 1.0 + index for index, name in enumerate(names) if index % 2}
    before, after = deal(names, of, seconds), deal([*names, new], of, seconds)
    assert {name: after[name] for name in names} == before


def test_known_durations_are_balanced() -> None:
    """One case of an hour and sixty of a minute, for two jobs."""
    seconds = {"long": 3600.0} | {f"short{index}": 60.0 for index in range(60)}
    dealt = deal(seconds, 2, seconds)
    loads = [sum(seconds[name] for name, shard in dealt.items() if shard == index) for index in (1, 2)]
    assert loads == [3600, 3600]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="like 3/8"):
        read_shard(text)


def shards(pytester: pytest.Pytester, of: int, *words: str) -> list[Path]:
    """Run each shard as a job of its own would; gives the reports."""
    found = []
    for index in range(1, of + 1):
        result = pytester.runpytest_inprocess(f"--shard={index}/{of}", *words)
        assert result.ret == pytest.ExitCode.OK
        place = pytester.path / f"shard{index}.json"
        (pytester.path / "reports/latest.json").rename(place)
        found.append(place)
    return found


def test_the_shards_of_a_run_are_the_run(project: Project, pytester: pytest.Pytester) -> None:
    project(net=CASES)
    pytester.makepyfile(test_other="def test_one(): pass\ndef test_two(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=7)
    whole = report_of(pytester.path)
    found = shards(pytester, 4)
    reports = [read_report(path) for path in found]
    assert max(len(one["rows"]) for one in reports) < 5
    assert main(["merge", *map(str, found), "-o", "joined"]) == 0
    joined = read_report(pytester.path / "joined/latest.json")
    assert [one["case"] for one in joined["rows"]] == [one["case"] for one in whole["rows"]]
    assert joined["shard"] is None


def test_a_shard_without_cases_is_no_failure_and_has_a_report(
    project: Project, pytester: pytest.Pytester
) -> None:
    project()
    found = shards(pytester, 3)
    assert sorted(len(read_report(path)["rows"]) for path in found) == [0, 0, 1]
    assert main(["merge", *map(str, found), "-o", "joined"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("-k", "typo"),
        ("-o", "weighbridge_cases=elsewhere/*.yaml"),
        pytest.param(("-k", "typo", "-n1"), marks=pytest.mark.slow),
    ],
)
def test_jobs_that_have_nothing_at_all_to_do_are_no_pass(
    words: tuple[str, ...], project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in -k, or a pattern that fits no file: each job has an empty part, and so have the others."""
    project()
    found = []
    for index in (1, 2):
        run = pytester.runpytest_subprocess if "-n1" in words else pytester.runpytest_inprocess
        assert run(f"--shard={index}/2", *words).ret == pytest.ExitCode.NO_TESTS_COLLECTED
        if (pytester.path / "reports/latest.json").is_file():
            found.append(pytester.path / f"shard{index}.json")
            (pytester.path / "reports/latest.json").rename(found[-1])
    assert len(found) == 2
    assert main(["merge", *map(str, found), "-o", "joined"]) == 2
    assert "none of the reports has a case" in capsys.readouterr().err


def test_a_broken_file_fails_in_one_shard(project: Project, pytester: pytest.Pytester) -> None:
    project(net="model: 3\n")
    codes = [pytester.runpytest_inprocess(f"--shard={index}/3").ret for index in (1, 2, 3)]
    assert sorted(codes) == [0, 0, 1]


@pytest.mark.slow
def test_workers_of_xdist_take_the_same_part(project: Project, pytester: pytest.Pytester) -> None:
    project(net=CASES)
    pytester.runpytest_inprocess("--shard=1/2")
    reports = [report_of(pytester.path)]
    pytester.runpytest_subprocess("--shard=1/2", "-n2")
    reports.append(report_of(pytester.path))
    assert reports[0]["shard"] == reports[1]["shard"] is not None
    assert {one["case"] for one in reports[0]["rows"]} == {one["case"] for one in reports[1]["rows"]}


def test_shards_are_balanced_by_what_ran_before_the_commit(
    project: Project, pytester: pytest.Pytester
) -> None:
    """And by nothing that ran since: some jobs keep their runs while others have not begun."""
    project(net=CASES)
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(pytester.path)]
    for words in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    history = History(str(pytester.path / ".weighbridge/history.sqlite"))
    names = [f"cases/net.yaml::net-0.{index}" for index in (1, 2, 3, 4, 5)]
    heavy = [row(name) | {"seconds": 100.0 if name == names[0] else 25.0} for name in names]
    history.keep(report(1, *heavy))
    later = [one | {"seconds": 900.0 if one["case"] == names[4] else 1.0} for one in heavy]
    history.keep(report(2, *later, created="2199-01-01T00:00:00+00:00"))
    found = [read_report(path) for path in shards(pytester, 2)]
    assert sorted(sorted(one["case"] for one in report["rows"]) for report in found) == [names[:1], names[1:]]


def parts(*cases: list[str], of: int | None = None, **facts: Any) -> dict[str, dict[str, Any]]:
    """Reports of shards with these cases, by the names of their files."""
    dealt = fingerprint({name: index for index, names in enumerate(cases) for name in names})
    numbers = itertools.count()
    places = [[(f"cases/a.yaml::{name}", next(numbers)) for name in names] for names in cases]
    return {
        f"{index}.json": report(
            index,
            *(row(f"cases/a.yaml::{name}") for name in names),
            commit="c" * 40,
            shard={"index": index, "of": of or len(cases), "places": dict(places[index - 1]), "dealt": dealt},
            **facts,
        )
        for index, names in enumerate(cases, 1)
    }


def test_a_missing_shard_is_refused() -> None:
    whole = parts(["a", "b"], ["c"], ["d"])
    with pytest.raises(UsageError, match="no report of shard 2/3"):
        merge({name: one for name, one in whole.items() if name != "2.json"})


def test_a_shard_that_ended_early_is_refused() -> None:
    whole = parts(["a", "b"], ["c"])
    whole["1.json"]["rows"].pop()
    with pytest.raises(UsageError, match=r"1\.json lacks cases/a\.yaml::b: its job ended early"):
        merge(whole)


CONFTEST = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        {mark}

def pytest_runtest_setup(item):
    if item.nodeid.startswith("cases/slow.yaml"):
        {what}
"""


@pytest.mark.parametrize(
    ("what", "mark", "words", "status", "message"),
    [
        ("pass", "item.add_marker('skip')", (), "skip", "unconditional skip"),
        ("pytest.skip('needs --runslow')", "pass", (), "skip", "needs --runslow"),
        ("raise OSError('no such disk')", "pass", (), "error", "setup: OSError: no such disk"),
        ("pass", "pass", ("--benchmark-only",), "skip", "Skipping non-benchmark (--benchmark-only active)."),
    ],
)
def test_a_case_that_others_keep_from_running_has_a_row_and_is_no_hole(
    what: str,
    mark: str,
    words: tuple[str, ...],
    status: str,
    message: str,
    project: Project,
    pytester: pytest.Pytester,
) -> None:
    """Its job ran to the end: merge must not say otherwise."""
    project(slow=CASES)
    pytester.makeconftest(CONFTEST.format(what=what, mark=mark))
    found = []
    for index in (1, 2):
        pytester.runpytest_inprocess(f"--shard={index}/2", *words)
        found.append(pytester.path / f"shard{index}.json")
        (pytester.path / "reports/latest.json").rename(found[-1])
    assert main(["merge", *map(str, found), "-o", "joined"]) == 0
    rows = read_report(pytester.path / "joined/latest.json")["rows"]
    assert [(one["status"], one["message"]) for one in rows] == [(status, message)] * 5


def test_duplicates_are_refused_by_name() -> None:
    with pytest.raises(
        UsageError, match=r"in two of the reports: cases/a\.yaml::b \(in 1\.json and 2\.json\)"
    ):
        merge(parts(["a", "b"], ["b"]))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("dealt", "other", "dealt differently"),
        ("of", 3, "not of one run"),
        ("index", 1, "no report of shard 2/2"),
    ],
)
def test_shards_of_different_runs_are_refused(key: str, value: Any, why: str) -> None:
    whole = parts(["a"], ["b"])
    whole["2.json"]["shard"][key] = value
    with pytest.raises(UsageError, match=why):
        merge(whole)


def test_other_commits_and_whole_runs_among_shards_are_refused() -> None:
    whole = parts(["a"], ["b"])
    with pytest.raises(UsageError, match=r"different commits: 1\.json of ccccccc, 2\.json of ddddddd"):
        merge({**whole, "2.json": {**whole["2.json"], "commit": "d" * 40}})
    with pytest.raises(UsageError, match="no shard, as the others are"):
        merge({**whole, "2.json": {**whole["2.json"], "shard": None}})


@pytest.mark.parametrize(("key", "values"), [("bench", (True, False)), ("confidence", (0.95, None))])
def test_shards_that_were_asked_for_different_things_are_refused(key: str, values: tuple[Any, Any]) -> None:
    """The joined report says of all what it says of one; how each was called does not matter."""
    whole = parts(["a"], ["b"])
    for one, argv in zip(whole.values(), ("--shard=1/2", "--shard=2/2"), strict=True):
        one["options"] = {**one["options"], "argv": [argv]}
    assert len(merge(whole)["rows"]) == 2
    for one, value in zip(whole.values(), values, strict=True):
        one["options"] = {**one["options"], key: value}
    with pytest.raises(UsageError, match=f"asked for different things, {key}: 1.json .*, 2.json"):
        merge(whole)
    with pytest.raises(UsageError, match="none of the reports has a case"):
        merge({"1": {**report(1), "rows": []}, "2": {**report(2, commit=report(1)["commit"]), "rows": []}})


def test_several_runs_are_joined_and_every_format_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = report(1, row("cases/a.yaml::a", ratio=1.5), commit="c" * 40)
    two = report(2, row("cases/b.yaml::b", ratio=1.1), commit="c" * 40, machine_class=SECOND)
    for name, each in (("one", one), ("two", two)):
        (tmp_path / f"{name}.json").write_text(Json().render(each))
    place = tmp_path / "h.sqlite"
    for number in (1, 3):
        History(str(place)).keep(report(number, row("cases/a.yaml::a", ratio=1.5)))
    files = [str(tmp_path / name) for name in ("one.json", "two.json")]
    assert main(["merge", *files, "-o", str(tmp_path / "all"), "--history", str(place)]) == 0
    assert "2 cases: 2 pass" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        f"latest{sink.suffix}" for sink in REPORTS if isinstance(sink, TextReport)
    }
    joined = json.loads((tmp_path / "all/latest.json").read_text())
    assert joined["machine_class"] == ""
    assert [History(str(place)).of_case(f"cases/{name}.yaml::{name}", 9)[0].machine for name in "ab"] == [
        FIRST,
        SECOND,
    ]
    # The joined run stands where its part was; a run that is none of its parts stays.
    assert [run.run for run in History(str(place)).runs(9)] == [report(3)["run"], joined["run"]]
    assert merge({"1": one, "2": two}) == merge({"2": two, "1": one})


def test_a_history_that_is_off_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The word is pytest's own, for the same option."""
    monkeypatch.chdir(tmp_path)
    Path("one.json").write_text(Json().render(report(1)))
    assert main(["merge", "one.json", "-o", "all", "--history", "off"]) == 0
    assert main(["history", "--add", "one.json", "--history", "off"]) == 2
    assert "a history that is off has no runs" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"one.json", "all"}
