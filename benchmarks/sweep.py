"""24 recipes on a CNN: cold through Weighbridge, by a script that shares every prefix, by one that shares nothing, by Olive.

python benchmarks/sweep.py [--environments FOLDER] [--subjects NAME ...] [--rounds N]

FOLDER/olive is Olive's virtual environment; `peers.py` prints the commands that fill it. Olive gets the twelve recipes of ONNX
Runtime, on modules that are pruned already. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measured import ROOT, Taken, bare, forget, pytest, take, weighed, write_project
from recipes import DIGITS, EFFICIENTNET, RESIDUAL, SWEEP
from sweep_given import write
from tabulate import tabulate

SUBJECTS = {"residual": RESIDUAL, "efficientnet": EFFICIENTNET, "digits": DIGITS}
TWELVE = [recipe for recipe in SWEEP if recipe["engine"] == "onnxruntime"]
COLD, WITHOUT = "24: Weighbridge, cold", "24: Weighbridge, cold, without round trips"
SHARING, IN_TURN = "24: a script that shares every prefix", "24: a script, each recipe in turn"
COLD_12, OLIVE = "12: Weighbridge, cold", "12: Olive, cold"


@dataclass(frozen=True)
class Wanted:
    """A limit on the time of the `one` by that of the `other`."""

    what: str
    one: str
    other: str
    least: float = 0.0
    most: float = math.inf


WANTED = (
    Wanted("each recipe in turn, by Weighbridge's", IN_TURN, COLD, least=3),
    Wanted("Weighbridge's, by the script's that shares", COLD, SHARING, most=1.15),
    Wanted("the same, without round trips, which the script has not", WITHOUT, SHARING, most=1.15),
    Wanted("Olive's, by Weighbridge's", OLIVE, COLD_12, least=5),
)
NOT_BY_OLIVE = (
    "Not by Olive: the 12 recipes of torch, since it quantizes no CNN for torch, and pruning, since it prunes no CNN: the pruned "
    "modules were made for it, which its time is without. It quantizes each type of operator that it can."
)

Runs = Mapping[str, Sequence[Taken]]
"""A run a round, by what ran."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, help="the folder with Olive's environment")
    parser.add_argument(
        "--subjects", nargs="+", choices=SUBJECTS, default=["residual", "efficientnet"], metavar="NAME"
    )
    parser.add_argument("--rounds", type=int, default=3, help="each runs all of them, in turn (3)")
    asked = parser.parse_args()
    for name in asked.subjects:
        began, load = time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            text = compared(SUBJECTS[name], Path(folder), asked.rounds, asked.environments)
        now = f"{time.strftime('%H:%M')}, load average {load:.1f} before and {os.getloadavg()[0]:.1f} after"
        print(f"**{name}**, {began} to {now}, median of {asked.rounds}:\n\n{text}\n", flush=True)


def compared(subject: Mapping[str, Any], folder: Path, rounds: int, environments: Path | None) -> str:
    """What each takes, and gives."""
    project, peer = folder / "project", folder / "peer"
    write_project(project, subject, SWEEP)
    write(project, subject, TWELVE, peer)
    pytest(project, "--co")  # compiles
    taken: dict[str, list[Taken]] = {}
    refused = ""
    for _ in range(rounds):
        forget(project)
        taken.setdefault(COLD, []).append(pytest(project))
        ours = weighed(project)
        forget(project)
        taken.setdefault(WITHOUT, []).append(pytest(project, "-k", "not round_trip"))
        taken.setdefault(SHARING, []).append(bare(project, "--share"))
        taken.setdefault(IN_TURN, []).append(bare(project))
        forget(project)
        taken.setdefault(COLD_12, []).append(pytest(project, "-k", "onnxruntime"))
        if refused:
            continue
        try:
            taken.setdefault(OLIVE, []).append(olive(peer, environments))
        except (OSError, SystemExit) as error:  # what the others took is worth telling all the same
            del taken[OLIVE]
            refused = f"Olive did not run: {' '.join(str(error).split())[-300:]}"
    scripts = [json.loads(taken[what][-1].out) for what in (SHARING, IN_TURN)]
    parts = [table(taken), verdicts(taken), agreement(ours, scripts)]
    if refused:
        parts.append(refused)
    else:  # it prints log lines too
        parts += [beside(ours, json.loads(taken[OLIVE][-1].out.splitlines()[-1])), NOT_BY_OLIVE]
    return "\n\n".join(parts)


