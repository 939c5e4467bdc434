"""`model.py:cnn` and `package.module:callable`: finding the user's own code."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.observed import watch

_SETTING = "pytest's setting `pythonpath` is to name {}"


def resolve(reference: str, folder: Path, stage: str = "load") -> Any:
    """The object that `reference` names, files being relative to `folder`; raises `StageError`.

    A file is loaded under a name of its own, so that `model.py` in two folders are two modules.
    """
    location, _, name = reference.rpartition(":")
    if not location:
        raise StageError(
            stage, f"'{reference}' names no callable; write file.py:callable or package.module:callable"
        )
    try:
        module = _load_file(folder / location) if location.endswith(".py") else _load_module(location, folder)
    except StageError:
        raise
    except (Exception, SystemExit) as error:
        text = f"importing {location} raised {type(error).__name__}: {error}"
        raise StageError(stage, text + _way_out(error, location, folder)) from error
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            known = (
                [key for key in vars(target) if not key.startswith("_")]
                if hasattr(target, "__dict__")
                else []
            )
            raise StageError(stage, f"{location} has no '{part}'{did_you_mean(part, known[:30])}")
        target = getattr(target, part)
    return target


def call(reference: str, folder: Path, stage: str = "load") -> Any:
    """The result of calling what `reference` names without arguments; raises `StageError`."""
    target = resolve(reference, folder, stage)
    if not callable(target):
        raise StageError(stage, f"{reference} is a {type(target).__name__}, not a callable")
    if needed := _needed(target):
        raise StageError(
            stage,
            f"{reference} takes {', '.join(needed)}, and is called without arguments; name a function that passes them on",
        )
    try:
        return target()
    except (Exception, SystemExit) as error:
        text = f"{reference}() raised {type(error).__name__}: {error}"
        raise StageError(stage, text + _looked_in(error)) from error


def _looked_in(error: BaseException) -> str:
    """Where a relative path was looked for, which the exception does not say."""
    name = error.filename if isinstance(error, FileNotFoundError) else None
    if not isinstance(name, str) or Path(name).is_absolute():
        return ""
    return f", looked for in {Path.cwd()}, where pytest was started; write `Path(__file__).parent / ...` in the code"


def _way_out(error: BaseException, location: str, folder: Path) -> str:
    """What mends the import of a file that belongs to a package, or of a package that is not on the path."""
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        top = (folder / location).resolve()
        parts = [top.stem]
        while (top.parent / "__init__.py").is_file():
            top = top.parent
            parts.insert(0, top.name)
        if len(parts) > 1:
            source = os.path.relpath(top.parent)
            return f"; a file of a package is named by its module, {'.'.join(parts)}:callable; {_SETTING.format(source)}"
        return "; a file with relative imports is named by its module, package.module:callable"
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        first = error.name.partition(".")[0]
        for place in (Path("src"), Path("lib")):
            if (place / first).is_dir() or (place / f"{first}.py").is_file():
                return f"; it is in {place}; {_SETTING.format(place)}"
    return _looked_in(error)


def _needed(target: Any) -> list[str]:
    """The arguments that a function or class cannot do without."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # a built-in one does not say
        return []
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return [one.name for one in parameters if one.kind in kinds and one.default is inspect.Parameter.empty]


def _load_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"_weighbridge_{hashlib.sha1(os.fsencode(path)).hexdigest()[:10]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise StageError("load", f"no file {path}{did_you_mean(path.name, siblings)}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str, folder: Path) -> ModuleType:
    with _importable(folder):
        return importlib.import_module(name)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its siblings, without leaving the folder on the path."""
    watch()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
