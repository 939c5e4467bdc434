"""From what a user's data gives, one sample or one batch, to `(inputs, targets)` as numpy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from weighbridge.core.arrays import Array, Inputs, is_text
from weighbridge.core.batches import Axes, NamedInputs, items, take
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.listed_targets import apart, are_listed
from weighbridge.core.named_targets import of_batch, of_sample

LABELS = ("labels", "label", "targets", "target", "y")
"""Keys of a mapping that hold the targets, unless the case names another."""

Labelled: TypeAlias = "tuple[Inputs, Array | None]"
"""Inputs and targets of a batch."""


class Batch(NamedTuple):
    """All that the data says of some samples: inputs, and targets and groups, [N, ...] and [N], where it gives them."""

    inputs: Inputs
    targets: Array | None = None
    groups: Array | None = None

    def rows(self, rows: slice | Array) -> Batch:
        """The same of some of the samples."""
        inputs, *columns = self
        return Batch(take(inputs, rows), *(None if each is None else each[rows] for each in columns))


@dataclass(frozen=True)
class Layout:
    """What a case says about the form of its data.

    `targets` is a key of a mapping, several, or the position in a tuple; by default one of `LABELS`, or the last. `groups` is the
    same for what names the samples that belong together: no input, and only the split test needs it. `axes` is the batch
    axis of the inputs that do not have it at 0. `sequence`: a sample is fed step by step.
    """

    targets: str | int | tuple[str, ...] | None = None
    axes: Axes = field(default_factory=dict)
    sequence: bool = False
    groups: str | int | None = None

    def batch(self, value: Any, split: str) -> Batch:
        """`value` as a batch; raises `StageError` where its parts are no arrays or differ in length."""
        inputs, targets, groups = found = self._parts(self._divide(value, split), split, lift=False)
        lengths = {name: array.shape[axis] for name, array, axis in items(inputs) if axis is not None}
        if targets is not None:
            lengths["targets"] = len(targets)
        if groups is not None:
            lengths["groups"] = len(groups)
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{_label(name)} {length}" for name, length in lengths.items())
            raise StageError("data", f"split '{split}': inputs and targets differ in length: {said}")
        return found

    def sample(self, value: Any, split: str) -> Batch:
        """`value`, one sample without a batch axis, as a batch of one."""
        return self._parts(self._divide(value, split), split, lift=True)

    def are_listed(self, value: Any, split: str) -> bool:
        """Whether the targets of a batch are a list of mappings, one a sample."""
        return are_listed(self._divide(value, split)[1])

    def listed(self, value: Any, split: str) -> list[Batch]:
        """The samples of such a batch, as batches of one."""
        samples = apart(*self._divide(value, split), split)
        return [self._parts(sample, split, lift=True) for sample in samples]

    def is_sample(self, value: Any, split: str) -> bool:
        """Whether an element of an iterable is one sample and not a batch: its target is one number, or not one a row; without
        targets, an input is one name.
        """
        raw_inputs, raw_targets, _ = self._divide(value, split)
        inputs = self._inputs(raw_inputs, split)
        if raw_targets is None:  # one name is a sample's, as its key among what a tar of samples gives
            return any(is_text(array) and not array.ndim for _, array, _ in items(inputs))
        targets = _by_name(raw_targets, split).values()
        return any(target.ndim == 0 for target in targets) or any(
            array.ndim <= axis or array.shape[axis] != len(target)
            for target in targets
            for _, array, axis in items(inputs)
            if axis is not None
        )

    def _parts(self, divided: tuple[Any, Any, Any], split: str, lift: bool) -> Batch:
        raw_inputs, raw_targets, raw_groups = divided
        inputs = self._inputs(raw_inputs, split)
        targets = None if raw_targets is None else _targets(raw_targets, split, lift)
        groups = (
            None if raw_groups is None else self._one_each(to_array(raw_groups, split, "groups"), split, lift)
        )
        if lift:
            targets = None if targets is None else targets[None]
            lifted = {
                name: array if axis is None else np.expand_dims(array, axis)
                for name, array, axis in items(inputs)
            }
            named = self._named(lifted) if isinstance(inputs, dict) else tuple(lifted.values())
            return Batch(named, targets, groups)
        for name, array, axis in items(inputs):
            if axis is not None and array.ndim <= axis:
                raise StageError(
                    "data",
                    f"split '{split}': {_label(name)} has shape {list(array.shape)}, without a batch axis",
                )
        if targets is not None and targets.ndim == 0:
            raise StageError(
                "data", f"split '{split}': the targets are one {targets.dtype}, not one a sample"
            )
        return Batch(inputs, targets, groups)

    def _one_each(self, groups: Array, split: str, lift: bool) -> Array:
        """`groups`, shape [N]: one name or number a sample."""
        if groups.size != (1 if lift else groups.shape[0] if groups.ndim else -1):
            raise StageError(
                "data",
                f"split '{split}': `groups: {self.groups}` is one name or number a sample, and has the shape "
                f"{list(groups.shape)}",
            )
        return groups.reshape(-1)

    def _divide(self, value: Any, split: str) -> tuple[Any, Any, Any]:
        """The inputs, the targets and the groups in `value`, as they came."""
        if isinstance(value, Mapping):
            return self._divide_mapping(value, split)
        if not isinstance(value, tuple | list) or is_numbers(value):
            return value, None, None
        if len(value) == 1 or (len(value) == 2 and value[1] is None and isinstance(value[0], Mapping)):
            return self._divide(value[0], split) if isinstance(value[0], Mapping) else (value[0], None, None)
        beside = {self.groups} & set(range(len(value)))
        at = self.targets if isinstance(self.targets, int) else max(set(range(len(value))) - beside)
        if isinstance(self.targets, str | tuple):
            raise StageError(
                "data",
                f"split '{split}': `targets: {_listed(self.targets)}` names a key, and the data gives tuples of {len(value)}; "
                "name the position, counted from 0",
            )
        if not -len(value) <= at < len(value):
            raise StageError(
                "data", f"split '{split}': `targets: {at}`, and the data gives tuples of {len(value)}"
            )
        rest = [part for index, part in enumerate(value) if index not in (at % len(value), *beside)]
        groups = value[self.groups] if beside and isinstance(self.groups, int) else None
        if len(rest) != 1:
            return tuple(rest), value[at], groups
        inputs = rest[0]
        if isinstance(inputs, Mapping) and self.groups in inputs:
            groups = inputs[self.groups]
            inputs = {name: part for name, part in inputs.items() if name != self.groups}
        return inputs, value[at], groups

    def _divide_mapping(self, value: Mapping[Any, Any], split: str) -> tuple[Any, Any, Any]:
        if isinstance(self.targets, int):
            raise StageError(
                "data",
                f"split '{split}': `targets: {self.targets}` counts a tuple, and the data gives mappings of "
                f"{', '.join(map(str, value))}; name the key",
            )
        stated = (self.targets,) if isinstance(self.targets, str) else self.targets or ()
        for name in stated:
            if name not in value:
                raise StageError(
                    "data", f"split '{split}' has no targets '{name}'{did_you_mean(name, map(str, value))}"
                )
        known = stated or tuple(name for name in LABELS if name in value)
        if len(known) > 1 and not stated:
            raise StageError(
                "data",
                f"split '{split}' holds {' and '.join(known)}; say which are the targets: `targets: {known[0]}`, or all "
                f"of them: `targets: {_listed(known)}`",
            )
        inputs = {str(name): part for name, part in value.items() if name not in (*known, self.groups)}
        if not inputs:
            raise StageError("data", f"split '{split}' holds {', '.join(map(str, value))} and no inputs")
        groups = None if self.groups is None else value.get(self.groups)  # HDF5's mappings take no None
        if isinstance(self.targets, tuple):
            return inputs, {name: value[name] for name in known}, groups
        return inputs, value[known[0]] if known else None, groups

    def _inputs(self, value: Any, split: str) -> Inputs:
        if isinstance(value, Mapping):
            return self._named({str(name): to_array(part, split, str(name)) for name, part in value.items()})
        if self.axes:
            raise StageError(
                "data",
                f"split '{split}': `batch` speaks of inputs by name ({', '.join(self.axes)}), and the data gives them "
                "without names; give a mapping",
            )
        if isinstance(value, tuple | list) and not is_numbers(value):
            if not value:
                raise StageError("data", f"split '{split}' gives no inputs")
            return tuple(to_array(part, split, str(index)) for index, part in enumerate(value))
        return (to_array(value, split, "0"),)

    def _named(self, arrays: dict[str, Array]) -> Inputs:
        return NamedInputs(arrays, self.axes) if self.axes else arrays


def _targets(raw: Any, split: str, lift: bool) -> Array:
    """Targets as one array, whether they have names or not; with `lift`, those of one sample, without the batch's axis."""
    parts = _by_name(raw, split)
    if not isinstance(raw, Mapping):
        return parts[""]
    return of_sample(parts) if lift else of_batch(parts, split)


