"""The ML-BOM: valid by CycloneDX's own schema, of what passed and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.report import made_reports as made

from weighbridge.contracts import REPORTS

pytest.importorskip("cyclonedx", reason="pip install cyclonedx-python-lib, which ships the schema")


def rendered(report: dict[str, Any]) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(REPORTS.get("cyclonedx").render(report))
    return bill


@cache
def validator() -> Any:
    """Of CycloneDX 1.6, with the schemas that it refers to."""
    from jsonschema import Draft7Validator
    from referencing import Registry, Resource

    folder = files("cyclonedx.schema._res")

    def read(name: str) -> Any:
        return json.loads(folder.joinpath(name).read_text(encoding="utf-8"))

    schema, beside = read("bom-1.6.SNAPSHOT.schema.json"), ("spdx", "jsf-0.82", "cryptography-defs")
    known = [(f"http://cyclonedx.org/schema/{one}.SNAPSHOT.schema.json", one) for one in beside]
    registry: Any = Registry().with_resources(
        [(uri, Resource.from_contents(read(f"{one}.SNAPSHOT.schema.json"))) for uri, one in known]
    )
    return Draft7Validator(schema, registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER)


def faults(bill: dict[str, Any]) -> list[str]:
    return [f"{list(error.path)}: {error.message[:200]}" for error in validator().iter_errors(bill)]


@pytest.mark.parametrize("report", [made.report(12), made.odd(), {**made.report(3), "run": "5f0c2a91" * 4}])
def test_a_bill_keeps_to_the_published_schema(report: dict[str, Any]) -> None:
    assert faults(rendered(report)) == []


def test_the_schema_finds_what_is_wrong() -> None:
    bill = rendered(made.report(3))
    bill["components"][0]["hashes"][0]["content"] = "none"
    del bill["components"][1]["name"]
    assert len(faults(bill)) == 2


def test_only_what_passed_all_of_its_gate_stands_in_it() -> None:
    report = made.report(12)
    passed = [row for row in report["rows"] if row["status"] == "pass"]
    passed[0]["unasked"] = ["accuracy_drop"]
    models = [one for one in rendered(report)["components"] if one["type"] == "machine-learning-model"]
    assert [one["bom-ref"] for one in models] == [row["case"] for row in passed[1:]]
    assert len(passed) > 1


def test_a_run_writes_what_ships_and_what_it_came_of(
    project: Callable[..., Path], pytester: pytest.Pytester
) -> None:
    project()
    pytester.runpytest_inprocess("--report", "cyclonedx").assert_outcomes(passed=2)
    bill = json.loads((pytester.path / "reports/latest.cdx.json").read_text(encoding="utf-8"))
    assert faults(bill) == []
    model, runtime = bill["components"]
    (row,) = json.loads((pytester.path / "reports/latest.json").read_text(encoding="utf-8"))["rows"]
    (candidate,), (baseline,) = (row["artifacts"][side]["files"] for side in ("candidate", "baseline"))
    assert model["hashes"] == [{"alg": "SHA-256", "content": candidate["sha256"]}]
    assert model["pedigree"]["ancestors"][0]["name"] == Path(baseline["path"]).name != model["name"]
    assert model["pedigree"]["ancestors"][0]["hashes"][0]["content"] == baseline["sha256"]
    assert model["pedigree"]["notes"] == 'prune: l1_unstructured {"amount": 0.5}'
    metrics = {one["type"]: one for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    assert metrics["accuracy"]["value"] == f"{row['measurements']['accuracy']['candidate']} fraction"
    assert metrics["threshold accuracy_drop"]["confidenceInterval"]
    assert runtime["name"] == "torch"
    assert bill["dependencies"] == [{"ref": model["bom-ref"], "dependsOn": [runtime["purl"]]}]
