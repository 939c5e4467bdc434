"""The three kinds of trouble, kept apart.

A fault of the user's file (`CaseError`), a stage that could not be carried out (`StageError`,
`Unavailable`), and a verdict on the model (`ThresholdMissed`, an assertion) look different in a
report because different people must act on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path


class WeighbridgeError(Exception):
    """Base of every error that Weighbridge raises on purpose; its text is written for the user."""


class UsageError(WeighbridgeError):
    """A flag, an ini option or a registration is wrong."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a file: 1-based line and column, what is wrong, and what to do."""

    line: int
    column: int
    message: str

    def at(self, path: Path | str) -> str:
        return f"{path}:{self.line}:{self.column}: {self.message}"


class CaseError(WeighbridgeError):
    """Every fault of one case file, reported together."""

    def __init__(self, path: Path | str, faults: Sequence[Fault]) -> None:
        self.path = str(path)
        self.faults = tuple(faults)
        super().__init__("\n".join(fault.at(path) for fault in faults))


class StageError(WeighbridgeError):
    """A stage of a recipe could not be carried out, or did nothing.

    `stage` is the pipeline's stage (`load`, `prune`, `quantize`, `export`, `save`, `measure`, ...) and `step`
    the step as the case file writes it.
    """

    def __init__(self, stage: str, message: str, step: str | None = None) -> None:
        self.stage, self.step, self.message = stage, step, message
        super().__init__(f"{stage}{f' ({step})' if step else ''}: {message}")


class CaseFailed(WeighbridgeError):
    """A recipe could not be carried out; the text is `path:line: stage (step): why`."""


class Unavailable(WeighbridgeError):
    """A requirement is absent: a package, an instruction set, a data set. The text says how to get it."""


class ThresholdMissed(AssertionError):
    """The verdict on the model: a threshold is not kept."""


class Inconclusive(ThresholdMissed):
    """The data cannot tell on which side of the limit the model stands."""


def close_match(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` is a likely misspelling of."""
    close = get_close_matches(word, sorted(candidates), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something close exists, and the valid values in any case."""
    names = sorted(candidates)
    close = close_match(word, names)
    hint = f"; did you mean '{close}'?" if close else ""
    return f"{hint} (valid: {', '.join(names)})" if names else hint


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; its type where it says nothing, as `MemoryError` does."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