def olive(folder: Path, environments: Path | None) -> Taken:
    """`sweep_olive.py` on what `sweep_given.py` wrote, its cache empty; raises `OSError` or `SystemExit` where it cannot run."""
    if environments is None:
        raise SystemExit("there are no `--environments`")
    for name in ("cache", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
    python = environments.resolve() / "olive" / "bin" / "python"
    script = str(ROOT / "benchmarks" / "sweep_olive.py")
    return take(folder, script, str(folder), python=str(python), PYTHONPATH="", OLIVE_DISABLE_TELEMETRY="1")


def table(taken: Runs) -> str:
    rows = []
    for what, runs in taken.items():
        ours = taken[COLD_12 if what.startswith("12") else COLD]
        peak = statistics.median(run.peak for run in runs)
        rows.append(
            [
                what,
                *(
                    f"{statistics.median(getattr(run, of) for run in runs):.1f}"
                    for of in ("wall", "processor")
                ),
                f"{peak / 1e6:.0f}",
                *(f"{ratio(runs, ours, of):.2f}" for of in ("wall", "processor")),
            ]
        )
    heads = ["recipes", "wall s", "processor s", "peak MB", "wall / Weighbridge's", "processor"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def ratio(ones: Sequence[Taken], others: Sequence[Taken], of: str) -> float:
    """The median of what two runs of one round took."""
    return statistics.median(
        getattr(one, of) / getattr(other, of) for one, other in zip(ones, others, strict=True)
    )


def verdicts(taken: Runs) -> str:
    """On the wall."""
    lines = []
    for each in WANTED:
        if each.one in taken:
            found = ratio(taken[each.one], taken[each.other], "wall")
            met = each.least <= found <= each.most
            limit = f"at least {each.least:g}" if each.least else f"at most {each.most:g}"
            lines.append(f"- {each.what}: {found:.2f}, {limit} is wanted: {'met' if met else 'not met'}")
    return "\n".join(lines)


def agreement(ours: Mapping[str, Any], scripts: Sequence[Mapping[str, Any]]) -> str:
    """Whether the scripts gave what Weighbridge did, and where not."""
    unlike = [case for case in ours if any(script[case] != ours[case] for script in scripts)]
    said = f"The same accuracies and bytes by Weighbridge and both scripts: {len(ours) - len(unlike)} of {len(ours)}."
    lines = [
        f"- {case}: {ours[case]}, {', '.join(str(script[case]) for script in scripts)}" for case in unlike
    ]
    return "\n".join([said, *lines])


def beside(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Accuracy and bytes of the float file and each artifact, by Weighbridge and by Olive."""
    own = {"float": ours[TWELVE[0]["name"]]["baseline"]} | {
        recipe["name"]: ours[recipe["name"]]["candidate"] for recipe in TWELVE
    }
    rows = [[name, *shown(own[name]), *shown(theirs[name])] for name in own]
    heads = ["", "Weighbridge: accuracy", "kB", "Olive: accuracy", "kB"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def shown(weighed: Mapping[str, Any]) -> tuple[str, str]:
    if "failed" in weighed:
        return f"none: {weighed['failed'][:300]}", ""
    return f"{weighed['accuracy']:.2%}", f"{weighed['bytes'] / 1e3:.1f}"


if __name__ == "__main__":
    main()
