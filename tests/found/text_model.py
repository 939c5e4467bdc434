"""A text classifier of two inputs as ONNX, right by construction, and texts for it: no training, no file from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

VOCABULARY, LENGTH, CLASSES, HIDDEN = 400, 24, 4, 32
Array = Any


def texts(n: int = 300, seed: int = 1) -> tuple[Array, Array, Array]:
    """`ids` int64 [n, 24], `mask` float32 [n, 24], class [n]: a third of the words are of the text's class."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, n)
    share = VOCABULARY // CLASSES
    topic = random.integers(0, share, (n, LENGTH)) + y[:, None] * share
    words = np.where(random.random((n, LENGTH)) < 0.35, topic, random.integers(0, VOCABULARY, (n, LENGTH)))
    mask = (np.arange(LENGTH) < random.integers(8, LENGTH + 1, n)[:, None]).astype(np.float32)
    return (words * mask).astype(np.int64), mask, y


def network(ruined: bool = False, batch: Any = "n", noise: float = 0.0) -> Any:
    """An embedding bag and two layers. `ruined`: the classes are permuted."""
    random = np.random.default_rng(5)
    table = random.normal(0, 0.05, (VOCABULARY, 16))
    table[np.arange(VOCABULARY), np.arange(VOCABULARY) // (VOCABULARY // CLASSES)] += 1
    up, down = random.normal(0, 0.02, (16, HIDDEN)), random.normal(0, 0.02, (HIDDEN, CLASSES))
    up[np.arange(CLASSES), np.arange(CLASSES)] += 1
    down[np.arange(CLASSES), np.arange(CLASSES)] += 1
    down = np.roll(down, 1, axis=1) if ruined else down * (1 + noise)
    weights = {"table": table, "up": up, "down": down}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], name="embed"),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"], name="column"),
        helper.make_node("Mul", ["words", "column"], ["kept"], name="hide"),
        helper.make_node("ReduceSum", ["kept", "middle"], ["bag"], name="bag", keepdims=0),
        helper.make_node("MatMul", ["bag", "up"], ["hidden"], name="up"),
        helper.make_node("Relu", ["hidden"], ["active"], name="act"),
        helper.make_node("MatMul", ["active", "down"], ["logits"], name="down"),
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    tensors += [
        numpy_helper.from_array(np.array([axis]), name) for name, axis in (("last", 2), ("middle", 1))
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [batch, LENGTH]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [batch, LENGTH]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


CASE = """
model: {{onnx: text.onnx}}
candidate: {{onnx: {candidate}.onnx}}
data: {data}
thresholds: {{accuracy_drop: 0.02, fidelity: 20}}
{rest}
"""


def weigh_text(folder: Path, data: str, code: str = "", rest: str = "", candidate: str = "same") -> Any:
    """The outcome of the model against a copy that differs by a millionth (`same`), or `ruined`, on the data of `code`."""
    onnx.save(network(), folder / "text.onnx")
    onnx.save(
        network(noise=1e-6) if candidate == "same" else network(ruined=True), folder / f"{candidate}.onnx"
    )
    ids, mask, y = texts()
    np.savez(folder / "texts.npz", ids=ids, mask=mask, y=y)
    (folder / "data.py").write_text(HEAD + code)
    return weigh(folder, CASE.format(data=data, candidate=candidate, rest=rest))


HEAD = '''
from pathlib import Path

import numpy as np
import torch

texts = np.load(Path(__file__).parent / "texts.npz")
ids, mask, y = texts["ids"], texts["mask"], texts["y"]


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return len(y)

    def __getitem__(self, i):
        return {"ids": ids[i], "mask": mask[i]}, int(y[i])


class Rows(Pairs):
    """As Hugging Face's datasets give them."""

    def __getitem__(self, i):
        return {"ids": ids[i].tolist(), "mask": mask[i].tolist(), "labels": int(y[i])}


def batches(size=50):
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        yield {"ids": ids[rows], "mask": mask[rows]}, y[rows]


class Endless(torch.utils.data.IterableDataset):
    # One sample after another; its base class has a `__getitem__` that raises.

    def __iter__(self):
        return (Pairs()[i] for i in range(len(y)))

    def __len__(self):
        return len(y)


class Batches:
    # As Keras's sequences: its items are batches.

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return list(batches())[i]

    def on_epoch_end(self):
        pass


class Again:
    def __iter__(self):
        return batches()


'''
