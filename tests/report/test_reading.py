"""Reading a report back: schema 2 as it is, schema 1 brought up to it, one sentence for anything else."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import made_reports as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.contracts import REPORTS
from weighbridge.core.errors import UsageError
from weighbridge.report.contract import report_schema
from weighbridge.report.reading import read_report
from weighbridge.report.text import TextReport

OLD = Path(__file__).parent / "schema-1.json"
once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(report: Any, folder: Path) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    return path


def test_the_schema_is_one_and_the_reports_fit_it() -> None:
    jsonschema.Draft202012Validator.check_schema(report_schema())
    for report in (made.report(16), made.odd(), read_report(OLD)):
        jsonschema.validate(report, report_schema(), cls=jsonschema.Draft202012Validator)


def test_the_published_file_is_the_schema() -> None:
    asset = files("weighbridge.report").joinpath("assets", "report.schema.json")
    assert json.loads(asset.read_text(encoding="utf-8")) == report_schema(), (
        "write it again: weighbridge schema --report"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "passed"),
        ("seconds", -1),
        ("measurements", []),
        ("line", 0),
        ("inputs", "invented"),
        ("artifacts", {"baseline": None}),
        ("steps", [{"step": "prune: l1"}]),
        ("verdicts", [{**made.verdict("size", "pass", {}, 4), "limit": {"max": "5"}}]),
        ("verdicts", [made.verdict("size", "unmeasured", {"max": 5}, 4)]),
        ("verdicts", [{**made.verdict("size", "pass", {}, 4), "limit": "<= 5"}]),
    ],
)
def test_schema_and_reader_refuse_the_same(key: str, value: object, tmp_path: Path) -> None:
    report = made.report(1)
    report["rows"][0][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, report_schema(), cls=jsonschema.Draft202012Validator)
    with pytest.raises(UsageError, match=rf"is no report of schema 2: rows\.0\.{key}"):
        read_report(written(report, tmp_path))


def test_schema_2_is_read_as_it_is_unknown_keys_included(tmp_path: Path) -> None:
    report = {**made.report(16), "added_later": 1}
    assert read_report(written(report, tmp_path)) == report


def test_schema_1_is_brought_up() -> None:
    report = read_report(OLD)
    first, bad = report["rows"][0], report["rows"][-1]
    assert {verdict["threshold"]: verdict["limit"] for verdict in first["verdicts"]} == {
        "accuracy_drop": {"max": 0.01},
        "size_ratio": {"min": 1.5},
        "speedup": {"min": 1.1},
        "fidelity": {"min": 25, "max": 90},
        "nonzero": {"equals": 5568},
        "operators": {"stated": "only Conv, Relu, 2 exceptions at most"},
        "quantized": {"min": 1, "stated": "8-bit per_channel"},
        "round_trip": {},
    }
    assert first["artifacts"]["candidate"]["format"] == "onnx"
    assert first["artifacts"]["candidate"]["files"][0]["path"] == "reports/artifacts/x/candidate.onnx"
    assert (first["inputs"], bad["inputs"]) == ("data", "none")
    assert bad["artifacts"] == {"baseline": None, "candidate": None}
    assert bad["verdicts"][0]["limit"] == {}


@pytest.mark.parametrize("name", [sink.name for sink in REPORTS if isinstance(sink, TextReport)])
def test_every_format_shows_schema_1(name: str, tmp_path: Path) -> None:
    paths = REPORTS.get(name).write(read_report(OLD), tmp_path, "old")
    assert paths == [path for path in tmp_path.iterdir() if path.name.startswith("old.")]
    assert all(path.stat().st_size for path in paths)


def test_a_sink_that_is_no_text_writes_what_it_likes(tmp_path: Path) -> None:
    class Folder(TextReport):
        name, suffix = "folder", ""

        def render(self, report: Any) -> str:
            raise AssertionError("not asked for")

        def write(self, report: Any, folder: Path, stem: str = "latest") -> list[Path]:
            paths = [folder / stem / f"{index}.txt" for index, _ in enumerate(report["rows"])]
            for path in paths:
                path.parent.mkdir(exist_ok=True)
                path.write_text("a row")
            return paths

    assert len(Folder().write(made.report(3), tmp_path)) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no report: it cannot be read as JSON"),
        (b"\xff\xfe{", "is no report: it cannot be read as JSON"),
        (b"[" * 100_000, "is no report: it cannot be read as JSON (it is nested too deeply)"),
        (b'{"schema": 2, "rows": [NaN]}', "(NaN is not JSON)"),
        (b'{"schema": 2, "rows": [1e308]}', "a number is larger than 1e+300"),
        (b"[" + b"9" * 400 + b"]", "a number is larger than 1e+300"),
        (b"[]", "a report is an object with the keys schema and rows"),
        (b'{"name": "a package"}', "a report is an object with the keys schema and rows"),
        (b'{"schema": 3, "rows": []}', "is of report schema '3'; this version of Weighbridge reads 1 and 2"),
        (b'{"schema": true, "rows": []}', "is of report schema 'True'"),
        (b'{"schema": {}, "rows": []}', "is of report schema '{}'"),
        (b'{"schema": 1}', "is no report of schema 1"),
        (b'{"schema": 1, "rows": 5}', "is no report of schema 1"),
        (b'{"schema": 1, "rows": [5]}', "is no report of schema 1"),
        (b'{"schema": 2, "rows": []}', "is no report of schema 2: created: Field required"),
    ],
)
def test_anything_else_is_one_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_report(path)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert sentence in text
    assert "\n" not in text
    assert len(text) < 400


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_report(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_report(tmp_path)


@once
@given(content=st.binary(max_size=200))
def test_bytes_never_crash_the_reader(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_report(path)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.just("\ud800"),
    st.just("<= 1e999"),
    st.just(">= - and <= ."),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be replaced in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


@pytest.mark.parametrize("schema", [1, 2])
@settings(once, max_examples=40)
@given(data=st.data())
def test_a_damaged_report_is_refused_or_shown(schema: int, data: st.DataObject, tmp_path: Path) -> None:
    sound = json.loads(OLD.read_text(encoding="utf-8")) if schema == 1 else made.report(4, layers=1)
    sound["rows"] = sound["rows"][:2] + sound["rows"][-1:]
    report = copy.deepcopy(sound)
    place = data.draw(st.sampled_from([place for place in places(sound) if place]))
    target = report
    for key in place[:-1]:
        target = target[key]
    if data.draw(st.booleans()):
        target[place[-1]] = data.draw(JSON)
    else:
        del target[place[-1]]
    path = written(report, tmp_path)
    try:
        read = read_report(path)
    except UsageError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said
    for sink in (sink for sink in REPORTS if isinstance(sink, TextReport) and not said):
        sink.write(read, tmp_path, "shown")
