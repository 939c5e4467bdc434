"""The code that a stage runs, as a hash: the user's files, transitively, and the versions of the packages they import.

A result in the store may only be used while the code that made it is the same. A file's imports are read from its
syntax tree and followed as far as they are not installed: in the project, and where `PYTHONPATH` or an editable
installation leads. An installed package stands for itself by its version. Environment variables that the code names
belong to it with their values. They are looked for in the text: what is read while a module is imported would not be
seen by watching the calls. So do files of the project that it reads while it is imported, such as a configuration beside it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from weighbridge.core.files import is_file, is_installed, stamp
from weighbridge.core.observed import read_on_import
from weighbridge.core.versions import version_of

File: TypeAlias = tuple[str, list[Path], set[str], frozenset[str]]
"""The hash of a file, the files of the project that it imports, the packages, and the texts in it."""
_SHORTEST_PREFIX = 3
"""Letters and the underscore of a text that may begin the name of an environment variable, as `f"APP_{name}"` does."""
_OURS = Path(__file__).resolve().parents[2]
"""The folder of Weighbridge's package, which has a digest of its own."""
_OWN_NAME = __name__.partition(".")[0]
"""What code calls it: not followed from a checkout either, where it would look like the user's code."""
_known: dict[tuple[Path, Path, tuple[str, ...]], File] | None = None
_listed: dict[Path, frozenset[str]] | None = None
"""What `unchanging_code` remembers, files and what folders hold; None outside of it."""


@contextlib.contextmanager
def unchanging_code() -> Iterator[None]:
    """Inside, the imports of a file are followed once: nobody edits the code of a case while the case runs it."""
    global _known, _listed
    _known, _listed = {}, {}
    try:
        yield
    finally:
        _known = _listed = None


def code_digest(files: Sequence[Path], root: Path) -> str:
    """Of `files` and every file that they import, directly or not; of the installed packages' versions; of the
    environment variables that are named there; and of the project's files that were read on importing them.
    """
    sha = hashlib.sha256()
    seen, packages, texts = _followed(files, root)
    for digest in sorted(seen.values()):
        sha.update(digest.encode())
    for package in sorted(packages - sys.stdlib_module_names):
        sha.update(f"{package} {version_of(package)}".encode())
    for path in sorted(read_on_import(seen)):
        if place_in_project(path, root) and is_file(path):
            sha.update(f"{path.name} {content_digest(path)}".encode())
    for name, value in _variables(texts):
        sha.update(f"{name}={value}\0".encode(errors="surrogateescape"))
    return sha.hexdigest()


def code_files(files: Sequence[Path], root: Path) -> set[Path]:
    """`files`, and every file that they import, directly or not, where it is not installed."""
    return set(_followed(files, root)[0])


def module_files(name: str, folder: Path, root: Path) -> list[Path]:
    """The files that importing `package.module` from `folder` runs; none of an installed package."""
    return list(_imported(name, folder.resolve() / "_", _searched(root.resolve()), root.resolve()))


def _searched(root: Path) -> list[Path]:
    """The part of the import path where nothing is installed."""
    entries = (*(Path(entry) for entry in sys.path if entry), root)
    return [folder for folder in entries if _is_source(folder, root)]


def _variables(texts: set[str]) -> list[tuple[str, str]]:
    """The environment variables called as one of `texts`, or beginning with one that ends with an underscore.

    A single character, such as the underscore that shells set, is in too many texts to be meant.
    """
    prefixes = tuple(text for text in texts if len(text) >= _SHORTEST_PREFIX and text.endswith("_"))
    return sorted(
        (name, value)
        for name, value in os.environ.items()
        if len(name) > 1 and (name in texts or name.startswith(prefixes))
    )


def _followed(files: Sequence[Path], root: Path) -> tuple[dict[Path, str], set[str], set[str]]:
    """The hash of each file of the project that is imported, the packages that are, and the texts of the files."""
    packages, texts = set[str](), set[str]()
    seen: dict[Path, str] = {}
    pending = [path.resolve() for path in files]
    root = root.resolve()
    while pending:
        path = pending.pop()
        if path not in seen and path.is_file():
            seen[path], found, others, said = _looked_at(path, root)
            pending += found
            packages |= others
            texts |= said
    return seen, packages, texts


def _looked_at(path: Path, root: Path) -> File:
    asked = (path, root, tuple(sys.path))
    if _known is not None and asked in _known:
        return _known[asked]
    searched = _searched(root)
    digest, names, texts = _read(path, stamp(path))
    files, packages = list[Path](), set[str]()
    for name in names:
        found = list(_imported(name, path, searched, root))
        files += found
        if not found and not name.startswith("."):
            packages.add(name.partition(".")[0])
    if _known is not None:
        _known[asked] = digest, files, packages, texts
    return digest, files, packages, texts


def content_digest(path: Path) -> str:
    """The SHA-256 of a file; read again in this process only where its stamp has changed."""
    return _content(path, stamp(path))


