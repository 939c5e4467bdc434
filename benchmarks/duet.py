"""Both models at the same time, each on a core of its own, or in alternation on one: which ratio moves less?

    OMP_NUM_THREADS=1 python benchmarks/duet.py                       # 7 minutes
    OMP_NUM_THREADS=1 python benchmarks/duet.py --loads 20 --conditions quiet

prints one Markdown table. Simultaneous pairs are those of Duet (Bulej et al. 2020, arXiv 2001.05811): whatever slows the machine
for a while slows both. Blocks of a millisecond begin together on two pinned cores, which change sides every half second; the
estimate is the median of their ratios, or the ratio of the fastest tenth of either side. In alternation: ours. Each load opens
both models in fresh processes and gives an estimate a second. Needs Linux and two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import when_and_where
from duet_process import (
    ALTERNATION,
    FASTEST_TOGETHER,
    MODELS,
    TOGETHER,
    TWICE,
    WORKLOADS,
    beside_other_core,
    in_alternation,
    together,
)
from noise import load
from tabulate import tabulate
from workloads import files

from weighbridge.environment import machine


def main() -> None:
    options = _options()
    rows, beside = [], beside_other_core()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in MODELS:
            files(model, folder)
        for condition in options.conditions:
            for workload in options.workloads:
                with load(2 * (os.cpu_count() or 1) if condition == "load" else 0, 60 + 30 * options.loads):
                    loads = [_load(workload, folder, options.seconds) for _ in range(options.loads)]
                    average = machine.load_average()
                rows += [[condition, average, workload, *row] for row in _rows(workload, loads)]
                print(f"{condition}, {workload}", file=sys.stderr)
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").read_text().strip()
    print(f"{when_and_where()};")
    print(
        f"{options.loads} loads of {options.seconds} s. Threads of the first core, as the system says: {siblings};"
    )
    print(f"beside a busy second one the gauge takes {beside:.2f} times as long on it, at best.\n")
    headers = ["condition", "load average", "workload", "true ratio", "method", "median", "off by"]
    headers += ["median error", "sd in 1 s", "within a load", "n"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _load(workload: str, folder: Path, seconds: int) -> dict[str, list[float]]:
    """The estimates of each method, by turns."""
    seen: dict[str, list[float]] = {TOGETHER: [], FASTEST_TOGETHER: [], ALTERNATION: []}
    for method, estimate in (
        *together(workload, folder, seconds),
        *in_alternation(workload, folder, seconds),
    ):
        if not np.isnan(estimate):
            seen[method].append(estimate)
    return seen


def _rows(workload: str, loads: list[dict[str, list[float]]]) -> Iterator[list[str]]:
    """Where the ratio is not known, that of the median second in alternation stands for it."""
    known = {"products 12:10": 1.2} | {f"{model} {TWICE[0]}": 1.0 for model in MODELS}
    alone = np.concatenate([load[ALTERNATION] for load in loads])
    truth = known.get(workload, float(np.median(alone)))
    for method in loads[0]:
        every = np.concatenate([load[method] for load in loads]) / truth
        within = np.concatenate(
            [np.array(load[method]) - np.mean(load[method]) for load in loads if load[method]]
        )
        freedom = max(1, within.size - sum(bool(load[method]) for load in loads))
        inside = np.sqrt((within**2).sum() / freedom) / truth
        shown = f"{truth:.4g}" if workload in known else f"about {truth:.3g}"
        median, error = float(np.median(every)), float(np.median(np.abs(every - 1)))
        spreads = (f"{100 * share:.2f} %" for share in (error, every.std(ddof=1), inside))
        yield [
            shown,
            method,
            f"{median * truth:.4g}",
            f"{100 * (median - 1):+.2f} %",
            *spreads,
            str(every.size),
        ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--loads", type=int, default=4, help="of each workload")
    parser.add_argument("--seconds", type=int, default=3, help="in each load, an estimate a second")
    parser.add_argument("--conditions", nargs="+", choices=("quiet", "load"), default=["quiet", "load"])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
