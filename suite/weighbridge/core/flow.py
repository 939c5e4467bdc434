"""YAML on one line (flow style): for case files that are written, and for what a message shows to be pasted into one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"(?:\.{1,2}/)*[A-Za-z_/][\w./:+@-]*(?<!:)")
_WORDS = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
"""What YAML does not read as text: 1.2 three of them, 1.1, as editors and `yaml.safe_load` have it, all."""


def flow(value: Any) -> str:
    """JSON data as YAML on one line, texts in quotes only where they could be read otherwise."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)
