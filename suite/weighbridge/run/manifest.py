"""The manifest beside an artifact: what it was made of and how, so that it can be made again and held against it.

Plain data. It names a case of the project, and whoever makes the artifact again reads that case from the project's own file;
nothing in a manifest is ever run. The same case gives the same bytes: no times, and no folders of this machine.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from weighbridge.contracts import STEPS
from weighbridge.core.code import code_files
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, UsageError
from weighbridge.core.files import file_digest, is_file, read_regular, shown
from weighbridge.core.results import to_json
from weighbridge.core.versions import version_of
from weighbridge.environment import machine
from weighbridge.environment.revision import Revision, revision
from weighbridge.run.artifacts import Shipped
from weighbridge.run.bundle import conftests, named_files, named_modules
from weighbridge.run.chain import Chain
from weighbridge.run.job import Job
from weighbridge.run.keys import PACKAGES
from weighbridge.run.plan import Stage
from weighbridge.run.workshop import Workshop

NAME = "manifest.json"
VERSION = 1
MADE_OF = ("model", "seed", "stages", "files", "data")
"""What stands in it of recipe, code and data; versions, commit and machine may differ where the artifact is the same."""
MOST_BYTES = 16 << 20
"""Of a manifest; one with thousands of files has one."""


def write_manifest(job: Job, shop: Workshop, chain: Chain, candidate: Shipped, folder: Path) -> Shipped:
    """Write `folder/manifest.json` on the candidate that is laid out under `folder`; the candidate with the hash of it."""
    stated = make_manifest(job, shop, chain, candidate, folder)
    text = json.dumps(to_json(stated), indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")
    return replace(candidate, record=replace(candidate.record, manifest=file_digest(folder / NAME)))


def make_manifest(job: Job, shop: Workshop, chain: Chain, candidate: Shipped, folder: Path) -> dict[str, Any]:
    """What stands in it: the recipe, every seed, the hashes of all that went in and came out, versions, machine."""
    plan, case, root = job.plan, job.plan.case, job.options.root
    model = case.candidate or case.model
    splits = {name for ref in case.recipe for name in STEPS.get(ref.key).splits}
    at = _revision(root)
    artifact, record = candidate.artifact, candidate.record
    return {
        "manifest": VERSION,
        "case": job.case,
        "model": {
            "format": model.format,
            "reference": _without_folder(model.reference, root),
            "weights": model.weights and _without_folder(model.weights, root),
        },
        "seed": case.seed,
        "stages": [_stage(*one, root) for one in zip(plan.stages, chain.seeds[1:], strict=True)],
        "files": _by_name([*_files(shop, root), *shop.load(model).read.items()]),
        "data": {name: _digest(shop.data, name) for name in sorted(splits)},
        "artifact": {
            "format": record.format,
            "engine": plan.engine,
            "key": candidate.key,
            "code": record.code,
            "files": [
                {"path": path.relative_to(folder).as_posix(), "bytes": one.bytes, "sha256": one.sha256}
                for path, one in zip(artifact.in_order, record.files, strict=True)
            ],
        },
        "versions": _versions(),
        "commit": at.commit,
        "dirty": at.dirty,
        "isa": machine.instruction_sets(),
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in `path`; raises `UsageError` for what is none."""
    try:
        stated = json.loads(read_regular(path, MOST_BYTES))
        known = isinstance(stated, dict) and stated.get("manifest") == VERSION
        if known and isinstance(stated["case"], str) and held(stated):
            return dict(stated)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as a manifest: {error}") from error
    except (LookupError, TypeError, AttributeError):
        pass
    raise UsageError(
        f"{path} is no manifest of version {VERSION}: a run writes {NAME} beside the artifact of each case"
    )


