"""The table of docs/data.md is executed: each example is read, and gives the same samples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.core.data import load_data
from weighbridge.measure.evaluation import evaluate
from weighbridge.measure.metrics import METRICS

TEXT = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
CODE = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES = dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", TEXT, re.MULTILINE))


class FirstWord:
    """Right on every sample: the class is the parity of the first word."""

    def run(self, inputs: Any) -> Any:
        ids = inputs["ids"] if isinstance(inputs, dict) else inputs[0]
        assert len(inputs) == 2
        return (np.eye(2)[ids[:, 0] % 2],)

    def bind(self, inputs: Any) -> Any: ...


def test_the_table_is_found() -> None:
    assert len(EXAMPLES) == 15


@pytest.mark.parametrize("form", EXAMPLES)
def test_each_form_is_read(tmp_path: Path, form: str) -> None:
    assert CODE is not None
    (tmp_path / "model.py").write_text(
        f"{CODE[1]}\n\ndef splits():\n    return {{'test': {EXAMPLES[form]}}}\n"
    )
    random = np.random.default_rng(0)
    ids = random.integers(0, 50, (300, 8))
    np.savez(tmp_path / "samples.npz", ids=ids, mask=np.ones((300, 8), "float32"), y=ids[:, 0] % 2)
    split = load_data("model.py:splits", tmp_path).split("test")
    if EXAMPLES[form].endswith("None)"):
        assert {targets is None for _, targets in split.batches()} == {True}
        return
    found = evaluate({"candidate": FirstWord()}, split, METRICS.get("accuracy"))["candidate"]
    assert found.n == 300
    assert found.scores is not None
    assert found.scores.mean() == 1
