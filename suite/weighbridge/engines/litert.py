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
from weighbridge.formats.called import CALLED
from weighbridge.formats.tflite_file import Signature, TFLiteFile

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
    input wants, and quantized outputs are scaled back to float32. Whole numbers of the input's own type are
    codes already, unless the artifact says that they are numbers (`formats.tflite_calls`). What the file keeps
    from call to call, as recurrent kernels do, is reset before each: samples have nothing to do with each other.
    """

    def __init__(self, artifact: Artifact, options: LiteRTOptions) -> None:
        file = TFLiteFile(artifact.path.read_bytes(), artifact.path.name)
        signature = _signature(file, artifact.path.name, options.signature)
        self._interpreter = _interpreter(artifact, options, file)
        called = artifact.source.get(CALLED, {})
        self._codes = not called.get("numbers", False)
        self.signature = signature.key if signature else None
        taken = signature.inputs if signature else {}
        given = signature.outputs if signature else {}
        self._names = taken
        self._inputs = _in_order(self._interpreter.get_input_details(), taken, called.get("inputs", ()))
        self._outputs = _in_order(self._interpreter.get_output_details(), given, called.get("outputs", ()))
        self._shapes = [tuple(int(size) for size in detail["shape"]) for detail in self._inputs]
        self.batch = self._shapes[0][0] if self._shapes and self._shapes[0] else 1
        """The batch that the file declares, 1 where it is free."""

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import numpy as np

        calls, fill = self._calls(inputs)
        parts = [self._afresh(arrays) for arrays in calls]
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
        names = [self._name(detail) for detail in self._inputs]
        return [dict(zip(names, arrays, strict=True)) for arrays in self._calls(inputs)[0]]

    def _name(self, detail: Any) -> str:
        return self._names.get(detail["index"]) or str(detail["name"])

    def _calls(self, inputs: Inputs) -> tuple[list[list[Array]], int]:
        """The arrays of each invocation, as codes in the order of the file's inputs, and how many samples
        are fill.
        """
        import numpy as np

        arrays = [
            _to_codes(array, detail, self._codes)
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
        declared = [tuple(int(size) for size in signature) for signature in signatures]
        for detail, shape, fixed in zip(self._inputs, shapes, declared, strict=True):
            if not fixed or fixed[0] != declared[0][0] or fixed[0] < 1 or not _fits(shape[1:], fixed[1:]):
                raise StageError("run", f"input '{self._name(detail)}' is {_shown(fixed)} in the file and "
                                        f"{list(shape)} in the data")  # fmt: skip
        count, batch = len(arrays[0]), declared[0][0]
        fill = -count % batch
        if fill:
            arrays = [np.concatenate([array, np.repeat(array[-1:], fill, axis=0)]) for array in arrays]
        return [[array[start : start + batch] for array in arrays] for start in range(0, count, batch)], fill

    def _ordered(self, inputs: Inputs) -> list[Array]:
        if not isinstance(inputs, dict):
            if len(inputs) != len(self._inputs):
                raise StageError("run", f"the model has {len(self._inputs)} inputs, the data {len(inputs)}")
            return list(inputs)
        names = [self._name(detail) for detail in self._inputs]
        ordered = []
        for wanted in names:
            if wanted not in inputs:
                raise StageError("run", f"the data has no input '{wanted}'{did_you_mean(wanted, inputs)}")
            ordered.append(inputs[wanted])
        for name in inputs:
            if name not in names:
                raise StageError("data", f"the model has no input '{name}'{did_you_mean(name, names)}")
        return ordered

    def _afresh(self, arrays: list[Array]) -> list[Array]:
        self._resize(arrays)
        self._interpreter.reset_all_variables()
        return self._invoke(arrays)

    def _resize(self, arrays: list[Array]) -> None:
        interpreter = self._interpreter
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            for detail, shape in zip(self._inputs, shapes, strict=True):
                interpreter.resize_tensor_input(detail["index"], shape)
            with quiet():
                interpreter.allocate_tensors()
            self._shapes = shapes

    def _invoke(self, arrays: list[Array]) -> list[Array]:
        self._resize(arrays)
        interpreter = self._interpreter
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


def _signature(file: TFLiteFile, name: str, stated: str | None) -> Signature | None:
    """That of the graph which is run, the file's first; of several graphs it has to be `stated`. Raises `StageError`."""
    found = file.signatures()
    own = [signature for signature, graph in found.items() if graph == 0]
    if set(found.values()) <= {0}:
        return file.signature()
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
    return file.signature(stated)


def _interpreter(artifact: Artifact, options: LiteRTOptions, file: TFLiteFile) -> Any:
    runtime = load(LITERT, "ai_edge_litert.interpreter")
    operators = file.operators()
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
        flex = [name for name in custom if name.startswith("Flex")]
        if flex:
            raise StageError("open", f"{path.name} uses TensorFlow's own operators (select TF ops), which LiteRT's package does "
                                     f"not bring: {', '.join(flex)}; convert the model with TFLITE_BUILTINS alone, and "
                                     "leave what has no such operator to the code that feeds it") from error  # fmt: skip
        if custom:
            raise StageError("open", f"{path.name} uses custom operators that LiteRT has no kernel for: "
                                     f"{', '.join(custom)}") from error  # fmt: skip
        raise StageError("open", f"LiteRT cannot open {path.name}: {error}") from error
    return interpreter


def _to_codes(array: Array, detail: Any, given: bool) -> Array:
    """`array` as the input's dtype: numbers are scaled, x / scale + zero_point rounded half to even and clamped.

    Whole numbers of the input's own type are codes where those are `given`; images of uint8 are no int8 input's codes.
    """
    import numpy as np

    wanted = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    if not scale or wanted.kind not in "iu" or (given and array.dtype == wanted):
        return np.ascontiguousarray(cast(array, wanted.name, detail["name"]))
    bounds = np.iinfo(wanted)
    codes: Array = np.clip(np.rint(array / scale) + zero_point, bounds.min, bounds.max).astype(wanted)
    return codes


def _to_float(array: Array, detail: Any) -> Array:
    import numpy as np

    scale, zero_point = detail["quantization"]
    if array.dtype.kind in "iu" and scale:
        values: Array = ((array.astype(np.int32) - np.int32(zero_point)) * np.float32(scale)).astype(
            np.float32
        )
        return values
    return array


def _in_order(details: list[Any], names: Mapping[int, str], order: Sequence[str]) -> list[Any]:
    """In the `order` of the model that the file was made of, or by the number in names like `args_1` and
    `output_0`, which converters write; else as the file has them.
    """
    called = [names.get(detail["index"], "") for detail in details]
    if sorted(called) == sorted(order):
        return [details[called.index(name)] for name in order]
    found = [re.fullmatch(r"(?:args|output)_(\d+)", name) for name in called]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(details):
        return details
    return [details[numbers.index(number)] for number in sorted(numbers)]


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"


def _fits(shape: tuple[int, ...], signature: Sequence[int]) -> bool:
    """Whether `shape` is one that the file declares; -1 stands for any size."""
    return len(shape) == len(signature) and all(
        want in (-1, have) for have, want in zip(shape, signature, strict=True)
    )


ENGINES.add(LiteRT.name, LiteRT())
