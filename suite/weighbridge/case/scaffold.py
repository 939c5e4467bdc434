"""The text of a case for a user's own model: ten lines to change, not a manual to read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weighbridge.contracts import FORMATS, Format
from weighbridge.core.errors import UsageError, did_you_mean
from weighbridge.core.flow import flow
from weighbridge.environment.requirements import missing
from weighbridge.formats.finished import reading
from weighbridge.formats.stated_inputs import stated_inputs
from weighbridge.formats.suffixes import format_of

NO_METRIC = "none"
"""For samples without labels, which calibrate and compare outputs."""


_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Subject:
    """A model and its data as a user names them: files, or `file.py:callable`, relative to the working directory."""

    model: str
    weights: str | None = None
    data: str | None = None
    metric: str | Mapping[str, Any] = "accuracy"
    """A name or reference, a metric of torchmetrics with its options, or `NO_METRIC`."""
    home: Path = Path()
    """The folder that the references hold from."""

    @property
    def format(self) -> Format:
        """Of `file.py:callable` the format that code builds, of a file that of its suffix, of a folder that of what lies in it;
        raises `UsageError`.
        """
        if _split(self.model)[1]:
            return next(format_ for format_ in FORMATS if not format_.whole_file)
        try:
            return FORMATS.get(format_of(Path(os.path.normpath(self.home / self.model))))
        except UsageError as error:
            if Path(self.model).suffix in _CHECKPOINTS:
                raise UsageError(
                    f"{self.model}: a torch checkpoint does not say how its module is built; name the callable that builds it, "
                    f"and the file as its weights: file.py:callable --weights {self.model}"
                ) from None
            raise UsageError(f"{error}; file.py:callable for a torch module, .keras or a SavedModel's folder for "
                             "a Keras model") from None  # fmt: skip

    @property
    def name(self) -> str:
        """What a folder or a file of this model is called."""
        location, called = _split(self.model)
        stem = called or Path(location).stem
        return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "model"

    @property
    def judges_accuracy(self) -> bool:
        return self.data is not None and self.metric != NO_METRIC

    def check(self) -> None:
        """Raises `UsageError` where a file is not there, or where nothing can be run for want of data."""
        format_ = self.format
        for reference in filter(None, (self.model, self.weights, self.data)):
            path = Path(_split(reference)[0])
            if not path.exists() and not _is_module(reference):
                siblings = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
                close = [name for name in siblings if Path(name).suffix == path.suffix]
                raise UsageError(f"no file {path}{did_you_mean(path.name, close)}")
        if self.data is not None and not (self.data.endswith(".npz") or _split(self.data)[1]):
            raise UsageError(f"--data {self.data}: {_no_data(self.data)}")
        if self.data is None and not format_.declares_inputs:
            raise UsageError(
                f"a {format_.name} model does not say what inputs it takes, so it needs --data (an .npz, or file.py:callable)"
            )

    def seen_from(self, folder: Path) -> Subject:
        """The same with references that hold in a file that lies in `folder`."""
        here = Path()
        return replace(
            self,
            model=moved(self.model, here, folder),
            weights=self.weights and moved(self.weights, here, folder),
            data=self.data and moved(self.data, here, folder),
            metric=_metric_moved(self.metric, here, folder),
            home=folder,
        )

    def model_line(self) -> str:
        weights = {"weights": self.weights} if self.weights else {}
        return f"model: {flow({self.format.name: self.model, **weights})}"


def moved(reference: str, source: Path, target: Path) -> str:
    """A reference that holds from the folder `source`, as one that holds from the folder `target`."""
    location, name = _split(reference)
    if _is_module(reference) or Path(location).is_absolute():
        return reference
    path = Path(os.path.relpath(source / location, target)).as_posix()
    return f"{path}:{name}" if name else path


def _no_data(path: str) -> str:
    """What to do with what is neither an .npz nor a callable."""
    if path.endswith(".py"):
        return f"name the function in it that gives the splits: {path}:splits"
    return (
        "expected an .npz; anything else a function of yours reads, which gives {'calibration': (inputs, targets), 'test': "
        "(inputs, targets)}, and is named file.py:function"
    )


def _metric_moved(metric: str | Mapping[str, Any], source: Path, target: Path) -> str | Mapping[str, Any]:
    """The same for a metric: a name is nobody's file, and of torchmetrics' options `prepare` is a reference."""
    if isinstance(metric, str):
        return moved(metric, source, target) if ":" in metric else metric
    prepare = metric.get("prepare")
    return {**metric, "prepare": moved(prepare, source, target)} if prepare else metric


def _split(reference: str) -> tuple[str, str]:
    """The file, and the callable in it (empty for a file alone)."""
    found = re.fullmatch(r"(.+):([^\W\d][\w.]*)", reference)
    return (found[1], found[2]) if found else (reference, "")


def _is_module(reference: str) -> bool:
    """`package.module:callable`, which no folder matters to."""
    location, name = _split(reference)
    return bool(name) and not location.endswith(".py")


def scaffold(subject: Subject, folder: Path | None = None) -> str:
    """The text of a first case for `subject`, whose limits are what is usual and nothing measured.

    Where the case is to lie in `folder`, its references hold from there.

    Without data nothing is calibrated and no accuracy is claimed: the case holds what random inputs can tell, and says
    what to write when there is data. Raises `UsageError` for a file of no known format, `StageError` for one that cannot
    be read.
    """
    format_ = subject.format
    seen = subject if folder is None else subject.seen_from(folder)
    if not (seen.weights or format_.whole_file):
        seen = replace(seen, weights="model.safetensors")
    lines = [seen.model_line()]
    if seen.data:
        lines += [
            f"data: {flow(seen.data)}    # gives the splits test and calibration, each (inputs, targets)",
            "metric: accuracy",
            "recipe:",
            *step_lines(format_.recipes(data=True)[0]),
            "thresholds:",
            "  accuracy_drop: 0.01     # at most, absolute",
        ]
    else:
        lines += [
            *_inputs(format_, Path(subject.model)),
            "# with data, better: accuracy is judged, and activations can be calibrated",
            "# data: data.py:splits",
            "recipe:",
            *step_lines(format_.recipes(data=False)[0]),
            *step_lines(format_.recipes(data=True)[0], "# "),
            "thresholds:",
            "# accuracy_drop: 0.01     # at most, absolute",
        ]
    lines += [
        "  size_ratio: 3           # at least, bytes before over after",
        "  speedup: 1.2            # at least, with --bench",
    ]
    return "\n".join(lines) + "\n"


def _inputs(format_: Format, path: Path) -> tuple[str, ...]:
    """What is drawn: of the shapes that the file declares, or of those that are to be written where it leaves some open."""
    if not format_.declares_inputs:
        return ("inputs: [[3, 224, 224]]    # shapes of one sample, of which random ones are drawn",)
    if path.is_file() and missing(*format_.requires) is None:
        with reading(path.name):
            loaded = format_.load(path.name, None, path.parent)
            shapes, _ = format_.inputs(loaded)
            stated = stated_inputs(format_.ports(loaded)[0])
        if shapes is None and stated:
            return (
                "# one sample, without the batch axis; numbers belong where the file has names or `?`",
                *stated,
            )
    return ("inputs: random",)


def step_lines(step: Sequence[str], indent: str = "  ") -> list[str]:
    """The lines of one step as an item of the list `recipe`."""
    return [f"{indent}{'-' if index == 0 else ' '} {line}" for index, line in enumerate(step)]
