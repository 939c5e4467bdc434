"""A case with everything of the project that it reads, so that it can be carried out elsewhere.

Files are found in three ways: the case names them, the code that it names imports them, or Python opens them while the
model is built and the data is read. Only what lies in the project is taken, and nothing of it that is hidden.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case, ModelRef
from weighbridge.contracts import FORMATS
from weighbridge.core.code import code_files, in_project, module_files
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.core.files import is_file
from weighbridge.core.observed import files_opened
from weighbridge.formats.finished import finished_file
from weighbridge.run.inputs import make_data
from weighbridge.run.recent import forget_data

_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr")


@dataclass(frozen=True)
class Contents:
    """What carrying a case out reads."""

    files: tuple[Path, ...]
    """Of the project, relative to its root, in order."""
    left: tuple[str, ...]
    """What was read and is not taken: files outside of the project, and hidden ones."""
    trouble: str
    """Why the model could not be built or the data not be read to its end, so that files may be missing."""


def contents(case: Case, root: Path) -> Contents:
    """Builds the model and reads every split once, which runs the user's code.

    Raises `UsageError` where the case names a file outside of `root`.
    """
    root = root.resolve()
    named = {path.resolve() for path in (case.path, *named_files(case))}
    for path in sorted(named):
        if not path.is_relative_to(root):
            raise UsageError(
                f"{case.path} names {path}, which lies outside of {root}, and a bundle holds the project only: run from a "
                "folder above both, or copy the file into the project"
            )
    opened, trouble = _read_once(case, root)
    code = code_files([*named, *named_modules(case), *conftests(case, root)], root)
    loaded = {
        Path(file).resolve()
        for module in [*sys.modules.values()]
        if (file := getattr(module, "__file__", None))
    }
    ours = {path for path in loaded if path.suffix == ".py" and _taken(path, root)}
    data = {path for path in opened if path.suffix != ".py" and "__pycache__" not in path.parts}
    project = {path for path in code if path.is_relative_to(root)}
    elsewhere = {path for path in data - named if not (_taken(path, root) or _installed(path, root))}
    left = sorted(map(str, elsewhere | (code - project)))
    taken = named | project | ours | {path for path in data if _taken(path, root)}
    return Contents(tuple(sorted(path.relative_to(root) for path in taken)), tuple(left), trouble)


def named_files(case: Case) -> Iterator[Path]:
    """The files that a case names: models, weights, data, and the code behind every `file.py:callable`."""
    for text in _stated(case):
        location, _, name = text.rpartition(":")
        if is_file(case.folder / text):
            yield case.folder / text
        elif name and location.endswith(".py") and is_file(case.folder / location):
            yield case.folder / location


def named_modules(case: Case) -> Iterator[Path]:
    """The code behind every `package.module:callable` that is not installed; it may be developed outside of the project."""
    for text in _stated(case):
        location, _, name = text.rpartition(":")
        if name.isidentifier() and location.replace(".", "").isidentifier():
            yield from module_files(location, case.folder, Path.cwd())


def _stated(case: Case) -> Iterator[str]:
    options = [step.options.model_dump(mode="json") for step in case.recipe]
    models = [(ref.reference, ref.weights) for ref in (case.model, case.candidate) if ref]
    return _texts([*models, case.data, case.metric, options, dict(case.engine_options)])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, Iterable):
        for one in value:
            yield from _texts(one)


def conftests(case: Case, root: Path) -> list[Path]:
    folder = case.folder.resolve()
    return [place / "conftest.py" for place in (folder, *folder.parents) if place.is_relative_to(root)]


def _read_once(case: Case, root: Path) -> tuple[set[Path], str]:
    """The files that are read, and what went wrong."""
    trouble = ""
    companions = set[Path]()
    forget_data()
    with files_opened() as opened:
        try:
            original = _load(case.model, case.folder, companions)
            if case.candidate:
                _load(case.candidate, case.folder, companions)
            data = make_data(case, root, lambda: original)
            for name in data.splits:
                with suppress(WeighbridgeError):  # a split that nothing asks for may be a broken one
                    data.digest([name])
        except WeighbridgeError as error:
            trouble = str(error)
    return {Path(name).resolve() for name in opened} | companions, trouble


def _load(ref: ModelRef, folder: Path, companions: set[Path]) -> Any:
    """The model; the files that belong to a finished one are added to `companions`."""
    model = FORMATS.get(ref.format).load(ref.reference, folder / ref.weights if ref.weights else None, folder)
    file = finished_file(model, folder / ref.reference)
    companions |= {path.resolve() for path in file.files} if file else set()
    return model


def _taken(path: Path, root: Path) -> bool:
    """Whether it is a file of the project that is not hidden: a hidden one holds keys more often than samples."""
    if not (path.is_file() and in_project(path.parent, root)):
        return False
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _installed(path: Path, root: Path) -> bool:
    """Whether it comes with a package or with the system, so that it is there elsewhere too."""
    if path.is_relative_to(root):
        return not in_project(path.parent, root)
    places = [*_SYSTEM, sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    return not path.is_file() or "site-packages" in path.parts or any(map(path.is_relative_to, places))
