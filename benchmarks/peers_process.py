"""What `peers.py` runs in a process of its own, by the Python of a quantizer's environment: one artifact, by one route.

Prints a line of JSON. What a library prints itself goes to stderr. An artifact that only torch runs is run here too, against
the float model in eager torch.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from common import peak
from peers_models import BY_NAME, ROOT, Subject, least_times

Samples = list[Any]
"""Arrays [1, ...] to calibrate on."""
BATCH = 32
"""Samples of a batch where torch calibrates, which is slow with one."""
SMOOTH = {"insert": True}
"""For transformers, as NNCF has it for its `model_type`: inputs that take no scale get one."""
Module = Callable[[Any], Any]
Route = Callable[[Subject, Path, Path, Samples], Module | None]
"""From the float file to the file of the artifact; gives the module where only torch runs it."""


def _ours(method: str, smooth: bool = False) -> Route:
    """A step without options, behind SmoothQuant or not; the metric is the case's."""

    def make(subject: Subject, source: Path, target: Path, samples: Samples) -> None:
        import onnx

        from weighbridge.contracts import STEPS, Context, Model
        from weighbridge.core.data import Data
        from weighbridge.measure.metrics import find_metric

        folder = target.parent
        with np.load(source.with_name("calibration.npz")) as kept:
            data = Data({"calibration": (kept["x"], kept["y"])})
        context = Context(folder, folder, 0, data, metric=find_metric(subject.metric, ROOT))
        made = Model("onnx", onnx.load(source))
        if smooth:
            equalize = STEPS.get("equalize:smooth_quant")
            made = equalize.apply(made, equalize.options.model_validate(SMOOTH), context)
        step = STEPS.get(f"quantize:{method}@onnxruntime")
        made = step.apply(made, step.options(), context)
        print(*made.notes, sep="\n")
        onnx.save(made.value, target)

    return make


def _named(source: Path, samples: Samples) -> list[dict[str, Any]]:
    """The samples by the name of the file's input."""
    import onnx

    name = onnx.load(source).graph.input[0].name
    return [{name: sample} for sample in samples]


def _nncf(subject: Subject, source: Path, target: Path, samples: Samples) -> None:
    import nncf
    import onnx

    kind = nncf.ModelType.TRANSFORMER if subject.transformer else None
    data = nncf.Dataset(_named(source, samples))
    onnx.save(nncf.quantize(onnx.load(source), data, model_type=kind, subset_size=len(samples)), target)


def _inc_onnx(static: bool) -> Route:
    def make(subject: Subject, source: Path, target: Path, samples: Samples) -> None:
        from onnx_neural_compressor.data_reader import CalibrationDataReader
        from onnx_neural_compressor.quantization import config, quantize

        class Reader(CalibrationDataReader):
            def rewind(self) -> None:
                self._left = iter(_named(source, samples))

            def get_next(self) -> dict[str, Any] | None:
                return next(self._left, None)

        if static:
            reader = Reader()
            reader.rewind()
            chosen = config.StaticQuantConfig(
                reader, per_channel=True, calibration_sampling_size=len(samples)
            )
        else:
            chosen = config.DynamicQuantConfig(per_channel=True)
        quantize(str(source), str(target), chosen)

    return make


def _olive(**options: Any) -> Route:
    def make(subject: Subject, source: Path, target: Path, samples: Samples) -> None:
        from olive.data.config import DataComponentConfig, DataConfig
        from olive.data.registry import Registry
        from olive.model import ONNXModelHandler
        from olive.passes.olive_pass import create_pass_from_dict
        from olive.passes.onnx.quantization import OnnxQuantization

        @Registry.register_dataloader("samples")
        def loader(*_: Any, **__: Any) -> list[tuple[dict[str, Any], int]]:
            return [(sample, 0) for sample in _named(source, samples)]

        data = DataConfig(
            name="calibration",
            load_dataset_config=DataComponentConfig(type="simple_dataset"),
            dataloader_config=DataComponentConfig(type="samples"),
        )
        given = {"per_channel": True, **options}
        if options["quant_mode"] == "static":
            given["data_config"] = data
        made = create_pass_from_dict(OnnxQuantization, given, disable_search=True).run(
            ONNXModelHandler(str(source)), str(target)
        )
        assert made.model_path == str(target), made.model_path

    return make


