"""LiteRT: what runs a `.tflite` on a phone, here on the CPU with XNNPACK; no TensorFlow needed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import ENGINES, FORMATS, EngineOptions, Mixed, Requirement
from weighbridge.core.batches import axes_of, cast
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.results import Artifact
from weighbridge.engines.base import EngineBase
from weighbridge.environment.extras import LITERT, load
from weighbridge.environment.quiet import quiet
from weighbridge.formats.tflite_file import TFLiteFile

if TYPE_CHECKING:
    from weighbridge.contracts import Array, Inputs, Model


class LiteRTOptions(EngineOptions):
    """`xnnpack: false` runs TFLite's own reference and ruy kernels, which some accelerators are compared
    with. `signature` says which one is judged, of a file with several.
    """

    xnnpack: bool = True
    signature: str | None = None


class LiteRTSession:
    """A `.tflite` opened by the interpreter.

    A file with a fixed batch is run slice by slice (the last one is filled up with copies of its last
    sample); a file with a free batch is resized. Float samples are scaled to the codes that a quantized
    input wants, and quantized outputs are scaled back to float32.
    """

    def __init__(self, artifact: Artifact, options: LiteRTOptions) -> None:
        self.signature = _signature(artifact, options.signature)
        self._interpreter = _interpreter(artifact, options)
        taken: dict[int, str] = {}
        given: dict[int, str] = {}
        if self.signature is not None:
            runner = self._interpreter.get_signature_runner(self.signature)
            taken = {detail["index"]: name for name, detail in runner.get_input_details().items()}
            given = {detail["index"]: name for name, detail in runner.get_output_details().items()}
        self._names = taken
        self._inputs = _in_order(self._interpreter.get_input_details(), taken)
        self._outputs = _in_order(self._interpreter.get_output_details(), given)
        self._shapes = [tuple(int(size) for size in detail["shape"]) for detail in self._inputs]
        self.batch = self._shapes[0][0] if self._shapes and self._shapes[0] else 1
        """The batch that the file declares, 1 where it is free."""

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import numpy as np

        calls, fill = self._calls(inputs)
        parts = [self._invoke(arrays) for arrays in calls]
        outputs = [np.concatenate(each) if len(calls) > 1 else each[0] for each in zip(*parts, strict=True)]
        return tuple(
            _to_float(array[: len(array) - fill] if fill else array, detail)
            for array, detail in zip(outputs, self._outputs, strict=True)
        )

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """Scaling inputs and outputs is left out of the timed call: an application that ships codes feeds
        codes.
        """
        calls, _ = self._calls(inputs)
        if len(calls) == 1:
            only = calls[0]
            return lambda: self._invoke(only)
        return lambda: [self._invoke(arrays) for arrays in calls]

    def filled(self, inputs: Inputs) -> int:
        return self._calls(inputs)[1]

    def feeds(self, inputs: Inputs) -> list[dict[str, Array]]:
        """The named arrays of each invocation that `run` would make: what a quantizer calibrates with."""
        names = [self._names.get(detail["index"], detail["name"]) for detail in self._inputs]
        return [dict(zip(names, arrays, strict=True)) for arrays in self._calls(inputs)[0]]

    def _calls(self, inputs: Inputs) -> tuple[list[list[Array]], int]:
        """The arrays of each invocation, as codes in the order of the file's inputs, and how many samples
        are fill.
        """
        import numpy as np

        arrays = [
            _to_codes(array, detail)
            for array, detail in zip(self._ordered(inputs), self._inputs, strict=True)
        ]
        shapes = [array.shape for array in arrays]
        signatures = [tuple(detail["shape_signature"]) or detail["shape"] for detail in self._inputs]
        if all(_fits(shape, signature) for shape, signature in zip(shapes, signatures, strict=True)):
            return [arrays], 0
        if axes_of(inputs):
            raise StageError(
                "run",
                "the file's batch is fixed, and only what has its batch on axis 0 can be cut into slices",
            )
        for detail, shape, fixed in zip(self._inputs, shapes, self._shapes, strict=True):
            if shape[1:] != fixed[1:] or not fixed or fixed[0] != self._shapes[0][0]:
                raise StageError("run", f"input '{detail['name']}' is {list(fixed)} in the file and "
                                        f"{list(shape)} in the data")  # fmt: skip
        count, batch = len(arrays[0]), self._shapes[0][0]
        fill = -count % batch
        if fill:
            arrays = [np.concatenate([array, np.repeat(array[-1:], fill, axis=0)]) for array in arrays]
        return [[array[start : start + batch] for array in arrays] for start in range(0, count, batch)], fill

    def _ordered(self, inputs: Inputs) -> list[Array]:
        if not isinstance(inputs, dict):
            if len(inputs) != len(self._inputs):
                raise StageError("run", f"the model has {len(self._inputs)} inputs, the data {len(inputs)}")
            return list(inputs)
        names = [self._names.get(detail["index"], detail["name"]) for detail in self._inputs]
        ordered = []
        for detail in self._inputs:
            wanted = self._names.get(detail["index"], detail["name"])
            if wanted not in inputs:
                raise StageError("run", f"the data has no input '{wanted}'{did_you_mean(wanted, inputs)}")
            ordered.append(inputs[wanted])
        for name in inputs:
            if name not in names:
                raise StageError("data", f"the model has no input '{name}'{did_you_mean(name, names)}")
        return ordered

    def _invoke(self, arrays: list[Array]) -> list[Array]:
        interpreter = self._interpreter
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            for detail, shape in zip(self._inputs, shapes, strict=True):
                interpreter.resize_tensor_input(detail["index"], shape)
            with quiet():
                interpreter.allocate_tensors()
            self._shapes = shapes
        for detail, array in zip(self._inputs, arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in self._outputs]


class LiteRT(EngineBase):
    """The interpreter of ai-edge-litert."""

    name = "litert"
    formats: tuple[str, ...] = ("tflite",)
    options: type[EngineOptions] = LiteRTOptions
    requires: tuple[Requirement, ...] = (LITERT,)
    packages = (LITERT.name,)

    def open(self, artifact: Artifact, options: Any) -> LiteRTSession:
        """Raises `StageError` for a damaged file and, by name, for custom operators that LiteRT has no
        kernel for.
        """
        return LiteRTSession(artifact, options)

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        from weighbridge.engines.litert_mixed import mixed

        return mixed(original, candidate, options)


def run_tflite(model: Model, inputs: Inputs) -> tuple[Array, ...]:
    """The outputs of a `.tflite` that is still in memory."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = FORMATS.get(model.format).save(model, Path(folder), "model")
        return LiteRT().open(artifact, LiteRTOptions()).run(inputs)


