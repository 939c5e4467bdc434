"""A case held against an earlier run: what that takes, what it finds, and what it says where there is none."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.projects import report_of, statuses

from weighbridge.case.load import load_cases
from weighbridge.core.errors import CaseError
from weighbridge.core.past import Past, Reference
from weighbridge.core.results import Measurement
from weighbridge.history.history import History
from weighbridge.report.html import Html
from weighbridge.report.markdown import Markdown
from weighbridge.run.job import SHOWN
from weighbridge.run.since import Since

Project = Callable[..., Path]
CASE = """
model: {{torch: model.py:net, weights: net.safetensors}}
data: model.py:splits
recipe: [{{prune: l1_unstructured, amount: {amount}}}]
thresholds:
  accuracy_drop: {{max: 0.02, against: {against}}}
  nonzero_ratio: 1.4
"""


def case(amount: float = 0.1, against: str = "main") -> str:
    return CASE.format(amount=amount, against=against)


class Repository:
    """A project under git, in which cases run."""

    def __init__(self, pytester: pytest.Pytester, project: Project) -> None:
        self._pytester, self._project = pytester, project
        self.folder = pytester.path
        self._git("init", "-qb", "main")

    def _git(self, *words: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, "-C", str(self.folder), *words], check=True, capture_output=True)

    def run(self, text: str, *words: str, branch: str = "main", commit: bool = True) -> pytest.RunResult:
        """Run the case `net` with this text, committed on a branch."""
        if branch != "main":
            self._git("checkout", "-q", "-B", branch)
        self._project(net=text)
        if commit:
            self._git("add", "cases/net.yaml")
            self._git("commit", "-qm", "now", "--allow-empty")
        result = self._pytester.runpytest_inprocess(*words)
        if branch != "main":
            self._git("checkout", "-qf", "main")
        return result

    @property
    def row(self) -> dict[str, Any]:
        (row,) = report_of(self.folder)["rows"]
        return row

    @property
    def verdict(self) -> dict[str, Any]:
        return next(one for one in self.row["verdicts"] if one["threshold"] == "accuracy_drop")


@pytest.fixture
def repository(pytester: pytest.Pytester, project: Project) -> Repository:
    return Repository(pytester, project)


def test_without_a_run_to_compare_with_nothing_is_measured_and_says_why(repository: Repository) -> None:
    result = repository.run(case())
    result.assert_outcomes(passed=1, skipped=1)
    assert repository.verdict["status"] == "skip"
    assert "against main: no run of a branch 'main' is kept in" in repository.verdict["message"]
    result.stdout.fnmatch_lines(["*Against main: nothing to compare with*"])


def test_under_strict_requirements_that_is_an_error(repository: Repository) -> None:
    repository.run(case(), "--strict-requirements").assert_outcomes(passed=1, errors=1)
    assert repository.verdict["status"] == "error"


def test_what_is_as_it_was_passes(repository: Repository) -> None:
    repository.run(case())
    repository.run(case(), branch="topic").assert_outcomes(passed=2)
    assert repository.verdict["measured"] == 0
    assert repository.verdict["sure"] > 0.95  # the same files, so no sample changed
    assert [change for change in repository.row["against"]["changes"] if change["clear"]] == []


def test_what_became_worse_is_missed_and_told(repository: Repository) -> None:
    repository.run(case())
    first = report_of(repository.folder)
    result = repository.run(case(0.97), branch="topic")
    result.assert_outcomes(passed=1, failed=1)
    verdict, now = repository.verdict, repository.row["measurements"]["accuracy"]["candidate"]
    before = first["rows"][0]["measurements"]["accuracy"]["candidate"]
    assert verdict["measured"] == pytest.approx(before - now)
    assert verdict["interval"][0] < verdict["measured"] < verdict["interval"][1]
    assert f"against main ({first['commit'][:7]} of " in verdict["message"]
    shown = f"{before * 100:.1f}→{now * 100:.1f} %"
    result.stdout.fnmatch_lines(
        [f"*{shown} ✗ ≤2 points*", f"Against main ({first['commit'][:7]} of *): 1 of 1 cases differ"]
    )
    assert "accuracy " in result.stdout.str().partition("cases differ")[2]
    report = report_of(repository.folder)
    for text in (Markdown().render(report), Html().render(report)):
        assert "1 of 1 cases differ" in text


def test_the_drop_from_the_original_is_another_thing(repository: Repository) -> None:
    """Both are bad: against the original it fails, against main it does not."""
    repository.run(case(0.97))
    bad = case(0.97).replace("accuracy_drop: {", "relative_accuracy_drop: 0.02\n  accuracy_drop: {")
    repository.run(bad, branch="topic").assert_outcomes(passed=2, failed=1)
    assert repository.verdict["status"] == "pass"


@pytest.mark.parametrize("trouble", ["failed", "dirty", "judged in part"])
def test_a_run_that_is_no_mark_for_others(trouble: str, repository: Repository) -> None:
    """The last sound run of the branch stays the mark: neither a failure nor files that nobody committed lower it, nor a run
    with -k, which measures what it does not judge.
    """
    repository.run(case())
    mark = report_of(repository.folder)["run"]
    worse = case(0.97, against="nobody") if trouble == "dirty" else case(0.97)
    part = ["-k", "nonzero_ratio"] if trouble == "judged in part" else []
    repository.run(worse, *part, commit=trouble != "dirty")
    assert (repository.row["status"] == "fail") == (trouble == "failed")
    repository.run(case(0.97), branch="topic").assert_outcomes(passed=1, failed=1)
    assert repository.row["against"]["run"] == mark


@pytest.mark.parametrize("called", ["run", "commit", "file"])
def test_a_run_is_named_in_three_ways(called: str, repository: Repository) -> None:
    repository.run(case())
    first = report_of(repository.folder)
    name = {"run": first["run"][:8], "commit": first["commit"][:7], "file": "reports/latest.json"}[called]
    repository.run(case(0.97), f"--against={name}", branch="topic").assert_outcomes(passed=1, failed=1)
    assert repository.row["against"]["run"] == first["run"]


def test_the_option_shows_what_changed_where_no_limit_asks(repository: Repository) -> None:
    plain = case().replace("{max: 0.02, against: main}", "0.99")
    repository.run(plain)
    assert repository.row["against"] is None
    result = repository.run(plain.replace("amount: 0.1", "amount: 0.5"), "--against=main", branch="topic")
    result.assert_outcomes(passed=2)
    changes = {one["quantity"]: one for one in repository.row["against"]["changes"]}
    assert changes["nonzero"]["clear"]
    assert changes["nonzero"]["now"] < changes["nonzero"]["before"]
    result.stdout.fnmatch_lines(["Against main*", "*net*nonzero *→*"])


def test_a_report_that_is_none_stops_before_anything_runs(
    repository: Repository, pytester: pytest.Pytester
) -> None:
    (repository.folder / "odd.json").write_text("{}")
    for name, why in (("odd.json", "is no report"), ("none.json", "there is no report none.json")):
        result = repository.run(case(), f"--against={name}")
        assert why in result.stdout.str() + result.stderr.str()
        assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
        assert not (repository.folder / "reports").exists()


def test_a_limit_may_name_the_report_that_this_run_replaces(repository: Repository) -> None:
    repository.run(case())
    first = report_of(repository.folder)
    repository.run(case(0.97, against="reports/latest.json")).assert_outcomes(passed=1, failed=1)
    assert repository.row["against"]["run"] == first["run"]


@pytest.mark.slow
@pytest.mark.worker
def test_a_worker_knows_the_earlier_run(repository: Repository) -> None:
    repository.run(case(), "--executor=process")
    repository.run(case(0.97), "--executor=process", branch="topic").assert_outcomes(passed=1, failed=1)


def test_a_case_without_an_original_beside_it_can_be_held_to_a_run(repository: Repository) -> None:
    alone = case().replace("recipe: [{prune: l1_unstructured, amount: 0.1}]\n", "")
    repository.run(alone)
    repository.run(alone, branch="topic").assert_outcomes(passed=2)
    assert repository.verdict["status"] == "pass"


def test_a_history_that_is_off_compares_with_nothing(repository: Repository) -> None:
    repository.run(case())
    repository.run(case(), "--history=off", branch="topic")
    assert "no history is kept: --history is off" in repository.verdict["message"]


def test_an_expected_failure_may_be_one_against_a_run(repository: Repository) -> None:
    repository.run(case())
    text = case(0.97) + "xfail: {accuracy_drop: known}\n"
    repository.run(text, branch="topic").assert_outcomes(passed=1, xfailed=1)


FORWARD = "from model import net as plain\n\n\ndef net():\n    return plain()\n"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "code", "package"])
def test_a_speed_is_compared_through_the_same_original_only(
    what: str, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torch module's file holds weights alone: with other code, or another torch, it takes another time."""
    fast = (
        case()
        .replace("accuracy_drop: {max: 0.02,", "speedup: {min: 0.01,")
        .replace("model.py:net", "fast.py:net")
    )
    (repository.folder / "cases").mkdir()
    code = repository.folder / "cases/fast.py"
    code.write_text(FORWARD)
    repository.run(fast, "--bench")
    if what == "code":
        code.write_text(FORWARD.replace("return plain()", "network = plain()\n    return network"))
    if what == "package":
        monkeypatch.setattr("weighbridge.run.artifacts.version_of", lambda package: "0.0")
    repository.run(fast, "--bench", branch="topic")
    verdict = next(one for one in repository.row["verdicts"] if one["threshold"] == "speedup")
    told = "the original is another than then"
    assert (verdict["status"] == "skip") == (told in verdict["message"]) == (what != "nothing")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("accuracy_drop: {against: main}", "accuracy_drop states no limit"),
        ("fidelity: {min: 20, against: main}", "unknown key 'against'"),
        ("size: {max: 20000, against: main}", "unknown key 'against'"),
        ("accuracy_drop: {max: 2, against: main}", "did you mean 0.02"),
        ("speedup: {min: 0.9, against: onnxruntim}", "no engine 'onnxruntim'; did you mean 'onnxruntime'"),
    ],
)
def test_limits_that_cannot_be_held_to_a_run_are_faults(
    line: str, fault: str, project: Project, pytester: pytest.Pytester
) -> None:
    folder = project(net=case().replace("accuracy_drop: {max: 0.02, against: main}", line))
    with pytest.raises(CaseError, match=fault):
        load_cases(folder / "net.yaml")


