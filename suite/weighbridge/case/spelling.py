"""Names that a limit allows or denies: a misspelt one is always kept, and nobody would see it."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from weighbridge.case.check import Faulter
from weighbridge.case.model import ThresholdRef
from weighbridge.core.errors import did_you_mean
from weighbridge.formats.vocabulary import DOMAINS, DTYPES, operators

_SHORT = {
    "fp64": "float64",
    "double": "float64",
    "fp32": "float32",
    "float": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
}
CLOSE = 0.87
"""Likeness from which an unknown name is taken for a misspelling: an operator of one's own is called otherwise."""


def check_spelling(refs: tuple[ThresholdRef, ...], format_: str | None, fault: Faulter) -> None:
    """A fault for each name under `allowed` and `denied` that no operator, type or operator set of `format_` has."""
    for ref in refs:
        for side in ("allowed", "denied"):
            names = getattr(ref.limit, side, None) or ()
            for index, name in enumerate(names):
                where = ("thresholds", ref.name, side, index)
                if ref.name == "dtypes" and name not in DTYPES:
                    meant = _SHORT.get(name.lower())
                    hint = f"; did you mean '{meant}'?" if meant else did_you_mean(name, DTYPES)
                    fault(where, f"no number is of the type '{name}'{hint}")
                elif ref.name == "operators" and format_ is not None:
                    _likely(name, operators(format_), names, f"{format_} has no operator", where, fault)
                elif ref.name == "domains":
                    _likely(name, DOMAINS, names, "there is no operator set", where, fault)


def _likely(
    name: str,
    known: Collection[str],
    beside: Collection[str],
    what: str,
    where: tuple[str | int, ...],
    fault: Faulter,
) -> None:
    """An unknown name may be somebody's own; one that differs by a letter or by its case is none.

    Where the right one stands beside it, the budget is for models of several formats: `[If, IF]`.
    """
    if name in known:
        return
    same = [one for one in sorted(known) if one.lower() == name.lower()]
    meant = same or get_close_matches(name, sorted(known), n=1, cutoff=CLOSE)
    if meant and meant[0] not in beside:
        fault(where, f"{what} '{name}'; did you mean '{meant[0]}'?")
