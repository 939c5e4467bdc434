"""A quantized layer that is the whole model: its names have no prefix, and its own scale is no weight."""

from __future__ import annotations

from pathlib import Path

from tests.projects import weigh


def test_the_scale_of_a_lone_layer_is_no_weight(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("import torch\n\n\ndef linear():\n    return torch.nn.Linear(10, 5)\n")
    found = weigh(
        tmp_path,
        "model: {torch: model.py:linear}\ninputs: [[10]]\nrecipe: [{quantize: dynamic, engine: torch}]\n"
        "thresholds: {weights_size: {equals: 70}, parameters: {equals: 55}}\n",
    )
    assert found.result.status == "pass", found.verdicts
