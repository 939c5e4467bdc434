"""Whatever a model, a case or a message contains, no report lets it act."""

from __future__ import annotations

import csv as csv_module
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.report import escape

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\x1b[2J\x1b]0;owned\x07",
    "safe\u202eevil",
    "a|b|c",
    "[click](javascript:alert(1))",
    "![x](https://tracker.example/p.png)",
    "@everyone fixes #1",
    '=HYPERLINK("http://x")',
    "-1+cmd|' /C calc'!A0",
    "\t=1",
    "\uff1d1+1",
    "name\n::error file=x::forged",
    "##[error]forged",
    "100%\r\n::set-output name=a::b",
    "</script><script>alert(1)</script>",
    "\ud800",
    "\x00",
]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text() | st.sampled_from(HOSTILE))
def test_html_has_no_tag_and_loses_no_text(text: str) -> None:
    parser = Tags()
    parser.feed(f'<p title="{escape.html(text)}">{escape.html(text)}')
    parser.close()
    assert parser.tags == ["p"]
    assert parser.text == escape.visible(text, lines=True)


@given(st.text() | st.sampled_from(HOSTILE))
def test_terminal_has_no_control_code(text: str) -> None:
    shown = escape.terminal(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode("utf-8")
    for line in escape.terminal(text, lines=True).split("\n"):
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@given(st.text() | st.sampled_from(HOSTILE))
def test_markdown_stays_in_its_cell(text: str) -> None:
    shown = escape.markdown(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)\|", shown)
    assert set(re.findall(r"<[^>]*>", shown)) <= {"<br>", "<span>", "</span>"}
    assert not re.search(r"@\w|(?<!&)#\d|https?://", shown)


def test_markdown_keeps_ordinary_names_legible() -> None:
    assert escape.markdown("cases/digits/cnn.yaml::prune-int8") == "cases/digits/cnn.yaml::prune-int8"
    assert escape.markdown("accuracy_drop <= 0.01") == "accuracy_drop &lt;= 0.01"
    assert escape.markdown("_x_ *y* `z` a|b") == r"\_x\_ \*y\* \`z\` a\|b"
    assert escape.markdown("1. one") == r"1\. one"
    assert escape.markdown("# title") == r"\# title"
    assert escape.markdown("- item") == r"\- item"
    assert escape.markdown("12.5 kB") == "12.5 kB"
    assert escape.markdown("-0.5") == "-0.5"


@given(st.text() | st.sampled_from(HOSTILE))
def test_csv_cell_is_no_formula_and_survives_the_reader(text: str) -> None:
    cell = escape.csv(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    buffer = io.StringIO()
    csv_module.writer(buffer).writerow([cell, "next"])
    assert next(csv_module.reader(io.StringIO(buffer.getvalue(), newline=""))) == [cell, "next"]


@given(st.text() | st.sampled_from(HOSTILE))
def test_workflow_command_stays_on_its_line(text: str) -> None:
    assert not re.search(r"[\r\n]", escape.workflow(text))
    assert not re.search(r"[\r\n:,]", escape.workflow(text, attribute=True))


@given(st.text() | st.sampled_from(HOSTILE))
def test_xml_is_well_formed(text: str) -> None:
    element = ElementTree.Element("m", name=escape.xml(text))
    element.text = escape.xml(text)
    assert ElementTree.fromstring(ElementTree.tostring(element)).text in (escape.xml(text), None)


@pytest.mark.slow
@given(
    st.recursive(
        st.text() | st.floats() | st.sampled_from(HOSTILE), lambda inner: st.dictionaries(st.text(), inner)
    )
)
def test_script_data_cannot_close_its_element(value: object) -> None:
    text = escape.script(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