def test_a_branch_whose_name_has_an_engines_in_it_is_a_branch(
    project: Project, pytester: pytest.Pytester
) -> None:
    line = "speedup: {min: 0.9, against: torch-int8}"
    folder = project(net=case().replace("accuracy_drop: {max: 0.02, against: main}", line))
    (loaded,) = load_cases(folder / "net.yaml")
    assert loaded.thresholds[0].limit.earlier == "torch-int8"


def test_runs_before_and_after_an_update_are_of_one_table(repository: Repository) -> None:
    """What the verdicts of a kept run say of the limit is what the case said."""
    repository.run(case())
    history = History(str(repository.folder / ".weighbridge/history.sqlite"))
    (past,) = history.of_case("cases/net.yaml::net", 5)
    assert past.verdicts[0]["limit"] == {"max": 0.02, "against": "main"}
    assert statuses(repository.folder)["net::accuracy_drop"] == "skip"


@pytest.mark.parametrize(
    ("now", "then", "clear"),
    [
        ([8.0, 9.0], [0.0, None], False),
        ([8.0, None], [1.0, 2.0], True),
        ([0.0, math.inf], [1.0, 2.0], False),
        ([8.0, 9.0], [1.0, 2.0], True),
    ],
)
def test_a_time_of_too_few_loads_is_told_and_not_called_another(
    now: list[Any], then: list[Any], clear: bool
) -> None:
    """Nothing bounds it on a side, which is null in the history: the comparison failed, and the case with it."""

    def latency(interval: list[Any]) -> Measurement:
        return Measurement("latency", "ms", interval[0] + 0.5, None, {"interval": interval})

    past = Past(
        "net", "1", "2026-11-01", None, None, None, "", "pass", 1.0, measurements={"latency": latency(then)}
    )
    job: Any = SimpleNamespace(
        plan=SimpleNamespace(case=SimpleNamespace(repeat=1)),
        earlier={SHOWN: Reference("main", past, timed=past)},
    )
    shipped: Any = SimpleNamespace(record=None)
    told = Since(job, shipped, None).told({"latency": latency(now)})
    assert told is not None
    (change,) = told["changes"]
    assert (change["before"], change["now"], change["clear"]) == (then[0] + 0.5, now[0] + 0.5, clear)
