"""The cases of docs/accuracy.md run, and pass."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from tests.projects import weigh, write_project

TEXT = (Path(__file__).parents[2] / "docs/accuracy.md").read_text(encoding="utf-8")
CASES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", CASES)
def test_a_case_of_the_page_passes(tmp_path: Path, text: str) -> None:
    if "torchmetrics" in text and importlib.util.find_spec("torchmetrics") is None:
        pytest.skip("pip install torchmetrics")
    found = weigh(write_project(tmp_path), text).result
    assert [(one.threshold, one.status) for one in found.verdicts if one.status != "pass"] == []
    assert found.verdicts


def test_every_kind_of_case_is_there() -> None:
    assert len(CASES) == 3
