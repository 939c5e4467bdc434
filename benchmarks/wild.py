"""Public ONNX models, quantized by the stock tools' standard routes and by ours without options: which artifact is usable?

python benchmarks/wild.py --site FOLDER [--models NAME ...] [--routes NAME ...] [--samples N] [--calibrate N] [--timeout SECONDS]

FOLDER holds the packages that the models come in; without it, the command that fills it is printed. A route has its own
process, which may crash, and is ended after the timeout. Ctrl-C ends the run with a table of what is done.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measured import ROOT, told
from tabulate import tabulate
from wild_models import BY_NAME, PHOTOGRAPHS, Wild, install
from wild_process import ROUTES

AGREEMENT, FASTER = 0.98, 0.97
"""At least so much makes an artifact usable, where it is smaller too."""

Cell = dict[str, Any]
"""What `wild_process` said of one route of one model; `failed` where it says why there is no artifact."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, help="the folder with the packages")
    parser.add_argument("--models", nargs="+", choices=BY_NAME, default=list(BY_NAME), metavar="NAME")
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=list(ROUTES), metavar="NAME")
    parser.add_argument("--samples", type=int, default=100, help="that artifacts are weighed on (100)")
    parser.add_argument("--calibrate", type=int, default=32, help="samples to calibrate on (32)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a route (300)")
    asked = parser.parse_args()
    if asked.site is None:
        parser.error(f"say where the packages are: --site FOLDER, filled by\n{install(Path('FOLDER'))}")
    site = asked.site.resolve()
    wilds = [BY_NAME[name] for name in asked.models]
    if absent := [f"{wild.name} ({package})" for wild in wilds if (package := _absent(wild, site))]:
        print(f"absent, and skipped: {', '.join(absent)}\n{install(asked.site)}", file=sys.stderr)
    found: dict[str, dict[str, Cell]] = {}
    try:
        for wild in wilds:
            if not _absent(wild, site):
                found[wild.name] = _cells(wild, site, asked)
    except KeyboardInterrupt:
        print("ended; what is done so far:", file=sys.stderr)
    if found:
        print(report(found, asked.routes))


def _absent(wild: Wild, site: Path) -> str | None:
    """The package that is not there."""
    if not (site / wild.path).exists():
        return wild.package
    return None if (site / "skimage" / "data").exists() else PHOTOGRAPHS


def _cells(wild: Wild, site: Path, asked: argparse.Namespace) -> dict[str, Cell]:
    with tempfile.TemporaryDirectory() as name:
        folder, cells = Path(name), {}
        made = {route: folder / f"{number}.onnx" for number, route in enumerate(asked.routes)}
        for route, target in made.items():
            arguments = (str(site), wild.name, route, str(target), str(asked.calibrate))
            lines, ended = _run(folder, asked.timeout, "make", *arguments)
            cells[route] = lines[0] if lines else {"failed": ended}
            print(f"{wild.name}, {route}: {cells[route]}", file=sys.stderr, flush=True)
        left = [route for route, cell in cells.items() if "failed" not in cell]
        while left:
            arguments = (str(site), wild.name, str(asked.samples), *(str(made[route]) for route in left))
            lines, ended = _run(folder, asked.timeout * len(left), "weigh", *arguments)
            if len(lines) < len(left):  # the next artifact ended the process; the rest are weighed without it
                lines.append({"failed": f"{ended}, when weighed"})
            for route, line in zip(left, lines, strict=False):
                cells[route] |= line
                print(f"{wild.name}, {route}: {line}", file=sys.stderr, flush=True)
            left = left[len(lines) :]
    return cells


def _run(folder: Path, timeout: float, *arguments: str) -> tuple[list[Cell], str]:
    path = [str(ROOT / "suite"), *sys.path[1:]]
    return told(folder, timeout, sys.executable, "wild_process.py", *arguments, path=path)


def usable(cell: Cell) -> bool:
    return (
        "failed" not in cell
        and cell["agreement"] >= AGREEMENT
        and cell["smaller"] > 1
        and cell["faster"] >= FASTER
    )


def report(found: dict[str, dict[str, Cell]], routes: Sequence[str]) -> str:
    """Markdown: a line per model, counts, where ours is behind, and why there was no artifact."""
    rows = []
    for name, cells in found.items():
        weighed = next((cell for cell in cells.values() if "failed" not in cell), None)
        chance = f"{weighed['chance']:.2f} of {weighed['telling']}" if weighed else ""
        rows.append([name, chance, *(_shown(cells[route]) for route in routes)])
    counts = [sum(usable(cells[route]) for cells in found.values()) for route in routes]
    rows.append(["**usable**", f"of {len(found)}", *counts])
    heads = ["model", "by chance, of telling samples", *routes]
    behind = [line for name, cells in found.items() if (line := _behind(name, cells))]
    parts = [
        "Agreement, times smaller, times faster; seconds, peak memory. Bold: usable.",
        tabulate(rows, heads, tablefmt="github", disable_numparse=True),
        f"Ours without options is not usable and a stock route is:\n\n{_listed(behind or ['none'])}",
    ]
    failures: dict[str, list[str]] = {}
    for name, cells in found.items():
        for route, cell in cells.items():
            if "failed" in cell:
                failures.setdefault(" ".join(cell["failed"].split())[:300], []).append(f"{name}, {route}")
    if reasons := [f"{'; '.join(where)}: {reason}" for reason, where in failures.items()]:
        parts.append(f"No artifact, or one that does not run:\n\n{_listed(reasons)}")
    return "\n\n".join(parts)


def _shown(cell: Cell) -> str:
    if "failed" in cell:
        return cell["failed"].split(":")[0]
    quality = f"{cell['agreement']:.3f} {cell['smaller']:.2f}x {cell['faster']:.2f}x"
    quality = f"**{quality}**" if usable(cell) else quality
    return f"{quality}; {cell['seconds']:.1f} s, {cell['peak'] / 1e6:.0f} MB"


def _behind(name: str, cells: dict[str, Cell]) -> str | None:
    good = [route for route, cell in cells.items() if usable(cell)]
    stock = [route for route in good if route.startswith("stock")]
    if not stock or {"our static", "our dynamic"} & {*good}:
        return None
    return f"{name}: {', '.join(stock)}{'; our auto is' if 'our auto' in good else ''}"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


if __name__ == "__main__":
    main()
