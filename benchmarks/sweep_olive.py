"""The ONNX Runtime recipes of a sweep as a user of Olive has them: a workflow each, in one process, with one cache.

python benchmarks/sweep_olive.py FOLDER

Runs in Olive's environment, which has neither Weighbridge nor pytest. FOLDER is what `sweep_given.py` writes: `olive.json`, the
subject's `model.py`, its splits, and a module's weights for each prune level, since Olive prunes no CNN. Prints, as JSON, the
accuracy and bytes of each artifact, or why there is none. Olive reads this file once more, for the module and the data.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from olive.data.registry import Registry

BATCH = 64
"""As the others read a split: what is quantized dynamically depends on what else is in the batch."""
PROVIDER = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}


def load(weights: str) -> torch.nn.Module:
    """The subject's module with these weights."""
    from safetensors.torch import load_file

    folder = Path(weights).parent
    sys.path.insert(0, str(folder))
    import model

    module: torch.nn.Module = getattr(model, json.loads((folder / "olive.json").read_text())["module"])()
    module.load_state_dict(load_file(weights))
    return module.eval()


@Registry.register_dataset()
def samples(file: str, **_: Any) -> list[tuple[dict[str, Any], int]]:
    with np.load(file) as kept:
        return [({"input": x}, int(y)) for x, y in zip(kept["x"], kept["y"], strict=True)]


@Registry.register_post_process()
def classes(output: torch.Tensor, **_: Any) -> torch.Tensor:
    return output.argmax(1)


def workflow(folder: Path, what: dict[str, Any], name: str) -> dict[str, Any]:
    """Olive's configuration of one recipe, with what is its default left out."""
    recipe = what["recipes"][name]
    accuracy = {
        "name": "accuracy_score",
        "priority": 1,
        "metric_config": {"task": "multiclass", "num_classes": what["classes"]},
    }
    return {
        "input_model": {
            "type": "PyTorchModel",
            "model_path": str(folder / recipe["weights"]),
            "model_loader": "load",
            "model_script": __file__,
            "io_config": {
                "input_names": ["input"],
                "input_shapes": [[1, *what["shape"]]],
                "output_names": ["output"],
                "dynamic_axes": {"input": {"0": "batch"}, "output": {"0": "batch"}},
            },
        },
        "data_configs": [
            {
                "name": split,
                "user_script": __file__,
                "load_dataset_config": {"type": "samples", "params": {"file": str(folder / f"{split}.npz")}},
                "post_process_data_config": {"type": "classes"},
                "dataloader_config": {"params": {"batch_size": BATCH}},
            }
            for split in ("calibration", "test")
        ],
        "evaluators": {
            "both": {
                "type": "OnnxEvaluator",  # Olive 0.13 fails on an evaluator without a type
                "metrics": [
                    {"name": "accuracy", "type": "accuracy", "data_config": "test", "sub_types": [accuracy]},
                    {
                        "name": "size",
                        "type": "size_on_disk",
                        "sub_types": [{"name": "bytes", "priority": -1}],
                    },
                ],
            }
        },
        "systems": {"here": {"type": "LocalSystem", "accelerators": [PROVIDER]}},
        "passes": {"convert": {"type": "OnnxConversion"}, **recipe["passes"]},
        "evaluator": "both",
        "evaluate_input_model": False,
        "host": "here",
        "target": "here",
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "out" / name),
        "log_severity_level": 3,
    }


def weigh(configuration: Any) -> dict[str, Any]:
    from olive.workflows import run

    try:
        model = run(configuration).get_best_candidate()
    except Exception as error:
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())}
    if model is None:
        return {"failed": "Olive gives no model, and says why in its log"}
    found = model.metrics_value
    return {"accuracy": found["accuracy-accuracy_score"]["value"], "bytes": int(found["size-bytes"]["value"])}


def main(folder: Path) -> dict[str, Any]:
    what = json.loads((folder / "olive.json").read_text())
    return {name: weigh(workflow(folder, what, name)) for name in what["recipes"]}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = main(Path(sys.argv[1]).resolve())
    print(json.dumps(found))
