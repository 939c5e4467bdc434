"""What pytest's start, collecting, and two processes cost or bring with Weighbridge installed.

python benchmarks/start.py [plugin] [workers] [files]    (all of them, without an argument)
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measured import ROOT, Taken, forget, pytest, take, write_project
from recipes import DIGITS, STATIC, Recipe, on, prune
from tabulate import tabulate

ROUNDS = 31
FILES = 1000
CASE = """model: {{torch: model.py:cnn, weights: cnn.safetensors}}
data: model.py:digits
seed: {seed}
recipe:
  - prune: l1_unstructured
    amount: 0.5
    scope: global
  - finetune: {{epochs: 2, lr: 1e-3}}
  - quantize: static
    engine: onnxruntime
    per_channel: true
thresholds:
  accuracy_drop: 0.01
  accuracy: 0.9
  size: 5 MB
  size_ratio: 3.5
  gzip_ratio: 2
  weights_size: 4 MB
  nonzero: 60000
  nonzero_ratio: 0.6
  parameters: 200000
  fidelity: 20
  speedup: 1.2
  throughput: 100
"""
"""Twelve thresholds and a round trip: 13 items."""


def alternate(rounds: int, ways: Mapping[str, Callable[[], Taken]]) -> None:
    """Each way in turn, so many times; prints medians and what each takes more than the first."""
    taken: dict[str, list[Taken]] = {what: [] for what in ways}
    for _ in range(rounds + 1):
        for what, way in ways.items():
            taken[what].append(way())
    rows = []
    for what, runs in taken.items():
        more = [
            a.processor - b.processor for a, b in zip(runs[1:], next(iter(taken.values()))[1:], strict=True)
        ]
        times = [statistics.median(getattr(run, name) for run in runs[1:]) for name in ("processor", "wall")]
        rows.append([what, *times, statistics.median(more)])
    heads = ["", "processor s", "wall s", "processor s more than the first"]
    print(tabulate(rows, heads, floatfmt=".3f", tablefmt="github"), "\n", flush=True)


def plugin(folder: Path) -> None:
    """A project without case files; the first run of each way, not counted, compiles what is to be compiled."""
    folder.mkdir()
    (folder / "test_one.py").write_text("def test_one(): pass\n")
    for environment in ({}, {"PYTHONDONTWRITEBYTECODE": "1"}):
        name = "".join(environment) or "bytecode written"
        ways = {
            f"without the plugin, {name}": lambda e=environment: pytest(folder, "-p", "no:weighbridge", **e),
            f"with the plugin, {name}": lambda e=environment: pytest(folder, **e),
        }
        alternate(ROUNDS, ways)


def workers(folder: Path) -> None:
    """Forty cases, cold, each with an export of its own: pruned and quantized, and trained in between.

    Two scripts at once, each with half of the work and nothing to share, say what a second core brings on this machine: less
    than twice where it is the sibling of the first.
    """
    kinds = {"40 cases": [], "40 cases that train": [{"finetune": {"epochs": 10, "lr": 1e-3}}]}

    def cold(*arguments: str) -> Taken:
        forget(folder)
        return pytest(folder, *arguments)

    rows = []
    for what, between in kinds.items():
        steps = [(prune(0.2 + 0.015 * number), *between, STATIC) for number in range(40)]
        recipes = [on("onnxruntime", f"{number:02}", *some) for number, some in enumerate(steps)]
        write_project(folder, DIGITS, recipes)
        pytest(folder, "--co")
        for name, one, two in (
            (what, cold(), cold("-n", "2")),
            (
                f"{what}, a script",
                _scripts(folder, [recipes]),
                _scripts(folder, [recipes[::2], recipes[1::2]]),
            ),
        ):
            rows += [
                [name, one.processor, one.wall, 1.0],
                [f"{name}, on two cores", two.processor, two.wall, one.wall / two.wall],
            ]
    heads = ["", "processor s", "wall s", "times faster"]
    print(tabulate(rows, heads, floatfmt=".2f", tablefmt="github"), "\n", flush=True)


def _scripts(folder: Path, parts: Sequence[Sequence[Recipe]]) -> Taken:
    """`bare.py` at once on each part of the recipes, on one core each."""
    wanted = []
    for number, recipes in enumerate(parts):
        wanted.append(folder / f"part{number}.json")
        wanted[-1].write_text(json.dumps({**DIGITS, "recipes": recipes}))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    script = str(ROOT / "benchmarks" / "bare.py")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda part: take(folder, script, str(folder / "cases"), str(part)), wanted))
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        wall,
        "",
        sum(each.peak for each in done),
    )


def files(folder: Path) -> None:
    write_project(folder, DIGITS, [])
    (folder / "cases" / "bench.yaml").unlink()
    for index in range(FILES):
        (folder / "cases" / f"case{index}.yaml").write_text(CASE.format(seed=index))
    collected = pytest(folder, "--co", "cases").out
    assert f"{13 * FILES} tests collected" in collected, collected[-2000:]
    ways = {
        "1 case file": lambda: pytest(folder, "--co", "cases/case0.yaml"),
        f"{FILES} case files": lambda: pytest(folder, "--co", "cases"),
    }
    alternate(5, ways)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for each in (plugin, workers, files):
            if not sys.argv[1:] or each.__name__ in sys.argv[1:]:
                each(Path(name) / each.__name__)
