"""The models that quantizers are compared on, and how fast artifacts of one are: known to `peers.py` and its processes.

A peer's environment has neither Weighbridge nor pytest, so this file asks for nothing but numpy until it is called.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
BATCHES = (1, 8)
"""Samples of a call that is timed."""
OPENINGS, SECONDS, LEAST_ROUNDS, MOST_SECONDS = 5, 1.0, 3, 5.0
"""Of one model: so often artifacts are opened anew, and so long called each time."""
IN_A_ROW = 3
"""Calls of one artifact, so that it finds its weights in the cache as it does where it is served."""


@dataclass(frozen=True)
class Subject:
    """A model of the repository or of a package: `model` and `data` are callables of `file`."""

    name: str
    file: str
    model: str
    data: str
    weights: str | None = None
    torch: bool = True
    """Else `model` gives the path of an ONNX file."""
    dense: bool = False
    """Whether dynamic quantization has a meaning: it has one for dense layers alone."""
    transformer: bool = False
    metric: str = "accuracy"
    """As a case names it: what is right of the outputs."""

    def called(self, reference: str) -> Any:
        """What a callable gives, `file.py:name` where it is in another file than the model."""
        file, _, name = reference.rpartition(":")
        path = ROOT / (file or self.file)
        spec = importlib.util.spec_from_file_location("_".join(path.parts[-2:])[:-3], path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)()

    def module(self) -> Any:
        """The float model in torch."""
        module = self.called(self.model)
        if self.weights:
            from safetensors.torch import load_file

            module.load_state_dict(load_file((ROOT / self.file).with_name(self.weights)))
        return module.eval()


SUBJECTS = (
    Subject("residual CNN", "cases/fashion/model.py", "resnet", "clothes", "resnet.safetensors"),
    Subject("MLP", "cases/digits/model.py", "mlp", "digits", "mlp.safetensors", dense=True),
    Subject(
        "transformer",
        "cases/transformer/model.py",
        "encoder",
        "cases/digits/model.py:digits",
        "encoder.safetensors",
        dense=True,
        transformer=True,
    ),
    Subject("orientation", "cases/orientation/model.py", "network", "pages", torch=False),
    Subject("EfficientNet-Lite0", "cases/efficientnet/model.py", "lite0", "photos"),
    Subject("EfficientNet-Lite0, CIFAR-10", "benchmarks/cifar.py", "lite0", "pictures"),
    Subject(
        "MiniLM",
        "benchmarks/minilm.py",
        "encoder",
        "sentences",
        dense=True,
        transformer=True,
        metric="benchmarks/minilm.py:by_class_mean",
    ),
)
BY_NAME = {subject.name: subject for subject in SUBJECTS}


def least_times(
    opened: Callable[[], Mapping[str, Callable[[Any], object]]], inputs: Any
) -> dict[str, dict[str, list[float]]]:
    """Seconds of a call, by name and batch: one figure for each time that all were opened.

    It is the least of calls in turn, whose order is drawn anew each round: a neighbour seldom slows every call of one, and where
    memory was given is another matter each time.
    """
    random = np.random.default_rng(0)
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(OPENINGS):
        for batch in BATCHES:
            calls = opened()
            some = np.ascontiguousarray(np.resize(inputs, (batch, *inputs.shape[1:])))
            least = dict.fromkeys(calls, float("inf"))
            for call in calls.values():
                call(some)
            names, rounds, began = list(calls), 0, time.perf_counter()
            while (taken := time.perf_counter() - began) < SECONDS or (
                rounds < LEAST_ROUNDS and taken < MOST_SECONDS
            ):
                for name in random.permutation(names):
                    for _ in range(IN_A_ROW):
                        start = time.perf_counter()
                        calls[name](some)
                        least[name] = min(least[name], time.perf_counter() - start)
                rounds += 1
            for name in names:
                found.setdefault(name, {}).setdefault(str(batch), []).append(least[name])
    return found
