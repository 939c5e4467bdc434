"""Stateful ONNX models: a sample is a sequence that is fed step by step, and the state starts at zero for each.

The state is what the model takes and the data does not give; the model's last outputs are its next values, in the same
order. Voice activity detectors and streaming recognizers are exported so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Array, Engine, EngineOptions, Inputs, Mixed, Requirement
from weighbridge.core.batches import NamedInputs, axes_of, count, describe, items, take
from weighbridge.core.errors import StageError
from weighbridge.core.flow import flow
from weighbridge.engines.named import NamedSession

if TYPE_CHECKING:
    from weighbridge.core.results import Artifact


class SteppedSession:
    """Sequences of shape [N, T, ...] through a model that takes one step, [N, ...]; answers have shape [N, T, ...]."""

    def __init__(self, step: NamedSession) -> None:
        self._step = step

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import numpy as np

        parts = []
        for group in self._groups(inputs):
            answers = [found for _, found in self._steps(group)]
            parts.append([np.stack(column, axis=1) for column in zip(*answers, strict=True)])
        return tuple(np.concatenate(column)[: count(inputs)] for column in zip(*parts, strict=True))

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """One step, with the state at zero: what a service runs at each call."""
        feed, _ = next(self._steps(next(self._groups(inputs))))
        run = self._step.infer
        return lambda: run(feed)

    def feeds(self, inputs: Inputs) -> Iterator[dict[str, Array]]:
        """The named arrays of each step, the state as it was then: what a quantizer calibrates with."""
        return (feed for group in self._groups(inputs) for feed, _ in self._steps(group))

    def fixed_batch(self, axes: Any) -> int | None:
        return self._step.fixed_batch(axes)

    def _groups(self, inputs: Inputs) -> Iterator[Inputs]:
        """As many sequences at once as the model's batch allows; the last group is filled up by repetition."""
        import numpy as np

        n = count(inputs)
        size = self.fixed_batch(axes_of(inputs)) or n
        for start in range(0, n, size):
            yield take(inputs, np.arange(start, start + size) % n)

    def _steps(self, inputs: Inputs) -> Iterator[tuple[dict[str, Array], tuple[Array, ...]]]:
        """What is fed at each step, and the answers, the state's next values left out."""
        axes, names = axes_of(inputs), list(self._step.inputs)
        given = {
            name if isinstance(inputs, dict) else names[int(name)]: (array, axis)
            for name, array, axis in items(inputs)
        }
        state = self._zeros([name for name in names if name not in given], count(inputs), axes)
        for at in range(_length(inputs)):
            fed = {name: _at(array, axis, at) for name, (array, axis) in given.items()}
            feed = self._step.feed(NamedInputs({**fed, **state}, axes))
            outputs = self._step.call(feed)
            answers, following = outputs[: len(outputs) - len(state)], outputs[len(outputs) - len(state) :]
            if not answers or [value.shape for value in following] != [
                value.shape for value in state.values()
            ]:
                raise StageError(
                    "run",
                    f"the data gives {describe(inputs)}, so {', '.join(state)} would be state; but the model's last outputs "
                    f"have the shapes {[list(value.shape) for value in outputs]}, which are not the state's",
                )
            state = dict(zip(state, following, strict=True))
            yield feed, answers

    def _zeros(self, names: list[str], n: int, axes: Any) -> dict[str, Array]:
        import numpy as np

        zeros = {}
        for name in names:
            shape: list[Any] = [*self._step.inputs[name].shape]
            if axes.get(name, 0) is not None and shape:
                shape[axes.get(name, 0)] = n
            if any(not isinstance(size, int) for size in shape):
                raise StageError(
                    "data",
                    f"the model's state {name} has the open shape {shape}; name its batch axis, `batch: {flow({name: 1})}`, "
                    "or give it with the data",
                )
            zeros[name] = np.zeros(shape, self._step.dtype(name))
        return zeros


def _length(inputs: Inputs) -> int:
    for _, array, axis in items(inputs):
        if axis is not None and array.ndim > 1:
            return int(array.shape[1 if axis == 0 else 0])
    raise StageError(
        "data", f"`sequence: true` wants sequences, [N, T, ...], and the data gives {describe(inputs)}"
    )


def _at(array: Array, axis: int | None, step: int) -> Array:
    if axis is None:
        return array
    return array[:, step] if axis == 0 else array[step]


def stepped(session: NamedSession, sequence: bool) -> NamedSession | SteppedSession:
    """The session as the data is fed: of a sequence, step by step."""
    return SteppedSession(session) if sequence else session


@dataclass(frozen=True)
class SteppedEngine:
    """An engine whose sessions take whole sequences."""

    engine: Engine

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def formats(self) -> tuple[str, ...]:
        return self.engine.formats

    @property
    def options(self) -> type[EngineOptions]:
        return self.engine.options

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return self.engine.requires

    @property
    def packages(self) -> tuple[str, ...]:
        return self.engine.packages

    @property
    def runs(self) -> bool:
        return self.engine.runs

    @property
    def sums_int8_in_pairs(self) -> bool:
        return self.engine.sums_int8_in_pairs

    def untimed(self, artifact: Artifact, options: Any) -> Any:
        return self.engine.untimed(artifact, options)

    def open(self, artifact: Artifact, options: Any) -> SteppedSession:
        """Raises `StageError` for an engine that does not name its inputs, from which the state is told."""
        session = self.engine.open(artifact, options)
        if not isinstance(session, NamedSession):
            raise StageError(
                "open",
                f"`sequence: true` feeds ONNX models, with `engine: onnxruntime` or `openvino`; {artifact.path.name} is "
                f"{artifact.format}, and its engine {self.name}",
            )
        return SteppedSession(session)

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        """As the engine has it, each session taking whole sequences."""
        for one in self.engine.mixed(original, candidate, options):
            if isinstance(one.session, NamedSession):
                yield replace(one, session=SteppedSession(one.session))
