"""Metrics of torchmetrics by their names: F1, AUROC, mIoU, word error rate, perplexity, in its own conventions.

A metric whose state is a sum over samples, such as a confusion matrix, is kept as what each sample adds: the state is
torchmetrics' own, merged as it merges the states of several processes, and the outputs are let go.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.contracts import Array, Requirement
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.ragged import alike
from weighbridge.core.references import resolve
from weighbridge.measure.tallies import NoTally

REQUIRES = Requirement("package", "torchmetrics", "pip install torchmetrics")
ROOMS = ("classification", "segmentation", "regression", "text", "retrieval", "image", "audio", "detection")
"""The parts of torchmetrics whose metrics take predictions and targets."""
OWN = ("torchmetrics", "higher_is_better", "prepare", "value")
"""The keys of `metric:` that are ours; the others are the metric's options."""


@dataclass(frozen=True)
class TorchMetric:
    """A torchmetrics metric: `make` gives a fresh one. It sees the first output, and the targets.

    `prepare(outputs, targets)` gives what the metric takes in their place, such as text for a word error rate.
    """

    name: str
    make: Callable[[], Any]
    higher_is_better: bool
    prepare: Callable[[Any, Any], tuple[Any, Any]] | None = None
    value: str | None = None
    """Which of the figures is meant, of a metric that gives several by name."""
    binary: bool = False

    def per_sample(self, outputs: tuple[Array, ...], targets: Array) -> None:
        """None: its mean over samples is no such metric's value."""

    def whole(self, outputs: tuple[Array, ...], targets: Array) -> float:
        metric = self.make()
        for *found, wanted in alike(
            (*outputs, targets)
        ):  # in batches, as torchmetrics takes them: shapes may differ
            metric.update(*self._taken(tuple(found), wanted))
        return self._number(metric)

    def parts(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        """What each sample adds to the metric's state, shape [N, D]; None where the state is no sum."""
        metric, rows = self.make(), []
        sums = all(
            getattr(reduce, "__name__", "") == "dim_zero_sum" for reduce in metric._reductions.values()
        )
        if not sums or not metric._defaults:
            return None
        for at in range(len(targets)):
            metric.reset()
            row = slice(at, at + 1)
            metric.update(*self._taken(tuple(output[row] for output in outputs), targets[row]))
            rows.append([np.asarray(state.detach().cpu()) for state in metric.metric_state.values()])
        if any(
            [state.shape for state in row] != [default.shape for default in self.make()._defaults.values()]
            for row in rows
        ):
            return None  # it learns its shape from the data, and a fresh one cannot take its sums back
        return np.stack([np.concatenate([state.ravel() for state in row]).astype(np.float64) for row in rows])

    def of_sum(self, total: Array) -> float:
        """The metric of samples whose `parts` sum to `total`, shape [D]."""
        import torch

        metric, start = self.make(), 0
        for name, default in metric._defaults.items():
            part = torch.as_tensor(total[start : start + default.numel()]).to(default.dtype)
            setattr(metric, name, part.reshape(default.shape))
            start += default.numel()
        metric._update_count = 1  # else it warns that it has seen nothing
        return self._number(metric)

    def tally(self) -> NoTally:
        return NoTally()

    def _taken(self, outputs: tuple[Array, ...], targets: Array) -> tuple[Any, Any]:
        import torch

        if self.prepare is not None:
            taken = self.prepare(outputs[0] if len(outputs) == 1 else outputs, targets)
            found, wanted = (torch.tensor(one) if isinstance(one, np.ndarray) else one for one in taken)
            return found, wanted
        if targets.dtype.names:
            raise StageError(
                "measure",
                f"metric {self.name} is given targets by name, {', '.join(targets.dtype.names)}; say `prepare: "
                "file.py:function`, which makes of (outputs, targets) what the metric takes, such as a list of mappings",
            )
        found, wanted = torch.tensor(outputs[0]), torch.tensor(targets)
        if found.shape != wanted.shape and found.numel() == wanted.numel():
            found = found.reshape(wanted.shape)  # one score a sample, in a column of its own
        elif found.ndim > 1 and wanted.ndim == found.ndim and wanted.shape[1] == 1:
            wanted = wanted[:, 0]  # class numbers in a column
        return found, wanted

    def _number(self, metric: Any) -> float:
        value = metric.compute()
        if isinstance(value, Mapping):
            value = self._chosen(value, metric.plot_lower_bound)
        elif self.value is not None:
            raise StageError(
                "measure",
                f"metric {self.name} gives one figure, not several by name; leave out `value: {self.value}`",
            )
        if not hasattr(value, "numel") or value.numel() != 1:
            what = f"shape {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
            raise StageError(
                "measure",
                f"metric {self.name} gives no single number, but {what}; an option such as `average: macro` may make "
                "one of it",
            )
        return float(value)

    def _chosen(self, figures: Mapping[str, Any], least: float | None) -> Any:
        """The figure that the case names; NaN where it is below the `least` of the metric, which then means that it has none,
        as an average precision of -1 of large objects where there are none.
        """
        single = [str(name) for name, one in figures.items() if getattr(one, "numel", lambda: 1)() == 1]
        if self.value is None:
            raise StageError(
                "measure",
                f"metric {self.name} gives several figures; say which is judged, such as `value: {', '.join(single[:1])}`, of "
                f"{', '.join(single)}",
            )
        if self.value not in figures:
            raise StageError(
                "measure",
                f"metric {self.name} gives no figure '{self.value}'{did_you_mean(self.value, single)}",
            )
        value = figures[self.value]
        return value * float("nan") if self.value in single and least is not None and value < least else value


def find_torchmetric(stated: Mapping[str, Any], folder: Path) -> TorchMetric:
    """The metric of a case's `{torchmetrics: NAME, ...}`; raises `StageError`."""
    name = stated["torchmetrics"]
    kind = next(
        (
            found
            for room in ROOMS
            if (found := getattr(importlib.import_module(f"torchmetrics.{room}"), name, None)) is not None
        ),
        None,
    )
    if not inspect.isclass(kind):
        raise StageError("measure", _absent(name))
    options = {key: value for key, value in stated.items() if key not in OWN}
    reference = stated.get("prepare")
    prepare = resolve(reference, folder, "measure") if reference else None
    return as_torchmetric(
        name, lambda: kind(**options), stated.get("higher_is_better"), prepare, stated.get("value")
    )


def as_torchmetric(
    name: str,
    make: Callable[[], Any],
    higher: bool | None = None,
    prepare: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    value: str | None = None,
) -> TorchMetric:
    """What `make` gives as a metric of ours; `higher` is what the case says of its direction."""
    try:
        own = make().higher_is_better
    except Exception as error:
        raise StageError(
            "measure", f"metric {name} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if own is None and higher is None:
        raise StageError(
            "measure",
            f"torchmetrics does not say which way {name} is better; write `metric: {{torchmetrics: {name}, "
            "higher_is_better: true}` (or false)",
        )
    if own is not None and higher is not None and own != higher:
        way = "higher" if own else "lower"
        raise StageError(
            "measure", f"the case says `higher_is_better: {str(higher).lower()}`, and of {name} {way} is"
        )
    return TorchMetric(name, make, bool(own if higher is None else higher), prepare, value)


def faults_of(stated: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a case's `metric: {...}`, by key, without importing torchmetrics."""
    name = stated.get("torchmetrics")
    if not isinstance(name, str):
        return [
            (
                "",
                "`metric` as a mapping names a metric of torchmetrics: {torchmetrics: MulticlassF1Score, ...}",
            )
        ]
    found = []
    known = offered()
    if known and name not in known:
        found.append(("torchmetrics", f"torchmetrics has no metric '{name}'{_hint(name)}"))
    if not isinstance(stated.get("higher_is_better", True), bool):
        found.append(("higher_is_better", "metric.higher_is_better: should be true or false"))
    prepare = stated.get("prepare", ":")
    if not isinstance(prepare, str) or ":" not in prepare:
        found.append(("prepare", "metric.prepare: should be file.py:function"))
    if not isinstance(stated.get("value", ""), str):
        found.append(("value", "metric.value: should be the name of one of the metric's figures"))
    return found


def _absent(name: str) -> str:
    """Why torchmetrics gives no such metric: nobody knows it, or a package is absent without which it is left out."""
    found = _listed()
    if name not in found:
        return f"torchmetrics has no metric '{name}'{_hint(name)}"
    needed = " and ".join(found[name])
    return f"torchmetrics has {name} only where {needed} is installed, which is absent here"


def offered() -> list[str]:
    """The names of torchmetrics' metrics, read from its files; empty where it is absent."""
    return sorted(_listed())


def _listed() -> dict[str, list[str]]:
    """The same, with the packages without which torchmetrics leaves a metric out."""
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or not spec.submodule_search_locations:
        return {}
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        file = Path(spec.submodule_search_locations[0]) / room / "__init__.py"
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            condition = ast.unparse(statement.test) if isinstance(statement, ast.If) else ""
            packages = [name.lower() for name in re.findall(r"_(\w+?)_AVAILABLE", condition)]
            for node in ast.walk(statement):
                if isinstance(node, ast.Assign | ast.AugAssign) and isinstance(node.value, ast.List):
                    names = (str(one.value) for one in node.value.elts if isinstance(one, ast.Constant))
                    found |= dict.fromkeys(names, packages)
    return found


def _hint(name: str) -> str:
    """Did you mean, without all 200 names."""
    return did_you_mean(name, offered()).partition(" (valid")[0]
