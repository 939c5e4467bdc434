"""What long work is doing, to the right of pytest's dots, where the terminal is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from weighbridge.report.encoding import fitting
from weighbridge.report.escape import terminal

_SAVE, _RESTORE, _ERASE = "\0337", "\0338", "\033[K"


class Progress:
    """Writes one transient line: the cursor is put back, so that pytest's own output is left as it was."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @contextmanager
    def showing(self, title: str) -> Iterator[Callable[[str], None]]:
        """A function that shows a text after `title`; what it wrote is gone afterwards."""
        writer = self._writer()
        if writer is None:
            yield lambda text: None
            return

        def show(text: str) -> None:
            room = max(writer.fullwidth - writer.width_of_current_line - 2, 0)
            line = terminal(f"{title.rpartition('/')[2]}: {text}")[:room]
            self._write(writer, f"{_SAVE}{_ERASE} {line}{_RESTORE}")

        try:
            yield show
        finally:
            self._write(writer, _ERASE)

    def _writer(self) -> Any | None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not reporter.isatty or hasattr(self._config, "workerinput"):
            return None
        return reporter._tw

    def _write(self, writer: Any, text: str) -> None:
        """Past pytest's capture, and past its account of the line's width."""
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            writer._file.write(fitting(text, getattr(writer._file, "encoding", None)))
            writer._file.flush()
