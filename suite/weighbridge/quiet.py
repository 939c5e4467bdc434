"""Keeping the chatter of C++ libraries off the user's terminal, without losing what explains a failure."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_KEPT = 2000
"""Characters of the silenced output that a failure brings along: its end is where the reason stands."""


@contextmanager
def quiet() -> Iterator[None]:
    """Send file descriptors 1 and 2, and Python's warnings, elsewhere while the block runs.

    Loggers written in C++ ignore `sys.stderr`, so the descriptors themselves are redirected. An exception
    that leaves the block carries the end of the silenced output as a note.
    """
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _flush()
        saved = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in saved:
                os.dup2(sink.fileno(), number)
            yield
        except BaseException as error:
            _flush()
            sink.seek(0, os.SEEK_END)
            sink.seek(max(0, sink.tell() - _KEPT))
            said = sink.read().decode(errors="replace").strip()
            if said:
                error.add_note(f"it had said:\n{said}")
            raise
        finally:
            _flush()
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
