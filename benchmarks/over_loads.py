"""How often does a speed gate lie about a model, where it is asked again in another process?

    OMP_NUM_THREADS=1 python benchmarks/over_loads.py                                # some 40 minutes
    OMP_NUM_THREADS=1 python benchmarks/over_loads.py --trials 6 --conditions quiet  # a first look
    OMP_NUM_THREADS=1 python benchmarks/over_loads.py --files f.onnx raw.onnx        # your files against themselves too
    OMP_NUM_THREADS=1 python benchmarks/over_loads.py --workloads large              # those of such a name

prints one Markdown table. Each trial is a fresh process that opens both models and lets each method judge limits 3 and 1 %
on either side of the true ratio. Of a file against itself that is 1. Of float against int8 it is the median of what ours
says in five processes before, known to about a percent: there the 3 % columns count, and the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import when_and_where
from methods import Trial, paired_t, pytest_benchmark, trial_of
from noise import load
from tabulate import tabulate
from workloads import bind, files, mlp

from weighbridge.contracts import ENGINES
from weighbridge.core.results import Artifact
from weighbridge.environment import machine
from weighbridge.measure.timing.load import take_pairs
from weighbridge.measure.timing.loads import fresh_seed
from weighbridge.measure.timing.opening import Opener, Side
from weighbridge.measure.timing.paired import compare
from weighbridge.measure.timing.sampler import Sampler

DISTANCES = (0.03, 0.01)
SECONDS, BUDGET_S = 1.0, 5.0
REFERENCES = 5
LARGE = 2048
"""The width of an MLP of three layers that takes 50 MB."""
OURS = "weighbridge"


def trial(paths: tuple[Path, Path], truth: float | None) -> dict[str, Any]:
    """What each method says in this process: estimate, seconds, whether it excludes the truth, verdicts by distance."""
    sample = _sample(paths[0])
    if truth is None:
        return {OURS: [_ours(paths, sample, ()).estimate]}
    calls = bind(paths[0], sample), bind(paths[1], sample)
    seen = {**pytest_benchmark(*calls, SECONDS), **paired_t(*calls, SECONDS)}
    del calls
    answers = {name: _answer(truth, [one, one]) for name, one in seen.items()}
    limits = [(truth * (1 - distance), truth * (1 + distance)) for distance in DISTANCES]
    return answers | {OURS: _answer(truth, [_ours(paths, sample, pair) for pair in limits])}


def _answer(truth: float, trials: list[Trial]) -> list[Any]:
    """Of a trial for each distance. A verdict is 1 where it is right, -1 where it is wrong, 0 where it is open."""
    verdicts = [
        [side * one.judge(truth * (1 - side * distance)) for side in (1, -1)]
        for one, distance in zip(trials, DISTANCES, strict=True)
    ]
    return [trials[-1].estimate, [one.seconds for one in trials], trials[-1].judge(truth) != 0, verdicts]


def _ours(paths: tuple[Path, Path], sample: Any, limits: tuple[float, ...]) -> Trial:
    engine = ENGINES.get("onnxruntime")
    sides = tuple(
        Side(path.stem, engine, Artifact("onnx", path, (path,)), engine.options()) for path in paths
    )
    sampler = Sampler(take_pairs, Opener(sides, ((sample,),)), 1, True, BUDGET_S)
    with sampler.elsewhere() as elsewhere:
        return trial_of(compare(sampler.here, limits, 0.99, BUDGET_S, elsewhere=elsewhere, seed=fresh_seed()))


def _sample(path: Path) -> Any:
    """Random numbers in the shape of the model's first input."""
    import onnxruntime as ort

    shape = ort.InferenceSession(str(path)).get_inputs()[0].shape
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    return np.random.default_rng(1).standard_normal(sizes).astype("float32")


def main() -> None:
    options = _options()
    if options.trial:
        first, second, truth = options.trial
        print(json.dumps(trial((Path(first), Path(second)), float(truth) if truth else None)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for row in _measured(options, Path(folder)):
                rows.append(row)
        except KeyboardInterrupt:
            print("ended; what is done so far:", file=sys.stderr)
    print(f"{when_and_where()}.\n")
    headers = ["condition", "load average", "workload", "true ratio", "method", "least", "most"]
    headers += [f"wrong / open / n at {distance:.0%}" for distance in DISTANCES] + ["excludes the true ratio"]
    headers += [f"median s at {distance:.0%}" for distance in DISTANCES]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _measured(options: argparse.Namespace, folder: Path) -> Iterator[list[Any]]:
    """The rows of one condition and workload after the other."""
    workloads = _workloads(options.files, folder)
    for condition in options.conditions:
        for name, paths in workloads.items():
            if not any(wanted in name for wanted in options.workloads):
                continue
            with load(2 * (os.cpu_count() or 1) if condition == "load" else 0, 60 + 20 * options.trials):
                truth = 1.0
                if paths[0] != paths[1]:
                    truth = float(np.median([_run(paths, None)[OURS][0] for _ in range(REFERENCES)]))
                trials = [_run(paths, truth) for _ in range(options.trials)]
                average = machine.load_average()
            print(f"{condition}, {name}", file=sys.stderr)
            for row in _rows(trials):
                yield [condition, average, name, f"{truth:.4g}", *row]


def _run(paths: tuple[Path, Path], truth: float | None) -> dict[str, Any]:
    """A trial in a fresh process."""
    args = [sys.executable, __file__, "--trial", *map(str, paths), str(truth or "")]
    answer: dict[str, Any] = json.loads(subprocess.run(args, check=True, stdout=subprocess.PIPE).stdout)
    return answer


def _rows(trials: list[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for method in trials[0]:
        estimates, seconds, excluded, verdicts = zip(*(one[method] for one in trials), strict=True)
        by_distance = np.array(verdicts).transpose(1, 0, 2).reshape(len(DISTANCES), -1)
        cells = [f"{(seen < 0).sum()} / {(seen == 0).sum()} / {seen.size}" for seen in by_distance]
        times = [f"{one:.2f}" for one in np.median(np.array(seconds), axis=0)]
        claims = "" if method.startswith("pytest") else f"{sum(excluded)} of {len(trials)}"
        rows.append([method, f"{min(estimates):.4g}", f"{max(estimates):.4g}", *cells, claims, *times])
    return rows


def _workloads(own: list[Path], folder: Path) -> dict[str, tuple[Path, Path]]:
    made = {name: files(name, folder)[:2] for name in ("mlp", "convnet")}
    large = folder / "large.onnx"
    mlp(large, width=LARGE, layers=3)
    themselves = [(path.stem, path) for path in own] + [(name, source) for name, (source, _) in made.items()]
    themselves.append((f"large, {large.stat().st_size / 1e6:.0f} MB,", large))
    return {
        **{f"{name} against itself": (path, path) for name, path in themselves},
        **{f"{name} float:int8": paths for name, paths in made.items()},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=20, help="of each workload, some 20 s each")
    parser.add_argument("--conditions", nargs="+", choices=("quiet", "load"), default=["quiet", "load"])
    parser.add_argument("--files", type=Path, nargs="+", default=[], help="ONNX files, against themselves")
    parser.add_argument("--workloads", nargs="+", default=[""], help="those whose names have one of these")
    parser.add_argument("--trial", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