@cache  # of all of them: a step that trains on its own pictures reads a hundred thousand, and each look is at all
def _content(path: Path, stamped: tuple[int, int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def _read(path: Path, stamped: tuple[int, int, int]) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """A file's hash, the modules it imports, as written (relative ones begin with their dots), and the texts in it.

    `stamped` only tells whether the file has to be read again.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # importing it will say so
        return digest, (), frozenset()
    return digest, tuple(dict.fromkeys(_imports(tree))), frozenset(_texts(tree))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            joint = "" if base.endswith(".") else "."
            yield from (f"{base}{joint}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_module(node.func) and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every text that the code spells out, but for the name of a variable that it only sets: that is no input of it."""
    set_here = {id(name) for node in ast.walk(tree) if (name := _name_set(node)) is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in set_here:
            yield node.value


def _name_set(node: ast.AST) -> ast.expr | None:
    """What `os.environ["NAME"] = ...`, or `os.environ.setdefault("NAME", ...)` as a statement, sets."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        return node.slice
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args:
        called = node.value.func
        if isinstance(called, ast.Attribute) and called.attr == "setdefault":
            return node.value.args[0]
    return None


def _is_import_module(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _imported(name: str, importer: Path, searched: Sequence[Path], root: Path) -> Iterator[Path]:
    """The files that importing `name` from `importer` runs: each package on the way, and the module.

    `searched` is the part of the import path where nothing is installed.
    """
    dots = len(name) - len(name.lstrip("."))
    parts = name.lstrip(".").split(".") if name.strip(".") else []
    if not dots and parts[:1] == [_OWN_NAME]:
        return
    if dots:
        above = importer.parents[dots - 1] if dots <= len(importer.parents) else None
        folders = [above] if above and _is_source(above, root) else []
    else:
        folders = [*([importer.parent] if _is_source(importer.parent, root) else []), *searched]
    for folder in folders:
        found = list(_below(folder, parts)) if not parts or _holds(folder, parts[0]) else []
        if found:
            yield from found
            return
    if not dots and parts:
        yield from _of_finder(parts, root)


def _holds(folder: Path, name: str) -> bool:
    """Whether a module or package of this name may lie there: nearly none does, and there may be many folders."""
    found = None if _listed is None else _listed.get(folder)
    if found is None:
        try:
            found = frozenset(path.name for path in folder.iterdir())
        except OSError:  # a zip file, or nothing
            found = frozenset()
        if _listed is not None:
            _listed[folder] = found
    return name in found or f"{name}.py" in found


def _of_finder(parts: Sequence[str], root: Path) -> Iterator[Path]:
    """The same, where an editable installation has put a finder of its own in place of a folder on the path."""
    try:
        spec = find_spec(parts[0])
    except (ImportError, ValueError):  # of a module that was made by hand
        return
    if spec is None or spec.origin is None or not is_file(Path(spec.origin)):
        return
    origin = Path(spec.origin).resolve()
    if origin.suffix == ".py" and _is_source(origin.parent, root):
        yield origin
        for folder in spec.submodule_search_locations or ():
            yield from _below(Path(folder), parts[1:])


def _below(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    for depth in range(len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        if depth and is_file(place.with_suffix(".py")):
            yield place.with_suffix(".py").resolve()
        if is_file(place / "__init__.py") and (depth or not parts):
            yield (place / "__init__.py").resolve()


@lru_cache(maxsize=4096)
def in_project(folder: Path, root: Path) -> bool:
    """Installed packages may lie inside the project's folder, in a virtual environment."""
    return _is_inside(folder.resolve(), root)


def _is_inside(place: Path, root: Path) -> bool:
    installed = Path(sys.prefix).resolve()
    in_environment = installed != root and place.is_relative_to(installed)
    return place.is_relative_to(root) and not in_environment and not is_installed(place)


@lru_cache(maxsize=4096)
def _is_source(folder: Path, root: Path) -> bool:
    """Whether code in it may be another tomorrow under the same version: the project's own, and what is developed elsewhere.

    What pip has put into a folder of its own choice leaves a `.dist-info` there.
    """
    if in_project(folder, root):
        return True
    folder = folder.resolve()
    if folder == _OURS or is_installed(folder) or folder.is_relative_to(Path(sys.prefix).resolve()):
        return False
    return folder.is_dir() and not any(folder.glob("*.dist-info"))


def place_in_project(path: Path, root: Path) -> Path | None:
    """Where a file lies below `root`, by its name or by where links lead; None outside, and of an installed package's.

    What a link of the project leads to is read as the project's own, wherever it lies.
    """
    root = root.resolve()
    for place in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100 (keeps links as they are)
        if _is_inside(place, root):
            return place.relative_to(root)
    return None


@cache
def own_digest() -> str:
    """Of Weighbridge's own source: another version, or an edited checkout, computes anew."""
    package = Path(__file__).parents[1]
    sha = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sha.update(path.relative_to(package).as_posix().encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()
