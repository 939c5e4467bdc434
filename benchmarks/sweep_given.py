"""What Olive is given of a sweep: modules pruned by our step, the splits, and the options that our quantizers have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bare import Script, find
from recipes import Recipe
from safetensors.torch import save_file


def write(project: Path, subject: Mapping[str, Any], recipes: Sequence[Recipe], folder: Path) -> None:
    """Make `folder`, as `sweep_olive.py` reads it, of `write_project`'s; the recipes prune and quantize, in this order."""
    folder.mkdir()
    script = Script(project / "cases", dict(subject), share=True, workdir=folder)
    for split in ("calibration", "test"):
        (inputs,), targets = script.data.split(split).arrays()
        np.savez(folder / f"{split}.npz", x=inputs, y=targets)
    shutil.copy(project / "cases" / "model.py", folder)
    module = script.model([]).value
    with torch.inference_mode():
        classes = module(torch.from_numpy(inputs[:1])).shape[1]
    save_file(module.state_dict(), folder / "float.safetensors")
    given: dict[str, Any] = {"float": {"weights": "float.safetensors", "passes": {}}}
    for recipe in recipes:
        pruned, quantized = recipe["steps"]
        weights, options = f"{pruned['amount']}.safetensors", find(quantized)[1]
        save_file(script.model([pruned]).value.state_dict(), folder / weights)
        passed = {
            "type": "OnnxQuantization",
            "quant_mode": quantized["quantize"],
            "per_channel": options.per_channel is not False,
            "reduce_range": options.reduce_range,
        }
        if quantized["quantize"] == "static":
            passed["data_config"] = "calibration"
        given[recipe["name"]] = {"weights": weights, "passes": {"quantize": passed}}
    what = {
        "module": subject["model"]["torch"].split(":")[1],
        "shape": inputs.shape[1:],
        "classes": classes,
        "recipes": given,
    }
    (folder / "olive.json").write_text(json.dumps(what))
