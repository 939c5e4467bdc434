"""The user's modules that extend Weighbridge, imported where pytest has not done it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from weighbridge.core.errors import StageError
from weighbridge.core.observed import watch
from weighbridge.core.registry import Origin, discover
from weighbridge.run.import_paths import add_import_paths


def load_extension(origin: Origin) -> None:
    """Import the module that registered something in another process; raises `StageError` where it has no file."""
    path = Path(origin.file)
    if not path.is_file():
        raise StageError(
            "plan",
            f"the module '{origin.module}' extends Weighbridge, and no worker can import it; "
            "put it into a file, or run with --executor=inline",
        )
    discover()
    watch()
    try:
        if _importable(origin.module, path):
            importlib.import_module(origin.module)
        else:
            _load_file(path)
    except StageError:
        raise
    except (Exception, SystemExit) as error:
        raise StageError("plan", f"importing {path} raised {type(error).__name__}: {error}") from error


def load_conftests(case_file: Path) -> None:
    """Import the conftest.py beside a case file and those of the folders above it, up to the working directory."""
    folder, root = case_file.resolve().parent, Path.cwd()
    add_import_paths(root)
    above = [folder, *folder.parents] if folder.is_relative_to(root) else [folder]
    for place in reversed(above):
        path = place / "conftest.py"
        if (place == folder or place.is_relative_to(root)) and path.is_file():
            load_extension(Origin("conftest", str(path)))


def _importable(module: str, path: Path) -> bool:
    """Whether importing the name gives this file: two conftest.py have one name."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path.resolve()


def _load_file(path: Path) -> None:
    name = f"_weighbridge_extension_{hashlib.sha1(os.fsencode(path.resolve())).hexdigest()[:10]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StageError("plan", f"{path} extends Weighbridge, and is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
