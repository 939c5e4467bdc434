"""How a candidate is called so that it is given and gives what its original does: in the order of the original's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weighbridge.contracts import Format
from weighbridge.core.results import Artifact
from weighbridge.formats.opened import opened

CALLED = "called"
"""The key of `Model.source` for what follows: `inputs` and `outputs`, names in the order in which the data and a metric have
them, and `numbers`, true where whole numbers are no codes."""


def by_ports(format_: Format, candidate: Artifact, original: Artifact, outputs: bool = True) -> Artifact:
    """By the names of the original's file in its order, though a candidate of other tools lists them in another.

    Without `outputs`, where a format's names of them come with each export and tell nothing, by those of the inputs.
    """
    if original.format != format_.name:
        return candidate
    candidates, originals = (
        [[str(port["name"]) for port in ports] for ports in format_.ports(opened(one))]
        for one in (candidate, original)
    )
    known = 2 if outputs else 1
    return in_order_of(candidate, candidates[:known], originals[:known])


def in_order_of(
    candidate: Artifact, own: Sequence[Sequence[str]], original: Sequence[Sequence[str]]
) -> Artifact:
    """The candidate, told the original's order of inputs and outputs where it has the same names in another one."""
    told = {
        what: list(names)
        for what, names, others in zip(("inputs", "outputs"), original, own, strict=False)
        if list(names) != list(others) and sorted(names) == sorted(others)
    }
    return replace(candidate, source={**candidate.source, CALLED: told}) if told else candidate
