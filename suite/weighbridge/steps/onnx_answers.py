"""What an ONNX graph answers to samples: whether an edited one gives the same, and what goes on inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.steps.alike import same_answers
from weighbridge.steps.calibration import Calibration

if TYPE_CHECKING:
    from weighbridge.contracts import Array, Context
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

SAMPLES = 8
"""That two graphs are compared on."""


def give_the_same(one: Any, other: Any, context: Context) -> bool:
    """Whether both give the same answers, but for rounding; False where `other` does not run."""
    import numpy as np

    wanted = _answers(one, context)
    try:
        given = _answers(other, context)
    except Exception:  # ONNX Runtime's own share no base
        return False
    return same_answers(
        [
            (a, b, float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else None)
            for a, b in zip(wanted, given, strict=True)
        ]
    )


def heard(proto: Any, names: Sequence[str], context: Context, samples: int) -> Iterator[dict[str, Array]]:
    """The values called `names` in each call, for up to `samples` samples of the calibration split.

    Raises `StageError` where the samples do not go through the model.
    """
    import onnx

    from weighbridge.engines.sequences import stepped

    listened = onnx.ModelProto()
    listened.CopyFrom(proto)
    there = {value.name for value in (*proto.graph.output, *proto.graph.input)}
    inside = [name for name in names if name not in there]
    listened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inside)
    given = [name for name in names if name not in {value.name for value in proto.graph.input}]
    # The model as it is tells what to feed: a sequence's state is in its last outputs, and here further ones follow.
    plain = opened(proto, context)
    watched = opened(listened, context)
    session = stepped(plain, context.data.layout.sequence)
    for batch in Calibration(context, samples, plain.fixed_batch(context.data.layout.axes)):
        for feed in session.feeds(batch):
            values = dict(zip(given, watched.session.run(given, feed), strict=True)) if given else {}
            yield values | {name: feed[name] for name in names if name in feed}


def opened(proto: Any, context: Context) -> OnnxRuntimeSession:
    """What runs the graph, from a file that is gone again. Raises `StageError` where ONNX Runtime does not open it."""
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

    with TemporaryDirectory(dir=context.workdir) as name:
        path = Path(name) / "model.onnx"
        write_onnx(proto, path)
        try:
            return OnnxRuntimeSession(str(path))
        except StageError as error:
            raise StageError(error.stage, error.message.replace(str(path), "it"), error.step) from error


def _answers(proto: Any, context: Context) -> tuple[Array, ...]:
    from weighbridge.engines.sequences import stepped

    session = stepped(opened(proto, context), context.data.layout.sequence)
    return session.run(context.data.sample(SAMPLES))