def _batches(samples: Samples) -> Iterator[Any]:
    import torch

    for start in range(0, len(samples), BATCH):
        yield torch.from_numpy(np.concatenate(samples[start : start + BATCH]))


def _quanto(subject: Subject, source: Path, target: Path, samples: Samples) -> Module:
    import torch
    from optimum.quanto import Calibration, freeze, qint8, quantize
    from safetensors.torch import save_file

    module = subject.module()
    quantize(module, weights=qint8, activations=qint8)
    with torch.no_grad(), Calibration():
        for batch in _batches(samples):
            module(batch)
    freeze(module)
    save_file(module.state_dict(), target)
    return module


def _inc(kind: str) -> Route:
    """Intel Neural Compressor's newest, which is left with torch: exported, quantized, compiled."""

    def make(subject: Subject, source: Path, target: Path, samples: Samples) -> Module:
        import torch
        from neural_compressor.torch import quantization
        from neural_compressor.torch.export import export
        from torch._inductor import config as inductor

        batch = torch.from_numpy(np.concatenate(samples[:2]))
        dynamic = ({0: torch.export.Dim("batch")},)
        exported = export(subject.module(), (batch,), dynamic_shapes=dynamic)
        prepared = quantization.prepare(exported, getattr(quantization, kind)())
        for some in _batches(samples):
            prepared(some)
        made = quantization.convert(prepared)
        torch.export.save(torch.export.export(made, (batch,), dynamic_shapes=dynamic), target)
        inductor.freezing = True
        return torch.compile(made)

    return make


ROUTES: dict[str, Route] = {
    "our static": _ours("static"),
    "our smooth static": _ours("static", smooth=True),
    "our auto": _ours("auto"),
    "our dynamic": _ours("dynamic"),
    "nncf static": _nncf,
    "olive static": _olive(quant_mode="static"),
    "olive static, uint8": _olive(quant_mode="static", activation_type="uint8"),
    "olive dynamic": _olive(quant_mode="dynamic"),
    "inc static": _inc("StaticQuantConfig"),
    "inc dynamic": _inc("DynamicQuantConfig"),
    "inc-onnx static": _inc_onnx(static=True),
    "inc-onnx dynamic": _inc_onnx(static=False),
    "quanto static": _quanto,
}

PACKAGES = ("nncf", "olive-ai", "neural-compressor-pt", "onnx-neural-compressor", "optimum-quanto")
BESIDE = ("torch", "onnx", "onnxruntime", "numpy")


def make(route: str, name: str, source: Path, target: Path, began: float) -> dict[str, Any]:
    """Seconds since `began`, when the process was started, and its peak memory in bytes, both with the imports."""
    subject = BY_NAME[name]
    with np.load(source.with_name("calibration.npz")) as kept:
        samples = list(kept["x"][:, None])
    module = ROUTES[route](subject, source, target, samples)
    line = {
        "seconds": time.time() - began,
        "peak": peak(),
        "bytes": sum(file.stat().st_size for file in target.parent.glob(f"{target.name}*")),
        "versions": {package: found for package in (*PACKAGES, *BESIDE) if (found := _version(package))},
    }
    return line if module is None else line | _run(subject, module, source, target)


def _run(subject: Subject, module: Module, source: Path, target: Path) -> dict[str, Any]:
    """Keeps the outputs on the test split next to the artifact."""
    import torch

    with np.load(source.with_name("test.npz")) as kept:
        test = kept["x"]
    torch.set_num_threads(1)
    original = subject.module()

    def called(each: Module) -> Callable[[Any], Any]:
        return lambda batch: each(torch.from_numpy(batch))

    with torch.no_grad():
        outputs = [
            _plain(module(torch.from_numpy(test[start : start + 8]))) for start in range(0, len(test), 8)
        ]
        np.save(target.with_suffix(".npy"), np.concatenate(outputs))
        times = least_times(lambda: {"float": called(original), "made": called(module)}, test)
    return {"times": times["made"], "against": times["float"]}


def _plain(output: Any) -> Any:
    return (output.dequantize() if hasattr(output, "dequantize") else output).numpy()


def _version(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return None


if __name__ == "__main__":
    route, name, source, target, began = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            made = make(route, name, Path(source), Path(target), float(began))
        except Exception as error:
            made = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(made))
