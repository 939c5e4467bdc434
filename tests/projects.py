"""A user's project for tests: a small classifier that was really trained, its data, and what its callables count."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save

from weighbridge.contracts import THRESHOLDS
from weighbridge.core.results import Artifact, CaseResult, Status

MODEL = """
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent


def net():
    with (HERE / "calls.txt").open("a") as calls:
        calls.write("net\\n")
    return nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 4))


def untrained():
    torch.manual_seed(1)
    return net()


def broken():
    raise RuntimeError("no such luck")


def splits():
    data = np.load(HERE / "data.npz")
    part = lambda name: (data[name + "_x"], data[name + "_y"])
    return {"test": part("test"), "train": part("train")}
"""

CASE = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe:
  - prune: l1_unstructured
    amount: 0.5
thresholds:
  accuracy_drop: 0.02
  size_ratio: 0.9
"""


def samples(seed: int, n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Four clusters on 16 axes, shape [n, 16], that overlap a little: no model is right everywhere."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((4, 16)) * 0.9
    labels = random.integers(0, 4, n)
    return (centers[labels] + random.standard_normal((n, 16))).astype(np.float32), labels


@functools.cache
def trained() -> bytes:
    """The weights of `net`, as a safetensors file."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(16, 96), torch.nn.ReLU(), torch.nn.Linear(96, 96), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(96, 4))
    inputs, labels = (torch.as_tensor(array) for array in samples(1, 600))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(net(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return save(net.state_dict())


def as_onnx(weights: Mapping[str, Any]) -> bytes:
    """`MODEL`'s network: three linear layers with ReLU between them."""
    layers = sorted({name.partition(".")[0] for name in weights})
    nodes = []
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        names = [f"{layer}.in" if index else "x", f"{layer}.weight", f"{layer}.bias"]
        nodes.append(helper.make_node("Gemm", names, ["y" if last else f"{layer}.out"], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [f"{layer}.out"], [f"{layers[index + 1]}.in"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in sorted(weights.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


def write_project(folder: Path) -> Path:
    """`model.py`, `net.safetensors` and `data.npz` in `folder/cases`; gives that folder."""
    cases = folder / "cases"
    cases.mkdir(exist_ok=True)
    (cases / "model.py").write_text(MODEL)
    (cases / "net.safetensors").write_bytes(trained())
    (test_x, test_y), (train_x, train_y) = samples(2, 400), samples(1, 600)
    np.savez(cases / "data.npz", test_x=test_x, test_y=test_y, train_x=train_x, train_y=train_y)
    return cases


def write_samples(folder: Path, shapes: Mapping[str, Sequence[int]], integers: Sequence[str] = ()) -> str:
    """Samples without targets, for `test` and `calibration`, in `folder/samples.npz`; gives the case's line that names it.

    Nothing is calibrated on invented inputs. `shapes` are those of one sample, by the input's name (`x`, or `x0`, `x1`
    where the data gives them by position); `integers` are the inputs that are zeros and ones, the rest are normal.
    """
    random = np.random.default_rng(1)
    drawn = {
        f"{split}_{name}": random.integers(0, 2, (64, *shape))
        if name in integers
        else random.standard_normal((64, *shape)).astype(np.float32)
        for split in ("test", "calibration")
        for name, shape in shapes.items()
    }
    np.savez(folder / "samples.npz", **drawn)  # type: ignore[arg-type]  # numpy takes a name for `allow_pickle`
    return "data: samples.npz\n"


def report_of(folder: Path) -> dict[str, Any]:
    """`reports/latest.json` of a run in `folder`."""
    report: dict[str, Any] = json.loads((folder / "reports" / "latest.json").read_text(encoding="utf-8"))
    return report


def statuses(folder: Path) -> dict[str, str]:
    """`case name::threshold` -> status, for every threshold of the last run."""
    return {
        f"{row['name']}::{verdict['threshold']}": verdict["status"]
        for row in report_of(folder)["rows"]
        for verdict in row["verdicts"]
        if verdict["threshold"] != "round_trip"
    }


@dataclass(frozen=True)
class Weighed:
    """A case's result, with its artifacts as an engine or a format opens them."""

    result: CaseResult
    candidate: Artifact | None
    baseline: Artifact | None

    @property
    def status(self) -> Status:
        """Pass where the case could be carried out, whatever its thresholds say."""
        return Status.PASS if self.result.stage == "done" else self.result.status

    @property
    def failed(self) -> dict[str, str]:
        """What could not be measured, by measurement."""
        errors = [verdict for verdict in self.result.verdicts if verdict.status is Status.ERROR]
        return {THRESHOLDS.get(error.threshold).measure: error.message for error in errors}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.result, name)


def weigh(folder: Path, text: str, also: Sequence[str] = ("fidelity",), **options: Any) -> Weighed:
    """The one case in `text`, written to `folder` and carried out in this process, without pytest around it."""
    from weighbridge.case.load import load_cases
    from weighbridge.run.job import Job, RunOptions
    from weighbridge.run.pipeline import run_case
    from weighbridge.run.plan import make_plan

    path = folder / "case.yaml"
    path.write_text(text)
    (case,) = load_cases(path)
    chosen = RunOptions(
        root=folder, store=folder / ".weighbridge", artifacts=folder / "work", bench=False, **options
    )
    result = run_case(Job(f"case.yaml::{case.name}", "case.yaml", make_plan(case, None, False, also), chosen))
    sides = {}
    for side in ("candidate", "baseline"):
        record = result.artifacts.get(side)
        files = [folder / file.path for file in record.files] if record else []
        source = {"reference": case.model.reference, "folder": str(folder), "rebuild": []}
        sides[side] = Artifact(record.format, files[0], tuple(files), source) if record else None
    return Weighed(result, **sides)
