"""What a report of 5,000 cases weighs and takes: every format, and the HTML page in a headless Chromium.

python benchmarks/reports.py [cases]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/report"))
from chromium import CHROMIUM, INSTALL, Browser
from made_reports import heavy, report

from weighbridge.contracts import REPORTS

SORT = "document.querySelectorAll('th button')[3].click(), document.body.offsetHeight"
ROUNDS = 5


def written(cases: int) -> None:
    """Seconds of processor time and megabytes by format: of plain rows, and of rows as heavy as real ones."""
    rows = []
    reports = {"plain": report(cases), "heavy": heavy(cases)}
    for name in REPORTS.names():
        row: list[object] = [name]
        for one in reports.values():
            start = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                (path,) = REPORTS.get(name).write(one, Path(folder))
                row += [time.process_time() - start, path.stat().st_size / 1e6]
        rows.append(row)
    heads = ["format", *(f"{kind}: {unit}" for kind in reports for unit in ("s", "MB"))]
    print(tabulate(rows, headers=heads, tablefmt="github", floatfmt=".2f"))


def opened(cases: int) -> None:
    """Seconds on the wall and of the page's processor time, each the median of some rounds."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        (path,) = REPORTS.get("html").write(heavy(cases), Path(folder))
        for what, action in (("open", lambda: browser.open(path)), ("sort", lambda: browser.run(SORT))):
            taken = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                cost = browser.cost(action)
                taken.append((time.perf_counter() - start, cost))
            rows.append([what, *(sorted(one)[ROUNDS // 2] for one in zip(*taken, strict=True))])
    print(tabulate(rows, headers=["HTML, heavy", "wall s", "processor s"], tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    written(count)
    print()
    opened(count) if CHROMIUM else print(INSTALL)
