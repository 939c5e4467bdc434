"""How often does a speed gate lie? Ours against pytest-benchmark, Mann-Whitney and a paired t-test, under load.

    OMP_NUM_THREADS=1 python benchmarks/speed_noise.py

prints one Markdown table: each method on synthetic workloads of known ratio and on real float and int8 sessions,
alone and beside a bounded bursty load of two processes a core. A trial measures for one second, and ours then
as long as it takes for each limit, 3 s at most; limits lie 1, 3 and 10 % on either side of the true ratio.

    OMP_NUM_THREADS=1 python benchmarks/over_loads.py

is the table over loads, where each trial opens the models anew in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import when_and_where
from methods import Trial, paired_t, pytest_benchmark, weighbridge
from noise import load
from tabulate import tabulate
from workloads import Call, products, repeated, sessions

from weighbridge.environment import machine

DISTANCES = (0.01, 0.03, 0.10)
SECONDS, BUDGET_S = 1.0, 3.0


class Cell:
    """What one method did in one condition on one workload."""

    def __init__(self) -> None:
        self.estimates: list[float] = []
        self.verdicts: dict[float, list[tuple[int, float]]] = defaultdict(list)
        """By distance from the limit: 1 right, -1 wrong, 0 open, and the seconds it took."""

    def add(self, trial: Trial, truth: float, distances: tuple[float, ...]) -> None:
        for distance in distances:
            for side in (1, -1):
                verdict = trial.judge(truth * (1 - side * distance)) * side
                self.verdicts[distance].append((verdict, trial.seconds))

    def row(self, truth: float) -> list[str]:
        known = [estimate for estimate in self.estimates if not np.isnan(estimate)]
        spread = f"{100 * np.std(known) / truth:.2f} %" if len(known) > 2 else ""
        count = str(len(known)) + (f" of {len(self.estimates)}" if len(known) < len(self.estimates) else "")
        cells = [spread, count]
        for distance in DISTANCES:
            seen = self.verdicts[distance]
            wrong, open_ = sum(v < 0 for v, _ in seen), sum(v == 0 for v, _ in seen)
            cells.append(f"{wrong} / {open_} / {len(seen)}" if seen else "")
        for distance in DISTANCES:
            times = [seconds for _, seconds in self.verdicts[distance]]
            cells.append(f"{np.median(times):.2f}" if times else "")
        return cells


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        workloads = _workloads(options.workloads, Path(folder))
        share_s = 60 * options.minutes / len(options.conditions) / len(workloads)
        rows = []
        for condition in options.conditions:
            for name, calls in workloads.items():
                truth = _truth(name, calls)
                # The load ends by itself even if this process is killed.
                with load(2 * (os.cpu_count() or 1) if condition == "load" else 0, share_s + 60):
                    cells = _measure(condition, name, calls, truth, options, time.monotonic() + share_s)
                    average = machine.load_average()
                rows += [
                    [condition, average, name, f"{truth:.4g}", method, *cell.row(truth)]
                    for method, cell in cells.items()
                ]
    _print(rows)


def _measure(
    condition: str,
    name: str,
    calls: tuple[Call, Call],
    truth: float,
    options: argparse.Namespace,
    until: float,
) -> dict[str, Cell]:
    cells: dict[str, Cell] = defaultdict(Cell)
    for trial in range(max(options.estimates, options.verdicts)):
        if time.monotonic() > until:
            break
        _say(f"{condition}, {name}: trial {trial + 1}")
        if trial < options.estimates:
            for method, result in (pytest_benchmark(*calls, SECONDS) | paired_t(*calls, SECONDS)).items():
                cells[method].estimates.append(result.estimate)
                cells[method].add(result, truth, DISTANCES)
            cells["weighbridge"].estimates.append(weighbridge(*calls, (), SECONDS, trial).estimate)
        if trial < options.verdicts:
            for distance in options.distances:
                for side in (1, -1):
                    limit = truth * (1 - side * distance)
                    result = weighbridge(*calls, (limit,), BUDGET_S, trial)
                    cells["weighbridge"].verdicts[distance].append(
                        (result.judge(limit) * side, result.seconds)
                    )
    return cells


def _workloads(names: list[str], folder: Path) -> dict[str, tuple[Call, Call]]:
    known = {
        "products 103:100": lambda: products(64, 103, 100),
        "products 12:10": lambda: products(64, 12, 10),
        "mlp float 12:10": lambda: repeated(sessions("mlp", folder)[0], 12, 10),
        "convnet int8 6:5": lambda: repeated(sessions("convnet", folder)[1], 6, 5),
        "mlp float:int8": lambda: sessions("mlp", folder),
        "convnet float:int8": lambda: sessions("convnet", folder),
    }
    return {name: make() for name, make in known.items() if not names or any(part in name for part in names)}


def _truth(name: str, calls: tuple[Call, Call]) -> float:
    """Of what is repeated by construction; of sessions the undisturbed ratio, from 20 s just before the load is started."""
    baseline, candidate = name.split()[-1].split(":")
    if baseline.isdigit():
        return int(baseline) / int(candidate)
    _say(f"{name}: reference")
    return weighbridge(*calls, (), 20.0, 0).estimate


def _print(rows: list[list[Any]]) -> None:
    _say("")
    print(f"{when_and_where()}.\n")
    percent = [f"{100 * distance:g} %" for distance in DISTANCES]
    headers = ["condition", "load average", "workload", "true ratio", "method", "sd in 1 s", "n"]
    headers += [f"wrong / open / n at {text}" for text in percent] + [
        f"median s at {text}" for text in percent
    ]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0, help="for all of it, shared evenly")
    parser.add_argument("--estimates", type=int, default=40, help="one-second trials of each method, at most")
    parser.add_argument("--verdicts", type=int, default=500, help="sequential trials for each limit, at most")
    parser.add_argument("--distances", type=float, nargs="+", default=DISTANCES, help="of the limits")
    parser.add_argument("--conditions", nargs="+", choices=("quiet", "load"), default=["quiet", "load"])
    parser.add_argument("--workloads", nargs="+", default=[], help="parts of the names; all without any")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
