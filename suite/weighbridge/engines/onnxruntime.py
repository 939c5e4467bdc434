"""ONNX Runtime on the CPU (or another execution provider that the case names)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from weighbridge.contracts import ENGINES, Array, EngineOptions, Mixed
from weighbridge.core.errors import StageError, did_you_mean, first_line
from weighbridge.core.results import Artifact
from weighbridge.engines.base import EngineBase
from weighbridge.engines.named import Declared, NamedSession, numpys
from weighbridge.formats.called import CALLED
from weighbridge.formats.onnx_constants import dtype_of

LARGE = 2**30
"""Bytes of a model of which a second copy of the weights is not made without need."""


class OnnxRuntimeOptions(EngineOptions):
    provider: str = "CPUExecutionProvider"
    prepacking: bool = Field(
        True,
        description="Whether weights are copied into the order that kernels read them in: faster, and larger.",
    )


class OnnxRuntimeSession(NamedSession):
    """A session over a path or serialized bytes."""

    engine = "ONNX Runtime"

    def __init__(
        self,
        model: str | bytes,
        threads: int = 1,
        provider: str = "CPUExecutionProvider",
        profile: str | None = None,
        prepacking: bool = True,
    ) -> None:
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            raise StageError(
                "open",
                f"ONNX Runtime has no provider '{provider}'{did_you_mean(provider, ort.get_available_providers())}",
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        if not prepacking:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        try:
            self.session = ort.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # ONNX Runtime's own exceptions share no base
            hint = (
                "; it has no kernel of this operator for the types in the model, as of bfloat16 on a CPU: export it in float32"
                if "NOT_IMPLEMENTED" in str(error)
                else ""
            )
            raise StageError(
                "open", f"ONNX Runtime cannot load the model: {first_line(error)}{hint}"
            ) from error
        if provider not in self.session.get_providers():
            raise StageError(
                "open",
                f"ONNX Runtime has '{provider}' and could not start it (its driver or libraries are absent, most often): it went "
                f"on with {', '.join(self.session.get_providers())}, which is another answer and another speed",
            )
        self.inputs = {
            value.name: Declared(value.shape, _dtype(value.type), value.type)
            for value in self.session.get_inputs()
        }
        self.outputs = [value.name for value in self.session.get_outputs()]

    def infer(self, feed: Mapping[str, Array]) -> Sequence[Array]:
        outputs: Sequence[Array] = self.session.run(self.outputs, feed)
        return outputs

    def reason(self, error: Exception) -> str:
        lines = str(error).rpartition("Status Message: ")[2].strip().splitlines()
        return lines[0] if lines else type(error).__name__


def _dtype(type_: str) -> str:
    """numpy's name of what ONNX Runtime calls `tensor(float)`; empty where numpy by itself has no such type."""
    return numpys(dtype_of(type_.removeprefix("tensor(").removesuffix(")")))


class OnnxRuntime(EngineBase):
    name = "onnxruntime"
    formats = ("onnx",)
    options: type[EngineOptions] = OnnxRuntimeOptions
    packages = ("onnxruntime",)
    sums_int8_in_pairs = True

    def open(self, artifact: Artifact, options: Any) -> OnnxRuntimeSession:
        session = OnnxRuntimeSession(
            str(artifact.path), options.threads, options.provider, prepacking=options.prepacking
        )
        return session.called(artifact.source.get(CALLED, {}))

    def untimed(self, artifact: Artifact, options: Any) -> Any:
        if sum(path.stat().st_size for path in artifact.files) < LARGE:
            return options
        return options.model_copy(update={"prepacking": False})

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        from weighbridge.engines.onnxruntime_mixed import mixed

        return mixed(original, candidate, options)


ENGINES.add(OnnxRuntime.name, OnnxRuntime())
