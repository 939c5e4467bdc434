"""Mutations of right files, fed to every reader of a stranger's bytes, in a process that may crash.

An attempt is its reader and its seed, so that a finding is two words: `python -m tests.hostile.fuzz onnx 4711 4712`. The
process says each seed before it tries it, so that whoever started it knows of which it died.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MOST_S, MOST_BYTES = 5, 500 << 20
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


@dataclass(frozen=True)
class Reader:
    suffix: str
    read: Callable[[Path], None]
    data: bool = False
    """Whether its files are JSON data, which is altered by its parts."""


READERS = {
    "case": Reader(".yaml", _case),
    "onnx": Reader(".onnx", _model),
    "tflite": Reader(".tflite", _model),
    "safetensors": Reader(".safetensors", _model),
    "pt2": Reader(".pt2", _model),
    "keras": Reader(".keras", _keras),
    "report": Reader(".json", _report, data=True),
    "record": Reader(".json", _record, data=True),
}


def attempt(reader: Reader, right: bytes, seed: int, path: Path) -> None:
    """Read one mutation; raises whatever is not Weighbridge's own."""
    from weighbridge.core.errors import WeighbridgeError

    chance = random.Random(seed)
    if reader.data:
        data = json.loads(right)
        for _ in range(chance.choice((1, 1, 2, 5))):
            data = altered(data, chance)
        path.write_text(json.dumps(data))
    else:
        path.write_bytes(mutated(right, chance))
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


def main(name: str, start: int, stop: int, source: Path) -> None:
    """The child: a line before each attempt, and one with what is not ours."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable()
    reader = READERS[name]
    rights = [path.read_bytes() for path in sorted(source.glob(f"*{reader.suffix}"))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"f{reader.suffix}"
        reader.read(_copy(rights[0], path))  # what is imported late counts for nobody's memory
        for seed in range(start, stop):
            print(seed, flush=True)
            try:
                attempt(reader, rights[seed % len(rights)], seed, path)
            except Exception as error:
                print(f"! {seed} {type(error).__name__}: {str(error)[:200]!r}", flush=True)


def _copy(raw: bytes, path: Path) -> Path:
    path.write_bytes(raw)
    return path


def findings(name: str, count: int, source: Path, start: int = 0) -> Iterator[str]:
    """What `count` attempts bring about that they should not; the right files are in the folder `source`."""
    stop = start + count
    while start < stop:
        command = [sys.executable, "-m", "tests.hostile.fuzz", name, str(start), str(stop), str(source)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        yield from (f"{name} {line[2:]}" for line in lines if line.startswith("!"))
        tried = [int(line) for line in lines if line.isdigit()]
        if done.returncode == 0:
            return
        if not tried:
            yield f"{name}: the right file is not read: {done.stderr[-300:]}"
            return
        how = (
            "it ran longer than its time"
            if done.returncode == -signal.SIGALRM
            else f"status {done.returncode}"
        )
        yield f"{name} {tried[-1]}: {how}"
        start = tried[-1] + 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
