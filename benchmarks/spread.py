"""What moves a model's speed from one load of the same file to the next?

    OMP_NUM_THREADS=1 python benchmarks/spread.py                                # 7 minutes beside nothing
    OMP_NUM_THREADS=1 python benchmarks/spread.py --files f.onnx raw.onnx        # your files too, 2 minutes each
    OMP_NUM_THREADS=1 python benchmarks/spread.py --processes 20 --settings "as it is" "no padding"

prints one Markdown table. Processes, sessions in each and repeats in each session are nested, and what each level adds to the
spread is told apart. A repeat is one load of `take_pairs`, of the model against a product of small matrices of about its
length: that lies in the first cache wherever it is put, and cancels the clock. Settings, models and processes come in random
order, so that a drift of the machine is no setting.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import when_and_where
from spread_process import CONTROL, SETTINGS, Setting, opened_session, small_products
from tabulate import tabulate
from workloads import convnet, mlp

from weighbridge.environment import machine
from weighbridge.measure.timing.clock import warm_up
from weighbridge.measure.timing.gauge import gauge_for

PROCESS = Path(__file__).with_name("spread_process.py")
ALSO_OF_CONTROL = ("as it is", "addresses not randomized, no padding", *list(SETTINGS)[-2:])


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        tasks = {
            (model, name): [path, name, *lengths, gauge_for(1).best, options.sessions, options.repeats]
            for model, path in _models(Path(folder), options.files).items()
            if model in (options.models or [model])
            for lengths in [_lengths(path)]
            for name in options.settings
            if path != CONTROL or name in ALSO_OF_CONTROL
        }
        seen = defaultdict[tuple[str, str], list[Any]](list)
        for number in range(options.processes):
            for cell in random.sample(list(tasks), len(tasks)):
                seen[cell].append(_run(tasks[cell]))
            print(f"process {number + 1} of {options.processes}", file=sys.stderr)
    print(f"{when_and_where()}, load average")
    print(f"{machine.load_average()}, {options.processes} x {options.sessions} x {options.repeats}.\n")
    headers = [
        "model",
        "setting",
        "time",
        "processes",
        "sessions",
        "repeats",
        "least",
        "most",
        "MB in huge pages",
    ]
    rows = [_row(*cell, seen) for cell in tasks]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _run(task: list[Any]) -> Any:
    """What `process` gives, in a fresh one."""
    setting = SETTINGS[task[1]]
    environment = {**os.environ, "GLIBC_TUNABLES": setting.malloc} if setting.malloc else None
    args = [*setting.before, sys.executable, str(PROCESS), json.dumps(task)]
    return json.loads(subprocess.run(args, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def _lengths(path: str) -> tuple[int, tuple[float, float]]:
    """How many products take about as long as a call, and the seconds of those and of a call."""
    product_s, call_s = warm_up(small_products(1), 1.0), warm_up(opened_session(path, Setting())(None), 1.0)
    count = max(1, round(call_s / product_s))
    return count, (count * product_s, call_s)


def _row(model: str, name: str, seen: dict[tuple[str, str], list[Any]]) -> list[str]:
    """Its time is against that of the first setting."""
    logs = np.log([times for times, _ in seen[model, name]])
    usual = np.median(np.log([times for times, _ in next(seen[key] for key in seen if key[0] == model)]))
    median = np.median(logs)
    ends = (f"{100 * np.expm1(end - median):+.1f} %" for end in (logs.min(), logs.max()))
    huge = max(mb for _, mb in seen[model, name])
    components = (f"{100 * sd:.2f} %" for sd in spreads(logs))
    return [model, name, f"{np.exp(median - usual):.3f}x", *components, *ends, f"{huge:g}"]


def spreads(values: Any) -> tuple[float, float, float]:
    """Standard deviations between processes, sessions of a process, and repeats of a session, of [processes, sessions, repeats].

    What a level shows less what the levels below put into it, and at least 0.
    """
    repeats = values.var(axis=2, ddof=1).mean()
    sessions = values.mean(axis=2).var(axis=1, ddof=1).mean()
    processes = values.mean(axis=(1, 2)).var(ddof=1)
    own = processes - sessions / values.shape[1], sessions - repeats / values.shape[2], repeats
    return tuple(float(np.sqrt(max(0.0, part))) for part in own)  # type: ignore[return-value]


def _models(folder: Path, own: list[Path]) -> dict[str, str]:
    """By name. The large one has 50 MB of weights, more than the caches hold."""
    made = {name: folder / f"{name}.onnx" for name in ("mlp", "convnet", "mlp of 50 MB")}
    mlp(made["mlp"])
    convnet(made["convnet"])
    mlp(made["mlp of 50 MB"], width=2048)
    return {CONTROL: CONTROL, **{name: str(path) for name, path in made.items()}} | {
        path.stem: str(path.resolve()) for path in own
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=5, help="for each model and setting, some 2 s each")
    parser.add_argument("--sessions", type=int, default=3, help="in each process")
    parser.add_argument("--repeats", type=int, default=2, help="in each session")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--models", nargs="+", help="by the table's first column, else all")
    parser.add_argument("--files", type=Path, nargs="+", default=[], help="ONNX files of your own")
    options = parser.parse_args()
    if min(options.processes, options.sessions, options.repeats) < 2:
        parser.error("a spread takes two of each at least")
    return options


if __name__ == "__main__":
    main()
