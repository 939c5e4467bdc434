"""What many cases cost before and beside their own work: collecting, planning, and handing them to a Ray cluster.

python benchmarks/scale.py [collecting] [cluster]    (both, without an argument; a quarter of an hour)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measured import ROOT, pytest, write_project
from recipes import DIGITS, SWEEP, case_file
from tabulate import tabulate

COUNTS = (100, 1_000, 10_000)
A_FILE = 100
NODES, CORES = 4, 16
"""Of the cluster. Its cores are promised, not there: what a case does there is to wait."""
MEMORY = 80 * 2**20
"""Bytes of each node's object store, near the least that Ray takes."""
PLAN = """
import sys
from pathlib import Path
from weighbridge.case.load import load_cases
from weighbridge.run.plan import make_plan
plans = [make_plan(case) for path in sorted(Path("cases").glob("*.yaml")) for case in load_cases(path)]
assert len(plans) == int(sys.argv[1]), len(plans)
"""
CONFTEST = """
import scale_node
from weighbridge.run.executors import node

node.carry_out = scale_node.carry_out
"""


@dataclass(frozen=True)
class Taken:
    """Seconds, and megabytes at the peak, of one process; what it started does not count."""

    wall: float
    processor: float
    memory: float


def alone(folder: Path, *command: str, may_fail: bool = False, **environment: str) -> Taken:
    """Run Python in `folder`; raises `SystemExit` with its output where it fails, unless it may end with 1."""
    path = os.pathsep.join([str(ROOT / "suite"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryFile("w+") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=log,
            stderr=log,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in ((0, 1) if may_fail else (0,)):
            log.seek(0)
            raise SystemExit(log.read()[-4000:])
    return Taken(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def write_cases(folder: Path, count: int) -> None:
    """So many cases of the sweep's recipes, under other names."""
    write_project(folder, DIGITS, [])
    (folder / "cases" / "bench.yaml").unlink()
    for start in range(0, count, A_FILE):
        recipes = [
            {**SWEEP[index % len(SWEEP)], "name": f"case{index}"} for index in range(start, start + A_FILE)
        ]
        (folder / "cases" / f"cases{start:05}.yaml").write_text(case_file(DIGITS, recipes))


def collecting(folder: Path) -> None:
    """Whether it is linear: seconds and megabytes more for each case more."""
    rows: list[list[float]] = []
    for count in COUNTS:
        write_cases(folder, count)
        collected = alone(folder, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", "cases")
        planned = alone(folder, "-c", PLAN, str(count))
        rows.append([count, collected.processor, collected.memory, planned.processor, planned.memory])
    heads = ["cases", "collected: processor s", "MB", "read and planned: processor s", "MB"]
    print(tabulate(rows, heads, floatfmt=",.1f", tablefmt="github"))
    first, *others = rows
    for last in others:
        more = last[0] - first[0]
        cost = [(last[at] - first[at]) / more for at in range(1, 5)]
        print(
            f"a case more, of {first[0]:,} to {last[0]:,}: {1e3 * cost[0]:.2f} ms and {1e3 * cost[1]:.1f} kB collected, "
            f"{1e3 * cost[2]:.2f} ms and {1e3 * cost[3]:.1f} kB planned"
        )


def measured_rows(folder: Path) -> Sequence[dict[str, object]]:
    """The rows of the sweep, carried out one after the other."""
    write_project(folder, DIGITS, SWEEP)
    pytest(folder, may_fail=True)
    rows: list[dict[str, object]] = json.loads((folder / "reports" / "latest.json").read_text())["rows"]
    return rows


def cluster(folder: Path) -> None:
    """10,000 cases whose tasks wait as long as a case of the sweep took, drawn at random, and answer with its row."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "suite"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    )
    from ray.cluster_utils import Cluster

    rows = measured_rows(folder / "sweep")
    took = [float(row["seconds"]) for row in rows]  # type: ignore[arg-type]
    print(
        f"{len(took)} cases took {min(took):.2f} to {max(took):.2f} s, {sum(took) / len(took):.2f} s on average"
    )
    memory = {"object_store_memory": MEMORY}
    head = {"num_cpus": 0, "include_dashboard": False, **memory}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(NODES):
        nodes.add_node(num_cpus=CORES, **memory)
    table = []
    for count in COUNTS:
        project = folder / "many"
        shutil.rmtree(project, ignore_errors=True)
        write_cases(project, count)
        draws = [random.Random(index).choice(took) for index in range(count)]
        (project / "rows.json").write_text(json.dumps({"rows": rows, "draws": draws}))
        (project / "conftest.py").write_text(CONFTEST)
        words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--executor=ray", "cases")
        run = alone(project, *words, may_fail=True, RAY_ADDRESS=nodes.address)
        report = json.loads((project / "reports" / "latest.json").read_text())
        assert len(report["rows"]) == count
        assert {row["stage"] for row in report["rows"]} == {"done"}
        waited = sum(draws) / (NODES * CORES)
        table.append(
            [
                count,
                waited,
                run.wall,
                1e3 * (run.wall - waited) / count,
                run.processor,
                1e3 * run.processor / count,
                run.memory,
            ]
        )
    nodes.shutdown()
    heads = [
        "cases",
        "their own time / cores, s",
        "wall s",
        "more: ms a case",
        "of pytest: processor s",
        "ms a case",
        "MB",
    ]
    print(tabulate(table, heads, floatfmt=",.1f", tablefmt="github"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for each in (collecting, cluster):
            if not sys.argv[1:] or each.__name__ in sys.argv[1:]:
                each(Path(name) / each.__name__)
