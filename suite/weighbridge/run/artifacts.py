"""The files that would ship: in the store, and laid out where people look for them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from weighbridge.contracts import ENGINES, STEPS
from weighbridge.core.files import file_digest, shown
from weighbridge.core.results import Artifact, ArtifactRecord, FileRecord
from weighbridge.core.unfinished import clear_abandoned, unfinished
from weighbridge.core.versions import version_of
from weighbridge.run.chain import Chain
from weighbridge.run.keys import extension_code, make_key, reference_code


@dataclass(frozen=True)
class Shipped:
    """An artifact on disk, what the row says of it, and what it is called in the store."""

    artifact: Artifact
    record: ArtifactRecord
    key: str

    @property
    def digests(self) -> tuple[str, ...]:
        return tuple(file.sha256 for file in self.record.files)


def ship(chain: Chain, folder: Path | None, root: Path, engine: str) -> Shipped:
    """The artifact at the end of `chain`, with its files laid out in `folder` (None leaves them where they are).

    `engine` is the one that will run it.
    """
    artifact = chain.artifact()
    if folder is not None and not chain.finished:
        artifact = _lay_out(artifact, folder)
    files = tuple(
        FileRecord(shown(path, root), path.stat().st_size, file_digest(path)) for path in artifact.in_order
    )
    runtime = ", ".join(f"{package} {version_of(package)}" for package in ENGINES.get(engine).packages)
    record = ArtifactRecord(artifact.format, files, _code(artifact, engine, root), runtime)
    return Shipped(artifact, record, chain.key)


def _code(artifact: Artifact, engine: str, root: Path) -> str:
    """Of the project's code without which the files say nothing: what builds a module that they fill, what a step of the
    user's makes of its layers, and an engine of the user's own."""
    source = artifact.source
    parts = [extension_code(STEPS, key, root) for key, *_ in source.get("rebuild", ())]
    if "reference" in source:
        parts.append(reference_code(source["reference"], Path(source["folder"]), root))
    parts.append(extension_code(ENGINES, engine, root))
    return make_key(*parts) if any(parts) else ""


def case_folder(artifacts: Path, case: str) -> Path:
    """The folder of a node id, `cases/a.yaml::name`: no two node ids share one."""
    path, _, name = case.rpartition("::")
    parts = [f"_{part}" if set(part) <= {"."} else part for part in PurePosixPath(path).parts if part != "/"]
    absolute = ["_root"] if path.startswith("/") else []
    return artifacts.joinpath(*absolute, *parts, f"_{name}" if set(name) <= {"."} else name)


def _lay_out(artifact: Artifact, folder: Path) -> Artifact:
    """The same files under `folder`, which they replace; linked where the file system can, copied elsewhere."""
    root = artifact.path.parent
    moved = tuple(folder / path.relative_to(root) for path in artifact.files)
    laid_out = replace(artifact, path=folder / artifact.path.name, files=moved)
    if _lies_there(artifact.files, moved, folder):
        return laid_out
    clear_abandoned(folder.parent, f".{folder.name}.")
    aside = unfinished(folder.parent, f".{folder.name}.")
    for path in artifact.files:
        target = aside / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another process laid out the same case
        aside.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
    return laid_out


def _lies_there(files: Sequence[Path], moved: Sequence[Path], folder: Path) -> bool:
    """Whether an earlier run has laid out these very files, as links, and nothing else lies there."""
    try:
        there = {path for path in folder.rglob("*") if not path.is_dir()}
        return there == {*moved} and all(map(os.path.samefile, files, moved))
    except OSError:
        return False
