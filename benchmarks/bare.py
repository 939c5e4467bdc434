"""The work of some recipes and no more: load, apply, convert, save, evaluate both, print accuracy and bytes as JSON.

The steps and conversions are Weighbridge's own functions; its keys, store, checks, census and round trips are left out.

python benchmarks/bare.py FOLDER SUBJECT.json [--share]    (`--share`: every common prefix is made once)
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import open_session

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context
from weighbridge.core.data import load_data
from weighbridge.environment.one_thread import one_thread

BATCH = 64
"""As Weighbridge reads a split: what is quantized dynamically depends on what else is in the batch."""
FORMAT = {"onnxruntime": "onnx", "torch": "torch"}
NEEDED = (
    "formats.torch_module",
    "formats.onnx_model",
    "convert.to_onnx",
    "steps.prune.torch_magnitude",
    "steps.train.finetune",
    "steps.quantize.onnx_dynamic",
    "steps.quantize.onnx_static",
    "steps.quantize.torch_dynamic",
    "steps.quantize.torchao_int8",
)
for module in NEEDED:
    importlib.import_module(f"weighbridge.{module}")
# `get` would import every room first, which a script that knows what it needs does not do.
STEP, CONVERTER, FORM = STEPS._entries, CONVERTERS._entries, FORMATS._entries


class Script:
    def __init__(self, folder: Path, subject: dict[str, Any], share: bool, workdir: Path) -> None:
        self.folder, self.subject, self.share, self.workdir = folder, subject, share, workdir
        self.data = load_data(subject["data"], folder)
        self.context = Context(folder, workdir, 0, self.data)
        self.made: dict[str, Any] = {}

    def once(self, key: Any, make: Any) -> Any:
        if not self.share:
            return make()
        name = json.dumps(key)
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def model(self, chain: list[Any]) -> Any:
        return self.once(["model", *chain], lambda: self._model(chain))

    def _model(self, chain: list[Any]) -> Any:
        if not chain:
            (format_, reference), *weights = self.subject["model"].items()
            return FORM[format_].load(
                reference, self.folder / weights[0][1] if weights else None, self.folder
            )
        before, link = self.model(chain[:-1]), chain[-1]
        seed()
        if isinstance(link, str):
            return CONVERTER[f"{before.format}->{link}"].convert(before, self.context)
        step, options = find(link)
        return step.apply(before, options, self.context)

    def weigh(self, chain: list[Any]) -> dict[str, Any]:
        return self.once(["weigh", *chain], lambda: self._weigh(chain))

    def _weigh(self, chain: list[Any]) -> dict[str, Any]:
        model = self.model(chain)
        with tempfile.TemporaryDirectory(dir=self.workdir) as folder:
            artifact = FORM[model.format].save(model, Path(folder), "model")
            size = sum(path.stat().st_size for path in artifact.files)
            (inputs,), targets = self.data.split("test").arrays()
            return {"bytes": size, "accuracy": float((outputs(artifact, inputs).argmax(1) == targets).mean())}

    def carry_out(self, recipe: dict[str, Any]) -> dict[str, Any]:
        wanted = FORMAT[recipe["engine"]]
        first = next(iter(self.subject["model"]))
        chain: list[Any] = []
        current = first
        for step in recipe["steps"]:
            accepts = find(step)[0].accepts
            if current not in accepts:
                current = accepts[0]
                chain.append(current)
            chain.append(step)
        original: list[Any] = [] if first == wanted else [wanted]
        return {"candidate": self.weigh(chain), "baseline": self.weigh(original)}


def find(step: dict[str, Any]) -> tuple[Any, Any]:
    kind, method = next(iter(step.items()))
    options = {name: value for name, value in step.items() if name not in (kind, "engine")}
    if isinstance(method, dict):
        method, options = "supervised", method
    key = f"{kind}:{method}" + (f"@{step['engine']}" if "engine" in step else "")
    return STEP[key], STEP[key].options.model_validate(options)


def outputs(artifact: Any, inputs: Any) -> Any:
    if artifact.format == "onnx":
        session = open_session(artifact.path)
        (name,) = (each.name for each in session.get_inputs())
        parts = [session.run(None, {name: inputs[at : at + BATCH]})[0] for at in range(0, len(inputs), BATCH)]
    else:
        import torch

        module = FORM["torch"].open(artifact).value
        with one_thread(), torch.inference_mode():
            parts = [
                module(torch.from_numpy(inputs[at : at + BATCH])).numpy()
                for at in range(0, len(inputs), BATCH)
            ]
    return np.concatenate(parts)


def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def main(folder: str, subject: str, *options: str) -> None:
    what = json.loads(Path(subject).read_text())
    with tempfile.TemporaryDirectory() as workdir:
        script = Script(Path(folder), what, "--share" in options, Path(workdir))
        print(json.dumps({recipe["name"]: script.carry_out(recipe) for recipe in what["recipes"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
