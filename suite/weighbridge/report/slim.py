"""What the HTML page reads of a report, and no more, so that the file of thousands of cases still opens.

What a picture is drawn from (layers, samples) is the bulk of a report. It goes to the cases that need somebody first,
as long as the file stays below its size; the JSON report has the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.past import identity
from weighbridge.report.against import shown_run
from weighbridge.report.table import ORDER

SIZE, PICTURES = 6_000_000, 1_000_000
"""Characters of data in the page at most, of which the pictures have so many even where the numbers need the rest."""
SAMPLES, LEFT, WORST = 400, 8, 100
"""Samples of a timed quantity, layers that a step left as they were, and layers that lost the output, at most."""
_PLAIN = ("path", "name", "line", "status", "stage", "message", "seconds", "engine", "inputs", "notes")
_VERDICT = ("threshold", "status", "limit", "measured", "unit", "interval", "confidence", "sure")
_CENSUS = ("nonzero", "quantized", "stored_bytes")
_LAYER = ("name", "dtype", "parameters", "nonzero", "bytes", "sqnr_db", "exact", "histogram")
_COUNTS, _FLIP = ("total", "harmful", "helpful"), ("position", "target", "before", "after", "harmful")
_CLASS = ("class", "n", "baseline", "candidate", "drop", "interval")
_SAMPLES = ("by_load", "ratios", "blocks", "samples")
_TIMED = ("ratio", "interval", "baseline_ms", "candidate_ms", "loads", "processes", "spread")
_CHANGE = ("quantity", "unit", "before", "now", "clear")
_DRAWN = (*_SAMPLES, *_TIMED, "layers")


def slim(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with what the page shows; a row whose pictures were left out says so in `left_out`."""
    rows = [
        {**_row(row), **({"model": model} if model != row["path"] else {})}
        for row, model in _models(report["rows"])
    ]
    left = max(PICTURES, SIZE - len(json.dumps(rows)))
    for index in sorted(range(len(rows)), key=lambda index: ORDER.index(rows[index]["status"])):
        whole = report["rows"][index]
        if left > 0:
            drawn = _drawn(whole)
            left -= len(json.dumps(drawn))
        if left > 0:
            rows[index]["steps"] = drawn["steps"]
            rows[index] |= _filled({"flips": drawn["flips"], "layer_errors": drawn["layer_errors"]})
            for name, details in drawn["details"].items():
                rows[index]["measurements"][name]["details"] = details
        if (left <= 0 and whole["steps"]) or whole.get("left_out"):
            rows[index]["left_out"] = True
    return {"options": {"audit": report["options"].get("audit", False)}, "rows": rows}


def _models(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Each row with the case file that stands for its model: the first with the same original."""
    first: dict[str, str] = {}
    stands: dict[str, str] = {}
    for row in rows:
        original = identity(row["artifacts"]["baseline"])
        stands.setdefault(row["path"], first.get(original, row["path"]))
        if original:
            first.setdefault(original, stands[row["path"]])
    return [(row, stands[row["path"]]) for row in rows]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    candidate = row["artifacts"]["candidate"]
    plain = {key: row[key] for key in _PLAIN if row[key] != "done"}
    plain["case"] = row["case"] if row["case"] != f"{row['path']}::{row['name']}" else None
    plain["format"] = candidate and candidate["format"]
    plain["file"] = candidate and candidate["files"] and candidate["files"][0]["path"]
    plain["against"] = row.get("against") and _against(row["against"])
    return {
        **_filled(plain),
        "measurements": {
            name: _filled({key: _short(one[key]) for key in ("unit", "baseline", "candidate")})
            for name, one in row["measurements"].items()
        },
        "verdicts": [_verdict(verdict) for verdict in row["verdicts"]],
    }


def _against(against: Mapping[str, Any]) -> dict[str, Any]:
    """The run, and every quantity then and now: what differs stands above the table in words."""
    changes = [{key: _short(one[key]) for key in _CHANGE} for one in against["changes"]]
    return {"title": f"{against['reference']} ({shown_run(against)})", "changes": changes} if changes else {}


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict that passed needs no words but advice."""
    words = ("message", "advice") if verdict["status"] != "pass" else ("advice",)
    kept = _filled(
        {key: _short(verdict[key]) for key in (*_VERDICT, *words) if verdict[key] != 1.0 or key != "sure"}
    )
    return {**kept, "limit": _filled(verdict["limit"])}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def _drawn(row: Mapping[str, Any]) -> dict[str, Any]:
    """The steps of a row, the output error by layer, and by measurement the details that are drawn."""
    details = {}
    for name, one in row["measurements"].items():
        kept = {key: _thin(one["details"][key]) for key in _DRAWN if key in one["details"]}
        if any(isinstance(value, list) and key != "interval" for key, value in kept.items()):
            details[name] = kept
    errors = row.get("layer_errors")
    return {
        "steps": [_step(step) for step in row["steps"]],
        "layer_errors": errors and {**_short(errors), "layers": _short(errors["layers"][:WORST])},
        "details": details,
        "flips": _flips(row),
    }


def _flips(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Samples that are answered differently, and the classes that lost most; None where no sample changed."""
    details = row["measurements"].get("accuracy", {}).get("details", {})
    flips, classes = details.get("flips"), details.get("classes")
    if not isinstance(flips, Mapping) or not isinstance(classes, Mapping) or not flips.get("total"):
        return None
    worst = [{key: _short(one.get(key)) for key in _CLASS} for one in classes.get("worst", ())]
    listed = [[one.get(key) for key in _FLIP] for one in flips.get("listed", ())]
    return {
        **{key: flips.get(key) for key in _COUNTS},
        "listed": listed,
        "worst": worst,
        "classes": classes.get("total"),
    }


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    census = {
        side: {key: step[side][key] for key in _CENSUS}
        for side in ("before", "after")
        if step[side] is not None
    }
    kept = {**{key: step[key] for key in ("step", "seconds", "cached", "notes")}, **census}
    coverage = step.get("coverage")
    if isinstance(coverage, Mapping) and isinstance(coverage.get("layers"), list):
        layers = [layer for layer in coverage["layers"] if isinstance(layer, Mapping)]
        left = [layer for layer in layers if layer.get("asked") and not layer.get("converted")]
        kept["coverage"] = {key: coverage.get(key) for key in ("asked", "converted")}
        kept["coverage"]["left"] = [
            f"{layer.get('name')}: {layer.get('reason') or 'no reason given'}" for layer in left[:LEFT]
        ]
    return kept


def _thin(value: Any) -> Any:
    """A list of numbers thinned to `SAMPLES`, a list of layers to the keys that are shown."""
    if not isinstance(value, list):
        return _short(value)
    if value and isinstance(value[0], Mapping):
        return [
            {key: _short(layer[key]) for key in _LAYER if key in layer}
            for layer in value
            if isinstance(layer, Mapping)
        ]
    return [_short(one) for one in value[:: -(-len(value) // SAMPLES) or 1]]


def _short(value: Any) -> Any:
    """Numbers to six digits, also inside."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
