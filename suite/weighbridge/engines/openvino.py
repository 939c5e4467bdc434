"""OpenVINO on the CPU: serves ONNX files, float and with the QuantizeLinear pairs of static quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import ENGINES, Array, EngineOptions
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines.base import EngineBase
from weighbridge.engines.named import Declared, NamedSession
from weighbridge.environment.extras import OPENVINO, load
from weighbridge.environment.quiet import quiet
from weighbridge.formats.called import CALLED

_NUMPY = {
    "boolean": "bool", "f16": "float16", "f32": "float32", "f64": "float64",
    **{f"{sign}{bits}": f"{kind}{bits}" for sign, kind in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""Of OpenVINO's types those that numpy has; for the others its `to_dtype` names one of other numbers."""
_SINK = "/sink_port_0"
"""What OpenVINO puts behind the name of an output."""


class OpenVinoOptions(EngineOptions):
    precision: Literal["f32", "bf16"] = Field(
        "f32",
        description="What floats are computed in. OpenVINO's own default is bf16 where the processor has it, and float32 "
        "elsewhere: two machines, two models.",
    )


class OpenVinoSession(NamedSession):
    """A file as OpenVINO has compiled it. Raises `StageError` for one that it cannot read or run."""

    engine = "OpenVINO"

    def __init__(self, artifact: Artifact, options: OpenVinoOptions, profiled: bool = False) -> None:
        openvino: Any = load(OPENVINO)
        settings = {
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": options.precision,
            "ENABLE_CPU_PINNING": False,  # what is timed goes to the core that has no neighbour
            "PERF_COUNT": profiled,
        }
        try:
            with quiet():
                core = openvino.Core()
                self._read = partial(core.read_model, artifact.path)
                compiled = core.compile_model(self._read(), "CPU", settings)
        except Exception as error:  # OpenVINO raises RuntimeError, and its text begins with its own source
            raise StageError("open", f"OpenVINO cannot load the model: {self.reason(error)}") from error
        self.request = compiled.create_infer_request()
        # Once compiled, a port has the names of all values that are the same, in no order; its node keeps the file's name.
        self.inputs = {_name(port): _declared(port) for port in compiled.inputs}
        self.outputs = [_name(port) for port in compiled.outputs]
        self._taken, self._given = list(self.inputs), list(self.outputs)
        self.called(artifact.source.get(CALLED, {}))
        for port in compiled.outputs:
            _dtype(port)  # refuses what numpy has not
        self._fitting: set[tuple[tuple[int, ...], ...]] = set()

    def call(self, feed: dict[str, Array]) -> tuple[Array, ...]:
        if any(None in each.shape for each in self.inputs.values()):
            self._check_shapes({name: array.shape for name, array in feed.items()})
        return super().call(feed)

    def _check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raises `StageError` where operators would meet shapes that do not fit: what OpenVINO has compiled does not look, and
        answers with whatever lies in memory. Calls that are timed go past this.
        """
        asked = tuple(shapes[name] for name in self.inputs)
        if asked in self._fitting:
            return
        try:
            with quiet():
                model = self._read()
                model.reshape({port: list(shapes[_name(port)]) for port in model.inputs})
        except Exception as error:
            told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise StageError(
                "run", f"OpenVINO cannot run the model on {told}: {self.reason(error)}"
            ) from error
        self._fitting.add(asked)

    def infer(self, feed: Mapping[str, Array]) -> Sequence[Array]:
        """Copies of the outputs: the next call writes over OpenVINO's own."""
        answers = self.request.infer([feed[name] for name in self._taken], share_inputs=True).to_tuple()
        given = dict(zip(self._given, answers, strict=True))
        return [given[name] for name in self.outputs]

    def reason(self, error: Exception) -> str:
        """What went wrong stands last, below where in OpenVINO's source it did; of operators, each in a summary."""
        said = str(error).rpartition("Summary:")
        lines = [line.strip("- \n") for line in said[2].splitlines() if line.strip()]
        return "; ".join(lines if said[1] else lines[-1:]) or type(error).__name__


def _name(port: Any) -> str:
    return str(port.get_node().get_friendly_name()).removesuffix(_SINK)


def _dtype(port: Any) -> str:
    """As numpy calls it. Raises `StageError` for a type that numpy has not."""
    kind = port.get_element_type().get_type_name()
    if kind not in _NUMPY:
        raise StageError(
            "open",
            f"'{_name(port)}' is {kind}, which numpy has not, and its bits would be taken for other numbers; "
            "let the model Cast it",
        )
    return _NUMPY[kind]


def _declared(port: Any) -> Declared:
    shape = port.get_partial_shape()
    sizes = [] if shape.rank.is_dynamic else [None if one.is_dynamic else one.get_length() for one in shape]
    return Declared(sizes, _dtype(port), port.get_element_type().get_type_name())


class OpenVino(EngineBase):
    name = "openvino"
    formats = ("onnx",)
    options: type[EngineOptions] = OpenVinoOptions
    requires = (OPENVINO,)
    packages = ("openvino",)
    sums_int8_in_pairs = True

    def open(self, artifact: Artifact, options: Any) -> OpenVinoSession:
        return OpenVinoSession(artifact, options)


ENGINES.add(OpenVino.name, OpenVino())
