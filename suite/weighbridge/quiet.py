"""Keep a library's chatter off the user's terminal: prints, log records, deprecation warnings."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, stdout is swallowed and nothing below CRITICAL is logged; what the library raises passes."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    logging.getLogger("torch.__trace").propagate = False  # its records are no text, and pass `disable`
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