def held(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the artifact's files hold, by name."""
    return {str(one["path"]): str(one["sha256"]) for one in manifest["artifact"]["files"]}


def not_as_stated(manifest: Mapping[str, Any], folder: Path) -> list[str]:
    """The artifact's files that lie in `folder` and hold something else; a manifest may also stand alone."""
    files = {name: folder / name for name in held(manifest)}
    inside = {name: path for name, path in files.items() if path.resolve().is_relative_to(folder.resolve())}
    return [
        name for name, path in inside.items() if is_file(path) and file_digest(path) != held(manifest)[name]
    ]


def is_same(stated: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Whether two manifests are of the same artifact, byte for byte."""
    return held(stated) == held(made)


def contradicts(stated: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Whether what the first says of recipe, code, data or files is not so of the second."""
    return stated["artifact"]["files"] != made["artifact"]["files"] or any(
        stated.get(name) != made.get(name) for name in MADE_OF
    )


def differences(stated: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """A line for each part in which two manifests differ, what the artifact is made of first."""
    lines = [
        f"{name}: {_told(old)}, here {_told(new)}" for name, old, new in _apart("", dict(stated), dict(made))
    ]
    return sorted(lines, key=lambda line: line.startswith("artifact."))


def _apart(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two pieces of JSON differ, by their place in it."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old, 1)), dict(enumerate(new, 1))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _apart(f"{name}.{key}" if name else str(key), old.get(key), new.get(key))
    elif old != new:
        yield name, old, new


def _told(value: Any) -> str:
    """Short: a hash is known by its first digits."""
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _stage(stage: Stage, seed: int, root: Path) -> dict[str, Any]:
    """A step with its options, as the case states them and as they were used; or a conversion."""
    if stage.step is None:
        return {"stage": str(stage), "seed": seed}
    options = stage.step.options
    return {
        "stage": str(stage),
        "step": stage.step.key,
        "stated": _without_folders(options.model_dump(mode="json", exclude_unset=True), root),
        "options": _without_folders(options.model_dump(mode="json"), root),
        "seed": seed,
    }


def _without_folder(path: str, root: Path) -> str:
    """A path as the project calls it where it is absolute: folders of one machine are of no other."""
    return shown(Path(path), root) if Path(path).is_absolute() else path


def _without_folders(value: Any, root: Path) -> Any:
    """Options in which every absolute path of a file stands so. A name such as `/model/Conv` is a layer of ONNX."""
    if isinstance(value, Mapping):
        return {name: _without_folders(one, root) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_folders(one, root) for one in value]
    named = isinstance(value, str) and (is_file(Path(value)) or is_file(Path(value.rpartition(":")[0])))
    return _without_folder(value, root) if named else value


def _by_name(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The hash of each file; files that share a name, outside of the project, are told apart by the hash."""
    hashes: dict[str, set[str]] = {}
    for name, digest in found:
        hashes.setdefault(name, set()).add(digest)
    return {
        f"{name} ({one[:12]})" if len(ones) > 1 else name: one
        for name, ones in hashes.items()
        for one in ones
    }


def _files(shop: Workshop, root: Path) -> list[tuple[str, str]]:
    """The files that the case names, and the project's code behind them, with their hashes."""
    named = {path.resolve() for path in named_files(shop.case)}
    code = {path for path in named if path.suffix == ".py"}
    code.update(named_modules(shop.case), conftests(shop.case, root))
    found = sorted((named - code) | code_files([*code], root))
    return [(shown(path, root), file_digest(path)) for path in found if path.is_file()]


def _digest(data: Data, split: str) -> str | None:
    """None of a split that the data does not have, which a step may do without."""
    try:
        return data.digest([split])
    except StageError:
        return None


def _versions() -> dict[str, str]:
    found = {name: version_of(name) for name in ("weighbridge", *PACKAGES)}
    return {"python": platform.python_version(), **{name: one for name, one in found.items() if one}}


@cache
def _revision(root: Path) -> Revision:
    """What is checked out when the first case of a process asks: git takes longer than many a case."""
    return revision(root)
