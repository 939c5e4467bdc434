"""Reading a case file's faults the way the expected texts are written."""

from __future__ import annotations

import re
from pathlib import Path

from weighbridge.case.load import load_cases
from weighbridge.core.errors import CaseError

_NAMES = re.compile(r"\(valid: [^)]*\)|by one of [a-z, ]+?(?=, not)")


def faults_of(path: Path) -> str:
    """One fault a line, `line:column: message`; empty for a file without any.

    Lists of registered names are elided, since every extension adds to them.
    """
    try:
        load_cases(path)
    except CaseError as error:
        lines = (f"{fault.line}:{fault.column}: {fault.message}" for fault in error.faults)
        return "".join(f"{_NAMES.sub('(…)', line)}\n" for line in lines)
    return ""
