"""24 recipes on a CNN: cold through Weighbridge, by a script that shares every prefix, and by one that shares nothing.

python benchmarks/sweep.py [rounds]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from measured import bare, forget, pytest, weighed, write_project
from recipes import DIGITS, SWEEP
from tabulate import tabulate


def main(rounds: int = 3) -> None:
    taken: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        write_project(folder, DIGITS, SWEEP)
        pytest(folder, "--co")  # compiles
        for _ in range(rounds):
            forget(folder)
            runs = {
                "a script that shares every prefix": bare(folder, "--share"),
                "Weighbridge, cold": pytest(folder),
                "without round trips": None,
                "a script, each recipe in turn": bare(folder),
            }
            found, scripted = weighed(folder), json.loads(runs["a script that shares every prefix"].out)
            forget(folder)
            runs["without round trips"] = pytest(folder, "-k", "not round_trip")
            for what, run in runs.items():
                taken.setdefault(what, []).append((run.processor, run.wall))
    first = next(iter(taken))
    rows = []
    for what, times in taken.items():
        ratios = [
            statistics.median(a[i] / b[i] for a, b in zip(times, taken[first], strict=True)) for i in (0, 1)
        ]
        rows.append([what, *(statistics.median(each[i] for each in times) for i in (0, 1)), *ratios])
    heads = ["24 recipes", "processor s", "wall s", "ratio of processor time", "of wall time"]
    print(tabulate(rows, heads, floatfmt=".2f", tablefmt="github"))
    unlike = [case for case in scripted if scripted[case] != found[case]]
    print(f"same accuracies and bytes: {len(scripted) - len(unlike)} of {len(scripted)}")
    for case in unlike:
        print(case, scripted[case], found[case])


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
