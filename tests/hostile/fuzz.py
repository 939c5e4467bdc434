"""Mutations of right files, fed to every reader of a stranger's bytes, in a process that may crash.

Hypothesis draws the mutations, and makes one that is a finding smaller. What was tried last is a file that outlives the
process, so that whoever started it has what it died of.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MOST_S, MOST_BYTES = 5, 500 << 20
A_PROCESS = 2500
"""Attempts in one, before another is started."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, -(2**63), 10**40, 10**400, 1e308, 5e-324, -0.5,
    "", "\x1b[31m", "::error::", "\ud800", "x" * 9000,
    [], {}, [[]], {"a": 1}, [None], ["a", 1], {"": {}}, "pass", "nan", "../..",
)  # fmt: skip


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """The bytes after one to eight edits: bits, numbers, cuts, repeats, exchanges."""
    found = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        size = len(found)
        if not size:
            break
        at = chance.randrange(size)
        length = min(chance.choice((1, 2, 4, 8, 64)), size - at)
        kind = chance.randrange(7)
        if kind == 0:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at] = chance.choice(
                (0, 1, 0x7F, 0x80, 0xFF, ord("-"), ord('"'), ord("["), chance.randrange(256))
            )
        elif kind == 2:
            number = chance.choice(
                (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, chance.getrandbits(64))
            )
            found[at : at + length] = number.to_bytes(8, "little")[:length]
        elif kind == 3:
            del found[at : at + length]
        elif kind == 4:
            found[at:at] = found[at : at + length] * chance.choice((1, 2, 100))
        elif kind == 5:
            other = chance.randrange(size)
            found[at : at + length] = found[other : other + length]
        else:
            del found[at:]
    return bytes(found)


def altered(value: Any, chance: random.Random) -> Any:
    """JSON data with a value, a key or an element somewhere exchanged, taken out or repeated."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = chance.choice(places)
        kind = chance.random()
        if kind < 0.1:
            kept: Any = value.copy()
            del kept[place]
            return kept
        if kind < 0.15 and isinstance(value, list):
            return [*value, value[place]]
        changed: Any = value.copy()
        changed[place] = altered(value[place], chance)
        return changed
    return chance.choice(ODD)


def repacked(raw: bytes, chance: random.Random) -> bytes:
    """An archive with one entry changed: what a change of the archive's own bytes hides behind a wrong checksum."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(entries))
    if name.endswith(".json") and chance.random() < 0.7:
        entries[name] = json.dumps(altered(json.loads(entries[name]), chance)).encode()
    else:
        entries[name] = mutated(entries[name], chance)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def _case(path: Path) -> None:
    from weighbridge.case.load import load_cases

    load_cases(path)


def _model(path: Path) -> None:
    from weighbridge.audit.inspect import describe, table

    table(describe(path))


def _keras(path: Path) -> None:
    from weighbridge.formats.keras_archive import check_keras

    check_keras(path)


def _report(path: Path) -> None:
    from weighbridge.contracts import REPORTS
    from weighbridge.report.reading import read_report
    from weighbridge.report.text import TextReport

    report = read_report(path)
    for form in REPORTS:
        if isinstance(form, TextReport):
            form.render(report).encode("utf-8")


def _record(path: Path) -> None:
    """With its checksum mended, as whoever alters one would."""
    from weighbridge.audit.record import (
        check_files,
        checksum,
        compare,
        read_record,
        recorded_breach,
        recorded_verdicts,
    )
    from weighbridge.audit.sign import Refused

    statement = json.loads(path.read_bytes())
    with contextlib.suppress(TypeError, KeyError, ValueError, AttributeError):
        statement["predicate"]["checksum"] = checksum(statement)
    path.write_text(json.dumps(statement))
    found, _ = read_record(path)
    recorded_verdicts(found)
    recorded_breach(found)
    compare(found, {"rows": found["predicate"]["results"]})
    with contextlib.suppress(Refused):
        check_files(found, [path.with_name("model.onnx")], None)


