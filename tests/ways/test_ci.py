"""The GitHub action and the pre-commit hook that the repository offers: what they run is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.contracts import REPORTS

ROOT = Path(__file__).parents[2]


def test_the_action_runs_what_there_is(pytestconfig: pytest.Config) -> None:
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = action["runs"]["steps"]
    weigh = next(step for step in steps if step.get("name") == "Weigh")
    words = shlex.split(weigh["run"])
    assert words[:3] == ["python", "-m", "pytest"]
    assert set(words[words.index("--report") + 1].split(",")) <= set(REPORTS.names())
    helped = subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True).stdout
    for word in ("--strict-requirements", "--report", "--bench"):
        assert word in weigh["run"] + weigh["env"]["SPEED"]
        assert re.search(rf"^\s+{word}[ ,=\n]", helped, re.M)
    # What a user states goes through the environment: in the script itself it could be a command.
    assert not any("${{" in step.get("run", "") for step in steps)
    stated = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert stated == set(action["inputs"])


def test_the_hook_checks_case_files(tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert re.search(hook["files"], "cases/digits/cnn.yaml")
    command = [sys.executable, "-m", *shlex.split(hook["entry"])]
    (tmp_path / "good.yaml").write_text("model: {onnx: a.onnx}\nthresholds: {size: 5 MB}\n")
    (tmp_path / "bad.yaml").write_text("model: {onnx: a.onnx}\nthresholds: {sise: 5 MB}\n")
    done = [
        subprocess.run([*command, name], cwd=tmp_path, capture_output=True)
        for name in ("good.yaml", "bad.yaml")
    ]
    assert [each.returncode for each in done] == [0, 1]


@pytest.mark.parametrize("page", ["README.md", "docs/gate.md"])
def test_the_command_for_ci_measures_speed_and_lets_nothing_through(
    page: str, pytestconfig: pytest.Config
) -> None:
    (command,) = re.findall(r"(?:run: |\n)(pytest cases .*--junitxml=\S+)\n", (ROOT / page).read_text())
    words = shlex.split(command)
    assert {"--bench", "--strict-requirements"} <= set(words)
    assert not any(word.startswith("--bench-inconclusive") for word in words)
    assert pytestconfig.getoption("weighbridge_bench_inconclusive") == "fail"
    assert set(words[words.index("--report") + 1].split(",")) <= set(REPORTS.names())
