"""One case in full: every verdict, then what became of each layer and what it alone does to the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.errors import UsageError, did_you_mean
from weighbridge.core.units import show
from weighbridge.report.escape import terminal as clean
from weighbridge.report.names import short_names
from weighbridge.report.terminal import render

MOST = 40
"""Layers that are listed, worst first; the report has all of them."""


def rows_called(
    rows: Sequence[Mapping[str, Any]], name: str, where: str = "the report"
) -> list[Mapping[str, Any]]:
    """The rows of that node id, short name or name of a case, or of that file; raises `UsageError` where there is none."""
    shorts = short_names(rows)
    found = [
        row
        for row, short in zip(rows, shorts, strict=True)
        if name in (row["case"], short, row["name"], row["path"]) or name.startswith(f"{row['case']}::")
    ]
    if not found:
        raise UsageError(f"{where} has no case '{name}'{did_you_mean(name, shorts)}")
    return found


def explain(report: Mapping[str, Any], row: Mapping[str, Any], color: bool, width: int) -> str:
    """The case as text of `width` columns."""
    text = render({**report, "rows": [row]}, color, width, verbosity=1)
    layers = _layers(row)
    return f"{text}\n{layers}\n" if layers else text


def _layers(row: Mapping[str, Any]) -> str:
    """A line a layer: the one that alone does most to the output first. Empty where nothing is known of layers."""
    from tabulate import tabulate

    errors = {one["name"]: one for one in (row.get("layer_errors") or {}).get("layers", ())}
    covered = {
        one["name"]: one for step in row["steps"] for one in (step["coverage"] or {}).get("layers", ())
    }
    names = list(dict.fromkeys([*errors, *covered]))
    if not names:
        return ""
    rows = [
        {
            "layer": clean(name),
            "kind": clean((covered.get(name) or errors[name])["kind"]),
            **({"alone leaves": _alone(errors.get(name))} if errors else {}),
            "became": clean(_became(covered.get(name))),
        }
        for name in names[:MOST]
    ]
    lines = [tabulate(rows, headers="keys", disable_numparse=True)]
    lines += [f"… {len(names) - MOST} more layers"] if len(names) > MOST else []
    return "\n".join([*lines, *_told(row)])


def _alone(layer: Mapping[str, Any] | None) -> str:
    """Empty for a layer that was not tried; what is not finite leaves the output as it is."""
    if layer is None:
        return ""
    return "all of it" if layer["sqnr_db"] is None else show(layer["sqnr_db"], "dB")


def _became(layer: Mapping[str, Any] | None) -> str:
    if layer is None:
        return ""
    return "quantized" if layer["converted"] else f"left in float: {layer['reason']}"


def _told(row: Mapping[str, Any]) -> Sequence[str]:
    """What the numbers beside the layers are."""
    errors = row.get("layer_errors")
    if not errors:
        return ("no layer was tried alone: that is done where accuracy or fidelity is missed",)
    return (
        f"alone leaves: signal to noise of the output where only this layer is as in the artifact, of {errors['samples']} "
        f"samples; all together {show(errors['output_db'], 'dB')}",
    )
