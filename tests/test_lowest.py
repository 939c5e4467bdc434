"""`make test-lowest` runs what pyproject.toml declares."""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def bounds(lines: list[str], operator: str) -> dict[str, Version]:
    """The version behind `operator`, by package, of the lines that have one."""
    wanted = [Requirement(line) for line in lines]
    return {
        each.name: Version(one.version)
        for each in wanted
        for one in each.specifier
        if one.operator == operator
    }


def test_the_pins_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = bounds(project["dependencies"], ">=")
    extras = bounds([*chain(*project["optional-dependencies"].values())], ">=")
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pins = bounds([line for line in lines if not line.startswith("#")], "==")
    assert always.keys() <= pins.keys()
    assert pins == {name: (extras | always)[name] for name in pins}
