"""pytest's side: hooks, options, items, reporting.

PYTEST_DONT_REWRITE: pytest rewrites the `assert` statements of every module of a distribution that brings a plugin, and
where it cannot keep the result, as with PYTHONDONTWRITEBYTECODE in containers, it does so at every start, which takes
seconds for all of Weighbridge. The mark in a docstring spares the rewriting of that one file, though not its compiling.
So the modules that are imported after this one are found here, by Python's own means, before pytest is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _Unrewritten:
    """A finder of Weighbridge's own modules that passes pytest's by."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path, target) if name.startswith("weighbridge.") else None


sys.meta_path.insert(0, _Unrewritten)
