"""One process of `spread.py`: opens sessions of a model under a setting, and times each of them some times over.

python benchmarks/spread_process.py TASK    (JSON, the arguments of `process`)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import open_session
from forked import in_fork
from workloads import Call, repeated

from weighbridge.measure.timing.cores import best_cores
from weighbridge.measure.timing.gauge import gauge_for
from weighbridge.measure.timing.load import Conditions, Opened, take_pairs
from weighbridge.measure.timing.opening import LARGEST, PADS, SMALLEST

ROWS = 32
"""Of the small matrices, which are a page each."""
LINE, PAGE = 64, 4096
BUDGET_S = 10.0
CONTROL = "product"
"""A model that is nothing but a product again: what it shows is what this script sees of nothing."""


@dataclass(frozen=True)
class Setting:
    malloc: str = ""
    """GLIBC_TUNABLES."""
    before: tuple[str, ...] = ()
    """What the command begins with."""
    padding: bool = True
    """Whether arrays of random sizes are made before each session, as the measurement does."""
    options: dict[str, bool] = field(default_factory=dict)
    """Attributes of ONNX Runtime's SessionOptions."""
    entries: dict[str, str] = field(default_factory=dict)
    """Its configuration entries."""
    repeats: str = ""
    """What changes from one repeat to the next: nothing; where the `input` lies; in a `fork` the physical pages of what the model
    writes; in one with its own `pages` those of all that it has. Addresses stay."""


IN_PLACE = "glibc.malloc.mmap_threshold=1073741824"
SETTINGS = {
    "as it is": Setting(),
    "no padding": Setting(padding=False),
    "addresses not randomized": Setting(before=("setarch", "-R")),
    "addresses not randomized, no padding": Setting(before=("setarch", "-R"), padding=False),
    "huge pages": Setting(f"{IN_PLACE}:glibc.malloc.hugetlb=1"),
    "all in the heap": Setting(IN_PLACE),
    "from 4 kB on in pages of its own": Setting("glibc.malloc.mmap_threshold=4096"),
    "no arena": Setting(options={"enable_cpu_mem_arena": False}),
    "no memory pattern": Setting(options={"enable_mem_pattern": False}),
    "no prepacking": Setting(entries={"session.disable_prepacking": "1"}),
    "repeats: the input elsewhere": Setting(repeats="input"),
    "repeats: in a fork": Setting(repeats="fork"),
    "repeats: in a fork, all pages copied": Setting(repeats="pages"),
}


def process(
    path: str, name: str, count: int, calls_s: tuple[float, float], best: float, sessions: int, repeats: int
) -> Any:
    """Times of the model in those of `count` products, shape [sessions, repeats], and MB in huge pages.

    `name` is that of a setting; `calls_s` are what the products and a call take, in seconds, for all processes to time them
    alike; `best` is the gauge's.
    """
    setting, draw, reference = SETTINGS[name], np.random.default_rng(), small_products(count)
    under = Conditions(BUDGET_S, gauge_for(1, best), partial(best_cores, 1))

    def measured(call: Call) -> float:
        opened = Opened((reference, call))
        load = take_pairs(lambda _: opened, int(draw.integers(2**32)), calls_s, under)
        reference_s, call_s = load.seen(load.best).call_s()
        return call_s / reference_s

    seen, huge = list[list[float]](), 0.0
    for _ in range(sessions):
        sizes = 2.0 ** draw.uniform(SMALLEST, LARGEST, draw.integers(1, PADS + 1)) if setting.padding else ()
        held = [np.ones(int(size), np.uint8) for size in sizes]
        place = opened_session(path, setting)
        seen.append([])
        for _ in range(repeats):
            offset = LINE * int(draw.integers(PAGE // LINE)) if setting.repeats == "input" else None
            measure = partial(measured, place(offset))
            forked = setting.repeats in ("fork", "pages")
            seen[-1].append(in_fork(measure, setting.repeats == "pages") if forked else measure())
        huge = max(huge, _huge_mb())
        del place, held
    return seen, huge


def small_products(count: int) -> Call:
    """So many products of small matrices, which begin with a page: nothing is left to chance but which one."""
    room = np.zeros(3 * PAGE, np.uint8)
    start = -room.ctypes.data % PAGE
    matrix, out = room[start : start + 2 * PAGE].view("float32").reshape(2, ROWS, ROWS)
    matrix.fill(1 / ROWS)
    return repeated(lambda: np.matmul(matrix, matrix, out=out), count, count)[0]


def opened_session(path: str, setting: Setting) -> Callable[[int | None], Call]:
    """A fresh session: gives its call on an input so many bytes behind the beginning of a page, or wherever numpy puts it."""
    if path == CONTROL:
        call = small_products(10)
        return lambda _: call
    session = open_session(path, setting.options, setting.entries)
    first = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in first.shape]
    sample = np.random.default_rng(1).standard_normal(shape).astype("float32")
    room = np.zeros(sample.nbytes + 2 * PAGE, np.uint8)

    def place(offset: int | None) -> Call:
        placed = sample
        if offset is not None:
            start = -room.ctypes.data % PAGE + offset
            placed = room[start : start + sample.nbytes].view("float32").reshape(shape)
            placed[:] = sample
        return lambda: session.run(None, {first.name: placed})

    return place


def _huge_mb() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")) / 1024


if __name__ == "__main__":
    print(json.dumps(process(*json.loads(sys.argv[1]))))
