"""What the user's code makes of an environment variable is made again when the variable changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import CASE, MODEL, report_of

from weighbridge.core.code import code_digest
from weighbridge.run import recent

Project = Callable[..., Path]


def digest_with(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> str:
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return code_digest([folder / "model.py"], folder)


@pytest.mark.parametrize(
    "read",
    [
        "os.environ['GAIN']",
        "os.environ.get('GAIN', '1')",
        "os.getenv('GAIN')",
        "'GAIN' in os.environ",
        "os.environ[f'GA_{1}']",
        "os.environ['GA_' + '1']",
    ],
)
def test_a_variable_that_the_code_names_is_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """Wherever it is read: while the module is imported, in a call, or in a file that it imports."""
    (tmp_path / "model.py").write_text("import settings\n")
    (tmp_path / "settings.py").write_text(f"import os\ndef gain():\n    return {read}\n")
    name = "GAIN" if "GAIN" in read else "GA_1"
    values = [digest_with(monkeypatch, tmp_path, **{name: value}) for value in ("1", "2", "1")]
    assert values[0] == values[2] != values[1]
    assert digest_with(monkeypatch, tmp_path) not in values


def test_a_name_in_another_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text("import os\nfrom names import NAME\nGAIN = os.environ.get(NAME)\n")
    (tmp_path / "names.py").write_text("NAME = 'GAIN'\n")
    assert digest_with(monkeypatch, tmp_path, GAIN="1") != digest_with(monkeypatch, tmp_path, GAIN="2")


def test_what_the_code_does_not_name_or_only_sets_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run under another job, or with another shell's underscore, is no other code."""
    (tmp_path / "model.py").write_text(
        "import os\nos.environ['THREADS'] = '1'\nos.environ.setdefault('LEVEL', '3')\nNAME = 'a.b'.replace('.', '_')\n"
    )
    plain = digest_with(monkeypatch, tmp_path)
    for name in ("THREADS", "LEVEL", "CI_JOB", "_"):
        assert digest_with(monkeypatch, tmp_path, **{name: "other"}) == plain


GAIN = """
class Gain(nn.Module):
    def forward(self, x):
        return x * float(os.environ.get("GAIN", "1"))
"""
BY_ENVIRONMENT = (
    "import os\n"
    + MODEL.replace("\ndef net", f"\n{GAIN}\n\ndef net", 1).replace(
        "nn.Linear(96, 4))\n", "nn.Linear(96, 4), Gain())\n"
    )
    + """

def shifted():
    given = splits()
    x, y = given["test"]
    return {**given, "test": (x + np.float32(os.environ.get("SHIFT", "0")), y)}


def worth(outputs, targets):
    return (outputs.argmax(1) == targets) * float(os.environ.get("WORTH", "1"))


worth.higher_is_better = True
"""
)


@pytest.mark.parametrize(
    ("variable", "value", "moves"),
    [("GAIN", "0", "baseline"), ("WORTH", "0.25", "candidate")],
)
def test_a_run_with_another_value_is_not_answered_from_what_was_kept(
    pytester: pytest.Pytester,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    moves: str,
) -> None:
    """The weights and the layers are the same, and so is the text of the code."""
    folder = project(net=f"{CASE}  accuracy: 0.01\nmetric: model.py:worth\n")
    (folder / "model.py").write_text(BY_ENVIRONMENT)

    def measured() -> float:
        recent.forget_data()  # as in a run of its own
        pytester.runpytest_inprocess("--executor=inline", "-p", "no:randomly")
        return float(report_of(pytester.path)["rows"][0]["measurements"]["accuracy"][moves])

    first = measured()
    monkeypatch.setenv(variable, value)
    assert measured() < first - 0.1
    monkeypatch.delenv(variable)
    assert measured() == first


def test_the_next_case_of_a_process_reads_its_data_anew(pytester: pytest.Pytester, project: Project) -> None:
    sheet = (
        "model: {torch: model.py:net, weights: net.safetensors}\ndata: model.py:shifted\nallow_chance: true\n"
    )
    cases = "".join(
        f"  - {{name: c{n}, recipe: [{{prune: l1_unstructured, amount: 0.2}}], thresholds: {{accuracy: 0.1}}}}\n"
        for n in range(3)
    )
    folder = project(net=f"{sheet}cases:\n{cases}")
    (folder / "model.py").write_text(BY_ENVIRONMENT)
    (folder / "conftest.py").write_text(
        "import os, pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_protocol(item):\n"
        "    if 'c1' in item.nodeid:\n        os.environ['SHIFT'] = '9'\n"
        "    try:\n        return (yield)\n    finally:\n        os.environ.pop('SHIFT', None)\n"
    )
    pytester.runpytest_inprocess("--executor=inline")
    rows = report_of(pytester.path)["rows"]
    found = [row["measurements"]["accuracy"]["candidate"] for row in rows]
    assert found[1] < found[0] == found[2]