def _signature(artifact: Artifact, stated: str | None) -> str | None:
    """That of the graph which is run, the file's first; of several graphs it has to be `stated`. Raises `StageError`."""
    name = artifact.path.name
    found = TFLiteFile(artifact.path.read_bytes(), name).signatures()
    own = [signature for signature, graph in found.items() if graph == 0]
    if set(found.values()) <= {0}:
        return next(iter(own), None)
    if stated is None:
        raise StageError(
            "open",
            f"{name} has the signatures {', '.join(found)}, which run different graphs, and one alone is judged: name it with "
            "`engine_options: {signature: NAME}`, or ship each as a file of its own",
        )
    if stated not in found:
        raise StageError("open", f"{name} has no signature '{stated}'{did_you_mean(stated, found)}")
    if stated not in own:
        raise StageError(
            "open",
            f"the signature '{stated}' of {name} runs another graph than its first, which is the one that is judged"
            f" ({', '.join(own) or 'without a signature'}); ship it as a file of its own",
        )
    return stated


def _interpreter(artifact: Artifact, options: LiteRTOptions) -> Any:
    runtime = load(LITERT, "ai_edge_litert.interpreter")
    tflite = FORMATS.get("tflite")
    operators = tflite.operators(tflite.open(artifact))
    path = artifact.path
    kinds = runtime.OpResolverType
    resolver = kinds.AUTO if options.xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with quiet():
            interpreter = runtime.Interpreter(
                str(path), num_threads=options.threads, experimental_op_resolver_type=resolver
            )
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        custom = [name.partition(":")[2] for name in operators if name.startswith("CUSTOM:")]
        if custom:
            raise StageError("open", f"{path.name} uses custom operators that LiteRT has no kernel for: "
                                     f"{', '.join(custom)}") from error  # fmt: skip
        raise StageError("open", f"LiteRT cannot open {path.name}: {error}") from error
    return interpreter


def _to_codes(array: Array, detail: Any) -> Array:
    """`array` as the input's dtype: numbers are scaled, x / scale + zero_point rounded half to even and
    clamped. Whole numbers of the input's own dtype are codes already; images of uint8 are no int8 input's codes.
    """
    import numpy as np

    wanted = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    if wanted.kind in "iu" and (array.dtype.kind == "f" or (scale and array.dtype != wanted)):
        if not scale:
            raise StageError(
                "run", f"input '{detail['name']}' is {wanted} without a scale, the data is {array.dtype}"
            )
        bounds = np.iinfo(wanted)
        codes: Array = np.clip(np.rint(array / scale) + zero_point, bounds.min, bounds.max).astype(wanted)
        return codes
    return np.ascontiguousarray(cast(array, wanted.name, detail["name"]))


def _to_float(array: Array, detail: Any) -> Array:
    import numpy as np

    scale, zero_point = detail["quantization"]
    if array.dtype.kind in "iu" and scale:
        values: Array = ((array.astype(np.int32) - np.int32(zero_point)) * np.float32(scale)).astype(
            np.float32
        )
        return values
    return array


def _in_order(details: list[Any], names: Mapping[int, str]) -> list[Any]:
    """By the number in names like `args_1` and `output_0`, which converters write; else as the file has
    them.
    """
    found = [re.fullmatch(r"(?:args|output)_(\d+)", names.get(detail["index"], "")) for detail in details]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(details):
        return details
    return [details[numbers.index(number)] for number in sorted(numbers)]


def _fits(shape: tuple[int, ...], signature: Sequence[int]) -> bool:
    """Whether `shape` is one that the file declares; -1 stands for any size."""
    return len(shape) == len(signature) and all(
        want in (-1, have) for have, want in zip(shape, signature, strict=True)
    )


ENGINES.add(LiteRT.name, LiteRT())
