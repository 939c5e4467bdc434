"""The JSON Schema that editors use: valid itself, and of one mind with the validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from weighbridge.case.schema import case_schema
from weighbridge.case.text import read

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
SHIPPED = sorted((HERE.parents[1] / "cases").rglob("*.yaml"))
# What a schema can see: keys, types, ranges, names. It sees no order, no needs, no duplicates.
SEEN = [
    "a_list",
    "amount_out_of_range",
    "cases_not_a_list",
    "empty_model",
    "empty_thresholds",
    "engine_options",
    "just_text",
    "marks_and_requires",
    "matrix_list",
    "method_not_first",
    "misspelt_everywhere",
    "names",
    "null_values",
    "unknown_names",
    "no_model",
    "no_thresholds",
    "two_models",
    "wrong_option_types",
    "wrong_types",
    "yaml_11_words",
    "weights_alone",
]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = case_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", [*GOOD, *SHIPPED], ids=lambda path: path.stem)
def test_it_accepts_what_the_tool_accepts(validator: Any, path: Path) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(read(path).data)]
    assert errors == []


@pytest.mark.parametrize("name", SEEN)
def test_it_refuses_what_it_can_see(validator: Any, name: str) -> None:
    assert not validator.is_valid(read(HERE / "bad" / f"{name}.yaml").data)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"modle": {}}, "$"),
        ({"model": {"torhc": "m.py:net"}}, "$.model"),
        ({"thresholds": {"acuracy_drop": 1}}, "$.thresholds"),
        ({"thresholds": {"size": {"mxa": 1}}}, "$.thresholds.size"),
        ({"recipe": [{"prune": "l1_unstructured", "amonut": 0.5}]}, "$.recipe[0]"),
        ({"requires": [{"pakage": "x"}]}, "$.requires[0]"),
        ({"engine": {"name": "torch", "thread": 2}}, "$.engine"),
        ({"matrix": [1]}, "$.matrix"),
    ],
)
def test_it_points_at_the_misspelt_key(validator: Any, change: dict[str, Any], where: str) -> None:
    good = {"model": {"torch": "m.py:net"}, "thresholds": {"size": 1}}
    assert validator.is_valid(good)
    assert where in {error.json_path for error in validator.iter_errors({**good, **change})}
