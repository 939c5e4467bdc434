"""A node of `scale.py`'s cluster: it waits as long as a real case took, and answers with that case's row."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from weighbridge.environment.machine import describe, machine_class
from weighbridge.run.executors.node import EVENTS, MACHINE, NODE, ROW


def carry_out(data: Mapping[str, Any]) -> dict[str, Any]:
    made = _made(data["folder"])
    index = int(data["plan"]["case"]["name"].removeprefix("case"))
    time.sleep(made["draws"][index])
    row = {
        **made["rows"][index % len(made["rows"])],
        "case": data["case"],
        "path": data["path"],
        "name": data["plan"]["case"]["name"],
    }
    return {NODE: "", MACHINE: machine_class(describe()), ROW: row, EVENTS: []}


@cache
def _made(folder: str) -> Any:
    return json.loads((Path(folder) / "rows.json").read_text())
