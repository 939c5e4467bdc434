"""A report file -> the contract: schema 2 as it is, schema 1 brought up to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from weighbridge.core.errors import UsageError
from weighbridge.core.files import read_regular
from weighbridge.report.contract import SCHEMA, Report
from weighbridge.report.escape import visible

N = TypeVar("N", int, float)
MOST_BYTES = 1 << 30
"""Of a report: that of ten thousand cases has a tenth of it."""
MOST = 1e300
"""The largest number of a report: what is calculated with a larger one is infinite, and no measurement comes near it."""
_SIDES = {">=": "min", "<=": "max", "==": "equals"}
_BOUND = re.compile(r"(?:^| )(?:and )?(>=|<=|==) ([-+0-9.e]+)(?= |$)")


def read_report(path: Path) -> dict[str, Any]:
    """The report in `path`, in schema 2. Raises `UsageError` that says in one sentence what is wrong with the file."""
    try:
        raw = read_regular(path, MOST_BYTES)
        data = json.loads(raw, parse_constant=_no_number, parse_float=_decimal, parse_int=_whole)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path} is no report: it cannot be read as JSON ({why})") from error
    if not isinstance(data, dict) or "schema" not in data:
        raise UsageError(f"{path} is no report: a report is an object with the keys schema and rows")
    if data["schema"] not in (1, SCHEMA) or isinstance(data["schema"], bool):
        raise UsageError(
            f"{path} is of report schema {str(data['schema'])[:40]!r}; "
            f"this version of Weighbridge reads 1 and {SCHEMA}"
        )
    try:
        report = upgrade(data)
        Report.model_validate(report)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = visible(".".join(map(str, first["loc"])))
        raise UsageError(
            f"{path} is no report of schema {data['schema']}: {where}: {first['msg']}"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is no report of schema {data['schema']}: its rows are not as that schema has them ({error!r})"
        ) from error
    return report


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _decimal(text: str) -> float:
    return _bounded(float(text))


def _whole(text: str) -> int:
    return _bounded(int(text))


def _bounded(number: N) -> N:
    if abs(number) > MOST:
        raise ValueError(f"a number is larger than {MOST:g}")
    return number


def upgrade(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report of schema 1 in schema 2; one of schema 2 as it is.

    What schema 1 did not record is null or empty; whether the inputs were data shows in the accuracy.
    """
    if report["schema"] == SCHEMA:
        return dict(report)
    return {
        "run": "",
        "commit": None,
        "options": {},
        **report,
        "schema": SCHEMA,
        "rows": [_row(row) for row in report["rows"]],
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in row.items() if key not in ("format", "artifact")}
    format_, artifact = row.get("format"), row.get("artifact")
    files = [{"path": artifact, "bytes": None, "sha256": None}] if artifact else []
    return {
        "key": None,
        "engine": None,
        "notes": [],
        **rest,
        "inputs": "data" if "accuracy" in row["measurements"] else "none",
        "steps": [_step(step) for step in row.get("steps", ())],
        "artifacts": {
            "baseline": None,
            "candidate": {"format": format_ or "", "files": files} if format_ or artifact else None,
        },
        "verdicts": [_verdict(verdict) for verdict in row["verdicts"]],
    }


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    key = step["step"].replace(": ", ":", 1)
    return {"key": key, "options": {}, "cached": False, "notes": [], **step}


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {"column": None, **verdict, "limit": _limit(verdict["limit"])}


def _limit(text: str) -> dict[str, Any]:
    """`>= 3 and <= 4` as numbers. Schema 1 wrote other conditions in words; they are kept as `stated`."""
    bounds = {_SIDES[sign]: float(number) for sign, number in _BOUND.findall(text)}
    words = _BOUND.sub("", text).strip()
    return {**bounds, **({"stated": words} if words and words not in ("valid", "as asked for") else {})}
