"""The same recipes as a bare script and through pytest, in turn: ratios of processor time and of time on the wall.

python benchmarks/overhead.py [rounds] [digits] [efficientnet] [orientation] [twenty] [stored]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measured import Taken, bare, forget, pytest, weighed, write_project
from recipes import DIGITS, EFFICIENTNET, ONE, ORIENTATION, STATIC, TWENTY, Recipe, on, prune
from tabulate import tabulate

SUBJECTS = {
    "digits": (DIGITS, ONE),
    "efficientnet": (EFFICIENTNET, ONE),
    "orientation": (ORIENTATION, ONE),
    "twenty": (DIGITS, TWENTY),
}
TRAINED = 0.02
WITHOUT = ("-k", "not round_trip")
"""The script has no round trips either. They are timed beside it."""


def compare(folder: Path, subject: Mapping[str, Any], recipes: Sequence[Recipe], rounds: int) -> list[Any]:
    """Medians of the script and of pytest, cold, without round trips and with them; the first round compiles."""
    write_project(folder, subject, recipes)
    taken: list[list[Taken]] = []
    for _ in range(rounds + 1):
        script = bare(folder, "--share")  # of the baseline and the candidate, what is common is made once
        forget(folder)
        without = pytest(folder, *WITHOUT)
        found, scripted = weighed(folder), json.loads(script.out)
        assert alike(found, scripted, recipes), f"not the same work: {found}, {scripted}"
        forget(folder)
        taken.append([script, without, pytest(folder)])
    row: list[Any] = []
    for name in ("processor", "wall"):
        times = [[getattr(run, name) for run in runs] for runs in taken[1:]]
        row.append(statistics.median(each[0] for each in times))
        row += [statistics.median(each[way] / each[0] for each in times) for way in (1, 2)]
    return row


def alike(found: Mapping[str, Any], scripted: Mapping[str, Any], recipes: Sequence[Recipe]) -> bool:
    """The same bytes and accuracies. What is trained has other seeds in the script, so there two points may lie between."""
    for recipe in recipes:
        slack = TRAINED if any("finetune" in step for step in recipe["steps"]) else 0.0
        for side, one in scripted[recipe["name"]].items():
            other = found[recipe["name"]][side]
            if one["bytes"] != other["bytes"] or abs(one["accuracy"] - other["accuracy"]) > slack:
                return False
    return True


def stored(folder: Path) -> Taken:
    """A hundred cases, of which everything is in the store."""
    recipes = [
        on("onnxruntime", f"{number:03}", prune(0.2 + 0.006 * number), STATIC) for number in range(100)
    ]
    write_project(folder, DIGITS, recipes)
    pytest(folder)
    return min((pytest(folder) for _ in range(3)), key=lambda taken: taken.wall)


def main(*words: str) -> None:
    rounds = next((int(word) for word in words if word.isdigit()), 5)
    chosen = [word for word in words if not word.isdigit()] or [*SUBJECTS, "stored"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        heads = [
            "",
            "script: processor s",
            "ratio",
            "with round trips",
            "wall s",
            "ratio",
            "with round trips",
        ]
        rows = [[each, *compare(folder, *SUBJECTS[each], rounds)] for each in chosen if each in SUBJECTS]
        print(tabulate(rows, heads, floatfmt=".2f", tablefmt="github"))
        if "stored" in chosen:
            taken = stored(folder)
            print(
                f"100 cases, everything stored: {taken.wall:.1f} s, {taken.processor:.1f} s of processor time"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
