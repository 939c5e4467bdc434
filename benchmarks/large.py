"""A model of 2.7 GB inspected, audited and taken through a recipe: memory and seconds, beside the plain library.

python benchmarks/large.py [layers of 67 MB]

Memory is the most that all processes of a command together had resident, in units of the model's size.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from measured import take
from onnx import TensorProto, helper, numpy_helper
from tabulate import tabulate

SIDE = 4096
LAYERS = 40
BUDGET = (
    "thresholds: {size: 30 GB, parameters: 10 b, operators: {denied: [If]}, dtypes: {allowed: [float32]}}\n"
)
CASE = "model: {onnx: model.onnx}\nrecipe: [{quantize: dynamic}]\nthresholds: {size_ratio: 3}\n"
PLAIN = """
from onnxruntime.quantization import quantize_dynamic
quantize_dynamic("model.onnx", "int8.onnx", use_external_data_format=True)
"""


def write_model(path: Path, layers: int) -> int:
    """A stack of square products with numbers beside it; gives its bytes."""
    random = np.random.default_rng(0)
    weights, nodes = [], []
    for layer in range(layers):
        array = random.standard_normal((SIDE, SIDE), dtype=np.float32) / 64
        weights.append(numpy_helper.from_array(array, f"{layer}.weight"))
        nodes += [
            helper.make_node("MatMul", [f"x{layer}", f"{layer}.weight"], [f"h{layer}"], f"product {layer}"),
            helper.make_node("Relu", [f"h{layer}"], [f"x{layer + 1}"], f"relu {layer}"),
        ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE])] for name in ("x0", f"x{layers}")
    ]
    graph = helper.make_graph(nodes, "stack", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    return sum(each.stat().st_size for each in path.parent.iterdir())


def main(layers: str = str(LAYERS)) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_model(folder / "model.onnx", int(layers))
        (folder / "budget.yaml").write_text(BUDGET)
        (folder / "case.yaml").write_text(CASE)
        for what, command in {
            "inspect": ["-m", "weighbridge", "inspect", "model.onnx"],
            "audit": ["-m", "weighbridge", "audit", "model.onnx", "--budget", "budget.yaml"],
            "a recipe: quantize: dynamic": ["-m", "pytest", "case.yaml", "-q"],
            "ONNX Runtime's quantize_dynamic alone": ["-c", PLAIN],
        }.items():
            taken = take(folder, *command)
            rows.append([what, f"{taken.wall:.0f}", f"{taken.peak / 1e9:.1f}", f"{taken.peak / size:.2f}"])
            print(*rows[-1], flush=True, file=sys.stderr)
    print(f"{size / 1e9:.2f} GB")
    print(tabulate(rows, ("what", "s", "GB", "of the model"), tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
