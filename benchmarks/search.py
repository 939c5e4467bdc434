"""`weighbridge search` on the residual network, from the defaults alone, beside the recipes that ship for it.

python benchmarks/search.py [budget] [goal ...]    # 10m size latency

The search is given the limits of the shipped case `int8` and no recipe. Then the shipped recipes and what it found are
weighed in one run through pytest, on the test images, with ten seconds for each speed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from measured import ROOT, pytest, take
from tabulate import tabulate

SHIPPED, LIMITS = "resnet.yaml", "int8"
BEST = "best.yaml"


def main(budget: str = "10m", *goals: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "cases" / "fashion", folder, dirs_exist_ok=True)
        shipped = yaml.safe_load((folder / SHIPPED).read_text())
        limits = next(case["thresholds"] for case in shipped["cases"] if case["name"] == LIMITS)
        bare = {key: shipped[key] for key in ("model", "data", "metric")} | {"thresholds": limits}
        (folder / "search.yaml").write_text(json.dumps(bare))
        minimize = [word for goal in goals or ("size", "latency") for word in ("--minimize", goal)]
        words = ["search", "search.yaml", *minimize, "--budget", budget, "-o", BEST]
        found = take(folder, "-m", "weighbridge", *words)
        print(found.out)
        print((folder / BEST).read_text())
        for case in shipped["cases"]:  # the same limits for all, and as much time for each speed
            case["thresholds"] = {**limits, "speedup": {"min": 1000, "budget": 10}}
        best = yaml.safe_load((folder / BEST).read_text())
        shipped["cases"].append({"name": "found", "recipe": best["recipe"], "engine": best["engine"]})
        shipped["cases"][-1]["thresholds"] = shipped["cases"][0]["thresholds"]
        (folder / "both.yaml").write_text(json.dumps(shipped))
        pytest(folder, "both.yaml", "--bench", "--benchmark-quiet", may_fail=True)
        rows = json.loads((folder / "reports" / "latest.json").read_text())["rows"]
        print(
            tabulate(map(_row, rows), ["recipe", "bytes", "smaller", "faster", "accuracy"], tablefmt="github")
        )


def _row(row: dict[str, Any]) -> list[Any]:
    size, accuracy, speed = (row["measurements"].get(name) for name in ("size", "accuracy", "speed"))
    if size is None:
        return [row["name"], row["message"]]
    low, high = speed["details"]["interval"]
    return [
        row["name"],
        f"{size['candidate']:,.0f}",
        f"{size['baseline'] / size['candidate']:.2f}x",
        f"{speed['details']['ratio']:.2f}x ({low:.2f} to {high:.2f})",
        f"{accuracy['baseline']:.2%} → {accuracy['candidate']:.2%}",
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
