"""The smaller ways in: `new -o`, `run`, `--version`, `list STEP`, and what pytest says of folders and flags."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import statuses
from tests.ways.made import in_folder

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.contracts import ENGINES, STEPS, THRESHOLDS

Project = Callable[..., Path]


@pytest.fixture
def files(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_folder(pytester.path, monkeypatch)


def test_new_writes_paths_that_hold_from_the_case(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "model.onnx", "--data", "samples.npz", "-o", "gates/net/first.yaml"]) == 0
    (case,) = load_cases(Path("gates/net/first.yaml"))
    assert (case.folder / case.model.reference).resolve() == (files / "model.onnx").resolve()
    assert (case.folder / str(case.data)).resolve() == (files / "samples.npz").resolve()
    assert main(["new", "model.onnx", "-o", "gates/net/first.yaml"]) == 2
    assert "nothing is written over" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["sensitivity", "net.yaml"], ["search", "net.yaml"], ["try", "model.onnx", "--data", "samples.npz"]],
)
def test_long_work_does_not_begin_where_its_result_could_not_be_written(
    files: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty file is the user's too."""
    recipe = "" if words[0] == "search" else "recipe: [{quantize: dynamic, engine: onnxruntime}]\n"
    limit = "thresholds: {accuracy_drop: 0.5}\n"
    Path("net.yaml").write_text(f"model: {{onnx: model.onnx}}\ndata: samples.npz\n{recipe}{limit}")
    Path("taken.yaml").touch()
    assert main([*words, "-o", "taken.yaml"]) == 2
    assert "taken.yaml: the file is there already, and nothing is written over" in capsys.readouterr().err
    assert not Path(".weighbridge").exists()


@pytest.mark.parametrize("name", ["my model.onnx", "net #1.onnx", "net: it.onnx", "ñandú {1}.onnx"])
def test_a_path_is_read_as_it_is_called(files: Path, name: str) -> None:
    Path("model.onnx").rename(name)
    assert main(["init", f"./{name}", "--no-bench", "--into", "cases/it"]) == 0


@pytest.mark.slow
def test_run_takes_a_folder_wherever_it_lies(project: Project, pytester: pytest.Pytester) -> None:
    """And leaves options to pytest."""
    project().rename("gates")
    code = "from weighbridge.cli.main import main; raise SystemExit(main(['run', 'gates', '-k', 'size_ratio', '-q']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(pytester.path) == {"net::size_ratio": "pass"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "nowhere"], "no file or folder nowhere"),
        (["run", "empty"], "no case file in the folder empty; `weighbridge init` writes one"),
        (["run"], "no file or folder cases"),
        (["list", "statc"], "unknown step, threshold or engine 'statc'; did you mean 'quantize:static'?"),
        (["list", "accuracy-drop"], "did you mean 'accuracy_drop'?"),
        (["new", "model.onnx", "-o", "empty"], "empty: the file is there already"),
    ],
)
def test_wrong_use_is_told(
    words: list[str], sentence: str, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    (pytester.path / "empty").mkdir()
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_run_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    assert "weighbridge run [CASE ...] [PYTEST OPTION ...]" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("weighbridge 0.")
    done = subprocess.run([sys.executable, "-m", "weighbridge", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("weighbridge 0."), done.stderr


@pytest.mark.parametrize(
    "words", [["quantize:static"], ["static"], ["quantize:", "static"], ["quantize:static@onnxruntime"]]
)
def test_the_options_of_a_step(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "quantize: static, engine: onnxruntime (takes onnx)"
    rows = {line.split()[0]: line for line in lines[1:] if line.strip()}
    assert "minmax, entropy, percentile, mse" in rows["calibration"]
    assert "whole number ≥ 1" in rows["samples"]
    assert "At most so many samples of the calibration split." in rows["samples"]


@pytest.mark.parametrize("name", sorted({*STEPS.names(), *THRESHOLDS.names(), *ENGINES.names()}, key=str))
def test_whatever_a_case_names_has_its_options_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = next(
        registry.get(name).options for registry in (STEPS, THRESHOLDS, ENGINES) if name in registry
    )
    assert main(["list", name]) == 0
    out = capsys.readouterr().out
    assert set(options.model_fields) <= set(out.split())
    assert "anything" not in out


@pytest.mark.parametrize("key", STEPS.names())
def test_the_help_of_a_step_speaks_of_no_other_kind(key: str) -> None:
    step = STEPS.get(key)
    others = {each.kind for each in STEPS} - {step.kind}
    fields = [
        step.options.model_fields[name] for name in ("layers", "exclude") if name in step.options.model_fields
    ]
    assert not others & {word for field in fields for word in re.findall(r"\w+", field.description or "")}


def test_a_folder_of_cases_that_do_not_count_is_told(project: Project, pytester: pytest.Pytester) -> None:
    project().rename("gates")
    Path("gates/other.yaml").write_text("thresholds of nothing\n")
    assert "reads like a case" in pytester.runpytest_inprocess().stdout.str()
    result = pytester.runpytest_inprocess("gates/")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(
        ["gates/net.yaml reads like a case, but `weighbridge_cases` (cases/[*].yaml *"]
    )
    said = next(line for line in result.outlines if line.startswith("gates/net.yaml reads"))
    Path("gates/other.yaml").unlink()
    pytester.makeini(f"[pytest]\n{said.partition('settings: ')[2]}")
    pytester.runpytest_inprocess("gates/").assert_outcomes(passed=2)


def test_folders_that_were_not_named_and_those_of_tests_are_no_news(
    project: Project, pytester: pytest.Pytester
) -> None:
    project()
    Path("more").mkdir()
    Path("more/net.yaml").write_text(Path("cases/net.yaml").read_text())

    def told(*arguments: str) -> bool:
        return "reads like a case" in pytester.runpytest_inprocess(*arguments).stdout.str()

    assert not told()
    assert told("cases", "more")
    Path("more/test_it.py").write_text("def test(): pass\n")
    assert not told("cases", "more")


@pytest.mark.parametrize("flag", [["-n", "2"], ["-n2"], ["-nauto"], ["--numprocesses=2"]])
def test_workers_without_xdist_say_what_to_install(flag: list[str], pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "no:xdist", *flag)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*by pytest-xdist: pip install pytest-xdist*"])


def test_an_option_that_nobody_knows_is_still_pytests_to_refuse(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--no-such-option")
    result.stderr.fnmatch_lines(["*unrecognized arguments: --no-such-option*"])