def _by_name(raw: Any, split: str) -> dict[str, Array]:
    """Each target by its name, or the only one by none."""
    if not isinstance(raw, Mapping):
        return {"": to_array(raw, split)}
    if not raw:
        raise StageError("data", f"split '{split}': the targets are an empty mapping")
    return {str(name): to_array(part, split, f"targets' {name}") for name, part in raw.items()}


def _listed(targets: str | tuple[str, ...]) -> str:
    return targets if isinstance(targets, str) else f"[{', '.join(targets)}]"


def is_numbers(value: Any) -> bool:
    """Whether a list is an array in Python's own types, and not a list of arrays. A tuple is several things, never one."""
    if not isinstance(value, list):
        return False
    inner: Any = value
    while isinstance(inner, tuple | list) and inner:
        inner = inner[0]
    return isinstance(inner, int | float | str | bool)


def to_array(value: Any, split: str, name: str = "") -> Array:
    """A tensor, an array or a list of numbers as numpy; raises `StageError` for anything else, lists of unequal rows too."""
    what = f"split '{split}': {_label(name)}"
    if isinstance(value, Mapping | set) or value is None:
        raise StageError("data", f"{what} should be an array, not a {type(value).__name__}")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        value = value.to_dense() if value.is_sparse else value
        return np.asarray(value.numpy())
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal length
        raise StageError(
            "data", f"{what} has rows of unequal length; pad them, or give one batch a length"
        ) from error
    if array.dtype.kind == "O" and array.size and all(isinstance(each, str) for each in array.flat):
        return array.astype(np.str_)  # text, as pandas keeps it
    if array.dtype.kind == "O":
        raise StageError(
            "data", f"{what} is a {type(value).__name__} of Python objects, not of numbers of one shape"
        )
    return array


def _label(name: str) -> str:
    return (
        "the targets"
        if name in ("", "targets")
        else f"the {name}"
        if name.startswith("targets' ")
        else "the groups"
        if name == "groups"
        else f"input {name}"
        if name.isdigit()
        else f"input '{name}'"
    )


def turned_round(names: Iterable[Any]) -> str:
    """A hint where an array is called `x_train`, as Keras's files have it: an `.npz` is read by `train_x`."""
    for name in names:
        if found := re.fullmatch(r"(.+)_(test|train|val\w*|calib\w*)", str(name)):
            return f"; in an .npz the split comes first: {found[2]}_{found[1]}, not {name}"
    return ""
