"""A file that splits an `.npz` of test samples, so that a quantizer has something to calibrate on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from weighbridge.case.scaffold import Subject
from weighbridge.core.layout import LABELS
from weighbridge.core.opening import read_npz

FILE, CALLABLE = "data.py", "splits"
CALIBRATING = ("calibration", "train")
SHARE = 5
"""One in so many samples calibrates. Not the first ones: samples are often sorted by class."""

_SPLIT = '''"""{name} has test samples only: one in {share} calibrates here, the others test."""

from pathlib import Path

import numpy as np


def {callable}():
    with np.load(Path(__file__).parent / "{path}") as file:
        samples = {{name: file[name] for name in file.files}}
    calibrates = np.arange(len(samples["{first}"])) % {share} == 0

    def rows(some):
        return {rows}

    return {{"calibration": rows(calibrates), "test": rows(~calibrates)}}
'''

_STUB = '''"""Your samples: write them here, then name this file in the case: `data: {file}:{callable}`."""

import numpy as np


def {callable}():
{inputs}    inputs = np.load("inputs.npy")    # [N, ...], as the model takes them
    targets = np.load("targets.npy")  # [N], class numbers from 0
    calibrates = np.arange(len(targets)) % {share} == 0
    return {{
        "calibration": (inputs[calibrates], targets[calibrates]),
        "test": (inputs[~calibrates], targets[~calibrates]),
    }}
'''


def splitting(subject: Subject, folder: Path) -> str | None:
    """The text of a `FILE` in `folder` that splits the subject's samples; None where there is nothing to split.

    That is what is no `.npz`, one that has a calibration or train split, or columns of unlike lengths. Raises
    `StageError` for an `.npz` that cannot be read.
    """
    if subject.data is None or not subject.data.endswith(".npz"):
        return None
    arrays = read_npz(Path(subject.data))
    if any(key.startswith(tuple(f"{name}_" for name in CALIBRATING)) for key in arrays):
        return None
    if len({array.shape[:1] for array in arrays.values()}) != 1 or not next(iter(arrays.values())).ndim:
        return None
    names = {key.removeprefix("test_"): key for key in arrays}
    path = subject.seen_from(folder).data or ""
    if not all(text.isprintable() and not {'"', "\\"} & set(text) for text in (path, *arrays)):
        return None  # it would have to be quoted in the code
    return _SPLIT.format(
        name=Path(path).name,
        share=SHARE,
        callable=CALLABLE,
        path=path,
        first=next(iter(arrays)),
        rows=_rows(names),
    )


def _rows(names: dict[str, str]) -> str:
    """The expression of some rows: `x`, `x0`, ... are inputs by position, as in the `.npz` itself."""
    labels = [name for name in names if name in LABELS]
    inputs = [name for name in names if name not in labels]
    if all(re.fullmatch(r"x\d*", name) for name in inputs) and len(labels) < 2:
        ordered = sorted(inputs, key=lambda name: int(name[1:] or 0))
        columns = [f'samples["{names[name]}"][some]' for name in [*ordered, *labels]]
        return ", ".join(columns) if labels else f"({', '.join(columns)},), None"
    return "{" + ", ".join(f'"{name}": samples["{key}"][some]' for name, key in names.items()) + "}"


def stub(inputs: Sequence[str]) -> str:
    """The text of a `FILE` to be filled in; `inputs` are what the model takes, in words."""
    told = "".join(f"    # {line}\n" for line in inputs)
    return _STUB.format(file=FILE, callable=CALLABLE, inputs=told, share=SHARE)
