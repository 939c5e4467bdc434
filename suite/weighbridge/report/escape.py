"""The one place where text that a user controls is made harmless, once for each thing that reads it.

Case names, messages, model metadata and layer names come from files that somebody else may have written.
Every report passes them through here. Control characters and the characters that reorder or hide text are
shown by their code in every format, so that nothing can be made to look like something else.
"""

from __future__ import annotations

import html as _html
import json
import re
from typing import Any

from weighbridge.core.results import cut, to_json

# C0 and C1 controls, the marks that reorder text (bidi), zero-width characters, line and paragraph
# separators, lone surrogates (which cannot be written as UTF-8) and the two noncharacters XML forbids.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufffe\uffff"
    "\U000e0000-\U000e007f]"
)
# An underscore inside a word is no emphasis on GitHub; list and heading signs matter only in front.
_MARKDOWN = re.compile(
    r"[\\`*{}\[\]|~]|(?<!\w)_|_(?!\w)|^\s*(?:[-+](?=[-\s]|$)|[=#]|\d+(?=[.)](?:\s|$)))", re.ASCII
)
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _code(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def visible(text: object, lines: bool = False) -> str:
    """`text`, cut, with every hidden character written as its code; `lines` keeps the line breaks."""
    shown = cut(str(text))
    if not lines:
        return _HIDDEN.sub(_code, shown)
    return "\n".join(_HIDDEN.sub(_code, line) for line in shown.replace("\r\n", "\n").split("\n"))


def terminal(text: object, lines: bool = False) -> str:
    """For a terminal and for a log: no control codes. `lines` keeps the line breaks of a longer message.

    A line that a CI runner would read as a command (`::error::`, `##[group]`) is broken with a backslash.
    """
    return no_command(visible(text, lines))


def no_command(text: str) -> str:
    """`text` without a line that a CI runner would obey: for text that was wrapped after it was made harmless."""
    return re.sub(r"(?m)^(\s*)::", r"\1\\::", text.replace("##[", "##\\["))


def markdown(text: object) -> str:
    """For Markdown, table cells included: shown as typed, with no markup, link, mention or reference."""
    shown = "<br>".join(
        _html.escape(_MARKDOWN.sub(_backslash, line), quote=False)
        for line in visible(text, lines=True).split("\n")
    )
    # GitHub makes mathematics, links and notifications of these even when escaped: they are parted.
    shown = shown.replace("$", "<span>$</span>")
    shown = re.sub(r"@(?=\w)", "@&#8203;", shown)
    shown = re.sub(r"(?<!&)#(?=\d)", "#&#8203;", shown)
    shown = re.sub(r"(?i)(https?|ftp)://", r"\1:&#8203;//", shown)
    return re.sub(r"(?i)\bwww\.", "www&#8203;.", shown)


def _backslash(match: re.Match[str]) -> str:
    """A backslash before a sign; before a number that would start a list, one is put after it."""
    sign = match.group()
    return f"{sign}\\" if sign.strip().isdigit() else f"{sign[:-1]}\\{sign[-1]}"


def html(text: object) -> str:
    """For HTML text and for quoted attribute values."""
    return _html.escape(visible(text, lines=True), quote=True)


def csv(text: object) -> str:
    """For a cell of a CSV file: never a formula. Numbers that are meant as numbers are written as they are.

    Quotes and separators are left to the `csv` module.
    """
    shown = visible(text, lines=True)
    risky = str(text).lstrip().startswith(_FORMULA) or str(text).startswith(("\t", "\r", "\n"))
    return f"'{shown}" if risky else shown


def workflow(text: object, attribute: bool = False) -> str:
    """For a GitHub workflow command: its message, or with `attribute` one of its properties (file, title)."""
    shown = visible(text, lines=True).replace("%", "%25").replace("\n", "%0A")
    return shown.replace(":", "%3A").replace(",", "%2C") if attribute else shown


def xml(text: object) -> str:
    """For XML 1.0 text: only characters that XML allows. The markup signs are left to the XML writer."""
    return visible(text, lines=True)


def script(value: Any) -> str:
    """`value` as JSON that can stand inside a `<script>` element; a number that JSON lacks becomes null."""
    text = json.dumps(to_json(value), ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