def _saved_model(path: Path) -> None:
    from weighbridge.formats.saved_model import check_saved_model

    check_saved_model(path.parent)


def _crashes(path: Path) -> None:
    """For the test of the finder, as the next one."""
    if len(path.read_bytes()) < 5:
        os.abort()


def _raises(path: Path) -> None:
    if len(path.read_bytes()) < 5:
        raise ZeroDivisionError("planted")


@dataclass(frozen=True)
class Reader:
    suffix: str
    read: Callable[[Path], None]
    kind: str = "bytes"
    """Or `data`, JSON that is altered by its parts, or `archive`, most of whose changes are of an entry."""


READERS = {
    "case": Reader(".yaml", _case),
    "onnx": Reader(".onnx", _model),
    "tflite": Reader(".tflite", _model),
    "safetensors": Reader(".safetensors", _model),
    "pt2": Reader(".pt2", _model, "archive"),
    "keras": Reader(".keras", _keras, "archive"),
    "saved_model": Reader(".pb", _saved_model),
    "report": Reader(".json", _report, "data"),
    "record": Reader(".json", _record, "data"),
}
PLANTED = {"crashes": Reader(".txt", _crashes), "raises": Reader(".txt", _raises)}


def mutation(kind: str, right: bytes, chance: random.Random) -> bytes:
    if kind == "data":
        data = json.loads(right)
        for _ in range(chance.choice((1, 1, 2, 5))):
            data = altered(data, chance)
        return json.dumps(data).encode()
    if kind == "archive" and chance.random() < 0.8:
        return repacked(right, chance)
    return mutated(right, chance)


def attempt(reader: Reader, path: Path) -> None:
    """Read one file; raises whatever is not Weighbridge's own."""
    from weighbridge.core.errors import WeighbridgeError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    signal.alarm(MOST_S)
    try:
        reader.read(path)
    except WeighbridgeError:
        pass
    finally:
        signal.alarm(0)
    if (taken := (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before) > MOST_BYTES:
        raise MemoryError(f"it took {taken:,} bytes")


def main(name: str, count: int, first: int, source: Path, path: Path) -> None:
    """The child: `count` attempts that follow from the number `first`, each in the file at `path`; says what is not ours."""
    import logging
    import warnings

    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    warnings.simplefilter("ignore")
    logging.disable()
    reader = (READERS | PLANTED)[name]
    rights = [path.read_bytes() for path in sorted(source.glob(f"*{reader.suffix}"))]
    path.write_bytes(rights[0])
    reader.read(path)  # what is imported late counts for nobody's memory
    print("ready", flush=True)

    @seed(first)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(rights), st.randoms(use_true_random=False))
    def hunt(right: bytes, chance: random.Random) -> None:
        path.write_bytes(mutation(reader.kind, right, chance))
        attempt(reader, path)

    try:
        hunt()
    except Exception as error:  # the smallest file that raises it was tried last
        print(f"{type(error).__name__}: {str(error)[:200]!r}")


def findings(name: str, count: int, source: Path, kept: Path, first: int = 0) -> Iterator[str]:
    """What `count` attempts bring about that they should not, each with its file in the folder `kept`.

    The right files are in the folder `source`.
    """
    suffix = (READERS | PLANTED)[name].suffix
    last = kept / f"saved_model{suffix}"
    for number, start in enumerate(range(0, count, A_PROCESS)):
        several = str(min(A_PROCESS, count - start))
        command = [sys.executable, "-m", "tests.hostile.fuzz", name, several, str(first + start)]
        done = subprocess.run([*command, str(source), str(last)], cwd=ROOT, capture_output=True, text=True)
        ready, _, said = done.stdout.strip().partition("\n")
        if ready != "ready":
            yield f"{name}: the right file is not read: {done.stderr[-300:]}"
            return
        if done.returncode == -signal.SIGALRM:
            said = "it ran longer than its time"
        elif done.returncode:
            said = f"status {done.returncode}"
        if said:
            found = kept / f"{name}-{number}{suffix}"
            shutil.copy(last, found)
            yield f"{found}: {said}"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
