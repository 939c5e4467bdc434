"""docs/train.md: its cases are valid, and pass on a network that was trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import test_docs
from tests.projects import statuses

PAGE = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")


def test_the_cases_of_the_page_pass(pytester: pytest.Pytester) -> None:
    files = dict(re.findall(r"```yaml\n# file: (\S+)\n(.*?)```", PAGE, re.DOTALL))
    for name, text in {**files, "cases/mine/model.py": test_docs.FILES["cases/mine/model.py"]}.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (pytester.path / "cases/mine/network.safetensors").write_bytes(test_docs.trained())
    pytester.runpytest_inprocess("cases")
    assert statuses(pytester.path), "there are cases"
    assert set(statuses(pytester.path).values()) == {"pass"}
