"""Code in a package under `src/`, and paths that are relative to where somebody stood: the gate and the verbs agree on both."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from weighbridge.cli.main import main
from weighbridge.core.errors import StageError
from weighbridge.core.references import call, resolve
from weighbridge.run.import_paths import add_import_paths

SETTINGS = {
    "pytest.toml": '[pytest]\npythonpath = ["src", "lib"]\n',
    ".pytest.toml": '[pytest]\npythonpath = ["src", "lib"]\n',
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src", "lib"]\n',
    "pytest.ini": "[pytest]\npythonpath = src lib\n",
    "tox.ini": "[pytest]\npythonpath = src\n    lib\n",
    "setup.cfg": "[tool:pytest]\npythonpath = src lib\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`src/zoo/models/net.py`, which imports its siblings by relative imports and opens a file by a relative path."""
    models = tmp_path / "src" / "zoo_of_tests" / "models"
    models.mkdir(parents=True)
    for folder in (models, models.parent):
        (folder / "__init__.py").write_text("")
    (models / "blocks.py").write_text("WIDTH = 8\n")
    (models / "net.py").write_text(
        "from .blocks import WIDTH\n\n\ndef width(): return WIDTH\ndef configured(): return open('configs/net.yaml')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    for name in [name for name in sys.modules if name.startswith("zoo_of_tests")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_file_of_a_package_is_told_the_name_of_its_module(project: Path) -> None:
    with pytest.raises(StageError) as error:
        resolve("src/zoo_of_tests/models/net.py:width", project)
    assert "is named by its module, zoo_of_tests.models.net:callable" in str(error.value)
    assert "`pythonpath` is to name src" in str(error.value)


def test_a_package_that_is_not_on_the_path_is_told_where_it_lies(project: Path) -> None:
    with pytest.raises(StageError, match=r"it is in src; pytest's setting `pythonpath` is to name src"):
        resolve("zoo_of_tests.models.net:width", project)
    with pytest.raises(StageError, match=r"No module named 'zoo_of_others'$"):
        resolve("zoo_of_others.net:width", project)


@pytest.mark.parametrize("file", SETTINGS)
def test_the_verbs_import_from_where_pytest_does(project: Path, file: str) -> None:
    (project / file).write_text(SETTINGS[file])
    add_import_paths(project)
    assert sys.path[:2] == [str(project / "src"), str(project / "lib")]
    assert call("zoo_of_tests.models.net:width", project) == 8


@pytest.mark.parametrize("text", ["", "[tool.pytest.ini_options]\n", "[tool", "tool = 3\n"])
def test_settings_that_name_no_path_add_none(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)
    before = list(sys.path)
    add_import_paths(project)
    assert sys.path == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"pytest.toml": ""}, "pytest.ini"),
        ({"pytest.ini": "[other]\n"}, "pyproject.toml"),
        ({"pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-q'\n"}, "tox.ini"),
        ({"pyproject.toml": "[tool.pytest]\naddopts = ['-q']\n"}, "setup.cfg"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_where_one_file_is_the_settings_pytest_reads_no_other(
    project: Path, first: dict[str, str], second: str
) -> None:
    for name, text in {**first, second: SETTINGS[second]}.items():
        (project / name).write_text(text)
    before = list(sys.path)
    add_import_paths(project)
    assert sys.path == before


def test_a_file_without_the_section_of_pytest_is_passed_over(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.pytest-watch]\nnobeep = true\n")
    (project / "tox.ini").write_text("[testenv]\ncommands = pytest\n")
    (project / "setup.cfg").write_text(SETTINGS["setup.cfg"])
    add_import_paths(project)
    assert sys.path[:2] == [str(project / "src"), str(project / "lib")]


def test_a_plan_and_a_trial_read_the_setting(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pyproject.toml").write_text(SETTINGS["pyproject.toml"])
    (project / "net.yaml").write_text(
        "model: {torch: zoo_of_tests.models.net:width}\nthresholds: {size: 1 MB}\n"
    )
    main(["plan", "net.yaml"])
    assert "gave a int, not a torch.nn.Module" in capsys.readouterr().out


def test_a_relative_path_says_where_it_was_looked_for(project: Path) -> None:
    sys.path.insert(0, str(project / "src"))
    with pytest.raises(StageError) as error:
        call("zoo_of_tests.models.net:configured", project)
    assert f"looked for in {project}, where pytest was started; write `Path(__file__).parent" in str(
        error.value
    )
