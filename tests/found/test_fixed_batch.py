"""A model exported at a fixed batch is run slice by slice, and timed on the same samples as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.found.text_model import network, texts

from weighbridge.engines.onnxruntime import OnnxRuntimeSession


def session(folder: Path, batch: int | str) -> OnnxRuntimeSession:
    onnx.save(network(batch=batch), folder / f"{batch}.onnx")
    return OnnxRuntimeSession(str(folder / f"{batch}.onnx"))


@pytest.mark.parametrize(("batch", "calls"), [(1, 50), (8, 7), (50, 1), (64, 1), ("n", 1)])
def test_every_sample_is_run_and_timed(tmp_path: Path, batch: int | str, calls: int) -> None:
    ids, mask, _ = texts(50)
    opened, free = session(tmp_path, batch), session(tmp_path, "n")
    np.testing.assert_allclose(opened.run((ids, mask))[0], free.run((ids, mask))[0], rtol=1e-5)
    assert len(opened.feeds((ids, mask))) == calls
    done = opened.bind((ids, mask))()
    assert len(done) == (calls if calls > 1 else len(free.run((ids, mask))))
