"""The code of a case is followed once while it runs, and read again for the next one."""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.code import code_digest, unchanging_code


def test_an_edit_is_seen_between_two_cases_and_not_within_one(tmp_path: Path) -> None:
    model, helper = tmp_path / "model.py", tmp_path / "helper.py"
    model.write_text("import helper\n")
    helper.write_text("A = 1\n")
    digests = []
    for text in ("A = 1\n", "A = 22\n", "A = 1\n"):
        helper.write_text(text)
        with unchanging_code():
            digests.append(code_digest([model], tmp_path))
            helper.write_text("A = 333\n")
            digests.append(code_digest([model], tmp_path))
    assert digests[0] == digests[1]
    assert digests[2] == digests[3] != digests[0]
    assert digests[4] == digests[0]


def test_other_files_and_roots_are_other_code(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("A = 1\n")
    other.write_text("A = 2\n")
    with unchanging_code():
        assert code_digest([one], tmp_path) != code_digest([other], tmp_path)
        assert code_digest([one, other], tmp_path) != code_digest([one], tmp_path)


def test_outside_of_a_case_nothing_is_remembered(tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text("A = 1\n")
    with unchanging_code():
        before = code_digest([model], tmp_path)
    model.write_text("A = 22\n")
    assert code_digest([model], tmp_path) != before
