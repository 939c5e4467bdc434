"""Keep a library's chatter off the user's terminal, without losing what explains a failure."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

_KEPT = 2000
"""Characters of the silenced output that a failure brings along: its end is where the reason stands."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, prints, warnings and log records below CRITICAL are swallowed; what the library raises passes.

    Loggers written in C++ ignore `sys.stderr`, so file descriptors 1 and 2 are redirected as well. An
    exception that leaves the block carries the end of the silenced output as a note.
    """
    level = logging.root.manager.disable
    with (
        tempfile.TemporaryFile("w+", errors="replace") as sink,
        _descriptors(sink.fileno()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        logging.getLogger("torch.__trace").propagate = False  # its records are no text, and pass `disable`
        try:
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield
        except Exception as error:
            sink.flush()
            said = _end_of(sink.fileno())
            if said:
                error.add_note(f"it had said:\n{said}")
            raise
        finally:
            logging.disable(level)


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    """Let 1 and 2 point to `target`."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in saved:
            os.dup2(target, number)
        yield
    finally:
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


def _end_of(descriptor: int) -> str:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    start = max(0, size - _KEPT)
    return os.pread(descriptor, size - start, start).decode(errors="replace").strip()
