"""The file of a bundle: a zip of plain files, and the same opened again, trusting nothing in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.core.errors import UsageError

FACTS = "bundle.json"
SETTINGS = "pytest.ini"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""When a file was written says nothing of the case, and two bundles of one case should be equal."""
MOST, FOLD = 1 << 30, 200
"""Bytes that any bundle may unpack to, and how many times its own size a larger one may."""
MOST_FACTS = 64 << 20
_UNWRITTEN = "no bundle was written"


def pack(target: Path, root: Path, files: Sequence[Path], facts: Mapping[str, Any]) -> None:
    """Write `files` of `root`, the facts, and settings that make the unpacked folder pytest's root.

    Raises `UsageError`, and leaves no file, where `unpack` would refuse what is written, or a file cannot be read. `target`
    is not there yet.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (`Path.home` raises for a user without one)
    hidden = _without(_without(facts, root.resolve(), "."), home, "~")
    texts = {FACTS: json.dumps(hidden, indent=1), SETTINGS: "[pytest]\n"}
    held = {name: root / path for path in files if (name := path.as_posix()) not in texts}
    _check_names(target, [*texts, *held], _UNWRITTEN)
    if len(texts[FACTS]) > MOST_FACTS:
        raise UsageError(
            f"{FACTS} would have {len(texts[FACTS])} bytes, and {MOST_FACTS} are read: {_UNWRITTEN}"
        )
    archive = zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED)
    try:
        with archive:
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
            for name, path in held.items():
                _write(archive, name, path)
        _check(target, archive.infolist(), _UNWRITTEN)
    except BaseException:
        target.unlink()
        raise


def _write(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    try:
        with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        raise UsageError(f"{name} cannot be packed: {error.strerror or error}") from error


def _without(value: Any, folder: Path, sign: str) -> Any:
    """The facts without the name of a folder, which is nobody else's to know; a case is called as it is called."""
    if not folder.is_absolute() or folder == folder.parent:
        return value
    # The whole name and no part of a longer one: what stands around a path in a sentence ends it as well.
    name = re.compile(rf"(?<![\w.-]){re.escape(str(folder))}(?=[/\\\s'\"`:;,)\]}}>]|$)")

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return name.sub(lambda found: sign, value)
        if isinstance(value, Mapping):
            return {walk(key): one if key == "case" else walk(one) for key, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list | tuple) else value

    return walk(value)


def unpack(source: Path, target: Path) -> dict[str, Any]:
    """Write the files of a bundle into `target`, a folder that is not there yet, and give its facts. Runs nothing.

    Raises `UsageError`, before anything is written, for what is no bundle, leads out of the folder, or is a bomb.
    """
    if target.exists():
        raise UsageError(
            f"{target} is there already, and nothing is written over; name another folder with -o"
        )
    try:
        with zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
            _check(source, infos, "nothing was unpacked")
            facts = _facts(source, archive)
            for info in infos:
                place = target / info.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as file, place.open("xb") as written:
                    shutil.copyfileobj(file, written)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise UsageError(f"{source} cannot be unpacked: {error}") from error
    return facts


def _check(source: Path, infos: Sequence[zipfile.ZipInfo], undone: str) -> None:
    size = sum(info.file_size for info in infos)
    if size > max(MOST, FOLD * source.stat().st_size):
        largest = max(infos, key=lambda info: info.file_size)
        raise UsageError(
            f"{source} says that it unpacks to {size} bytes: that is no bundle. {largest.filename[:100]!r} has "
            f"{largest.file_size} of them, and more than {MOST} bytes may have shrunk {FOLD} times at most: {undone}"
        )
    for info in infos:
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _no_plain_file(source, info.filename, undone)
    _check_names(source, [info.filename for info in infos], undone)


def _check_names(source: Path, names: Iterable[str], undone: str) -> None:
    found = dict[str, str]()
    for name in names:
        parts = PurePosixPath(name).parts
        outside = name.startswith("/") or "\\" in name or ":" in name or ".." in parts or not parts
        if outside or not name.isprintable() or name.endswith("/"):
            raise _no_plain_file(source, name, undone)
        folded = name.casefold()
        if folded in found:
            raise UsageError(
                f"{source} holds {name[:100]!r} and {found[folded][:100]!r}, one file to some systems: {undone}"
            )
        found[folded] = name


def _no_plain_file(source: Path, name: str, undone: str) -> UsageError:
    return UsageError(f"{source} holds {name[:100]!r}, which is no plain file of a project: {undone}")


def _facts(source: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        info = archive.getinfo(FACTS)
        facts = json.loads(archive.read(info)) if info.file_size <= MOST_FACTS else None
    except (KeyError, ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("case"), str):
        raise UsageError(f"{source} is no bundle: `weighbridge bundle` writes one, with a {FACTS} in it")
    return facts
