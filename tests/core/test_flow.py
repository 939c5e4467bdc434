"""YAML on one line: what is written is read again, by Weighbridge and by other readers of YAML."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.case.text import read
from weighbridge.core.flow import flow

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
KEYS = TEXTS.filter(lambda key: key not in ("", "<<"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9999) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("flow") / "one.yaml"
    path.write_text(f"key: {flow(value)}\n", encoding="utf-8")
    assert json.dumps(read(path).data) == json.dumps({"key": value})


ODD = ["/conv1/Conv", "yes", "No", "on", "y", "null", "1", "1e5", "0x1f", "a: b", "[x]", "it's", "a,b", "-x"]


@given(st.lists(TEXTS | st.sampled_from(ODD)))
def test_texts_are_texts_to_other_readers(value: list[str]) -> None:
    assert yaml.safe_load(flow(value)) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("model.py:network", "model.py:network"),
        ("../zoo/net.onnx", "../zoo/net.onnx"),
        ({"quantize": "static", "exclude": ["head", "2"]}, "{quantize: static, exclude: [head, '2']}"),
        ("it's", "'it''s'"),
        ("two\nlines", '"two\\nlines"'),
        (1e-05, "1e-05"),
        (None, "null"),
    ],
)
def test_quotes_stand_where_they_are_needed(value: Any, written: str) -> None:
    assert flow(value) == written
