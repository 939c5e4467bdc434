"""`--no-skips`: a test that is skipped fails, unless it is in the list."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.skips import ALLOWED

HERE = Path(__file__).parent

TESTS = """
import pytest


def test_passes():
    pass


def test_is_skipped():
    pytest.skip("no such program: apt-get install program")


@pytest.mark.skipif(True, reason="on this machine")
def test_is_skipped_by_a_mark():
    pass


@pytest.mark.xfail(reason="known")
def test_is_known_to_fail():
    assert False


@pytest.fixture
def program():
    pytest.skip("no such program: apt-get install program")


def test_is_skipped_by_a_fixture(program):
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """The tests above under this folder's conftest."""
    tests = pytester.mkdir("tests")
    for name in ("conftest.py", "skips.py"):
        (tests / name).write_text((HERE / name).read_text(encoding="utf-8"))
    (tests / "test_some.py").write_text(TESTS)
    pytester.makeconftest("pytest_plugins = ['pytester']")
    return pytester


def test_skips_are_skips_unless_asked(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess("tests").assert_outcomes(passed=1, skipped=3, xfailed=1)


def test_a_skip_fails_and_says_its_reason(suite: pytest.Pytester) -> None:
    """Of a mark or a fixture it is an error: it comes before the test."""
    result = suite.runpytest_inprocess("tests", "--no-skips")
    result.assert_outcomes(passed=1, failed=1, errors=2, xfailed=1)
    result.stdout.fnmatch_lines(["*no such program: apt-get install program*", "*on this machine*"])


def test_a_reason_can_be_let_through(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("tests", "--no-skips", "--may-skip=no such program")
    result.assert_outcomes(passed=1, errors=1, skipped=2, xfailed=1)


def test_a_module_that_skips_itself_fails(suite: pytest.Pytester) -> None:
    (suite.path / "tests" / "test_some.py").write_text(
        "import pytest\npytest.importorskip('no_such_package')"
    )
    suite.runpytest_inprocess("tests").assert_outcomes(skipped=1)
    suite.runpytest_inprocess("tests", "--no-skips").assert_outcomes(errors=1)


def test_what_the_list_names_exists() -> None:
    for entry in ALLOWED:
        path, _, function = entry.test.partition("::")
        text = (HERE.parent / path).read_text(encoding="utf-8")
        assert f"def {function}" in text
        assert entry.reason in text
