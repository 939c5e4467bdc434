"""docs/train.md, and what docs/quantize.md has for torch: their cases pass on a network that was trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import test_docs
from tests.projects import statuses

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("train", "cases/mine/distilled.yaml"),
        ("train", "cases/mine/qat.yaml"),
        ("quantize", "cases/mine/torch.yaml"),
    ],
)
@pytest.mark.slow
def test_the_cases_of_the_page_pass(pytester: pytest.Pytester, page: str, name: str) -> None:
    pytest.importorskip("torchao", reason="pip install 'weighbridge[torchao]'")
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```yaml\n# file: (\S+)\n(.*?)```", text, re.DOTALL))
    folder = pytester.path / "cases" / "mine"
    folder.mkdir(parents=True)
    (pytester.path / name).write_text(files[name])
    (folder / "model.py").write_text(test_docs.FILES["cases/mine/model.py"])
    (folder / "network.safetensors").write_bytes(test_docs.trained())
    pytester.runpytest_inprocess("cases")
    assert statuses(pytester.path), "there are cases"
    assert set(statuses(pytester.path).values()) == {"pass"}
