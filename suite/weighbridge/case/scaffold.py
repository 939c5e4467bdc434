"""A first case file for a user's own model: ten lines to change, not a manual to read."""

from __future__ import annotations

from pathlib import Path

from weighbridge.contracts import FORMATS, Format
from weighbridge.core.errors import UsageError
from weighbridge.environment.requirements import missing
from weighbridge.formats.finished import reading
from weighbridge.formats.stated_inputs import stated_inputs
from weighbridge.formats.suffixes import format_of


def scaffold(model: str, data: str | None) -> str:
    """The text of a case for `model` (a file, or file.py:callable) and `data` (file.py:callable, .npz, or None).

    Without data nothing is calibrated and no accuracy is claimed: the case holds what random inputs can tell, and says
    what to write when there is data. Raises `UsageError` for a file of no known format, `StageError` for one that cannot
    be read.
    """
    format_ = _format_of(model)
    weights = "" if format_.whole_file else ", weights: model.safetensors"
    lines = [f"model: {{{format_.name}: {model}{weights}}}"]
    if data:
        lines += [
            f"data: {data}    # gives the splits test and calibration, each (inputs, targets)",
            "metric: accuracy",
            "recipe:",
            *_step(format_.first_recipe(data=True)),
            "thresholds:",
            "  accuracy_drop: 0.01     # at most, absolute",
        ]
    else:
        lines += [
            *_inputs(format_, Path(model)),
            "# with data, better: accuracy is judged, and activations can be calibrated",
            "# data: data.py:splits",
            "recipe:",
            *_step(format_.first_recipe(data=False)),
            *_step(format_.first_recipe(data=True), "# "),
            "thresholds:",
            "# accuracy_drop: 0.01     # at most, absolute",
        ]
    lines += [
        "  size_ratio: 3           # at least, bytes before over after",
        "  speedup: 1.2            # at least, with --bench",
    ]
    return "\n".join(lines) + "\n"


def _format_of(model: str) -> Format:
    """Of `file.py:callable` the format that code builds, of a file that of its suffix; raises `UsageError`."""
    path, _, name = model.rpartition(":")
    if path and name:
        return next(format_ for format_ in FORMATS if not format_.whole_file)
    try:
        return FORMATS.get(format_of(Path(model)))
    except UsageError as error:
        raise UsageError(f"{error}; file.py:callable for a torch module") from None


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


def _step(lines: tuple[str, ...], indent: str = "  ") -> list[str]:
    """The lines of one step as an item of the list `recipe`."""
    return [f"{indent}{'-' if index == 0 else ' '} {line}" for index, line in enumerate(lines)]
