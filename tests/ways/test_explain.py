"""`weighbridge explain` and `weighbridge plan`: what became of a case, and what a run would do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import CASE

from weighbridge.cli.main import main

Project = Callable[..., Path]
QUANTIZED = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe:
  - quantize: static
    engine: onnxruntime
    exclude: ['2']
thresholds: {fidelity: 90}
"""


@pytest.mark.slow
def test_a_failed_case_is_explained_by_layer(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    project(net=QUANTIZED, other=CASE)
    pytester.runpytest_inprocess()
    capsys.readouterr()
    assert main(["explain", "net"]) == 0
    out = capsys.readouterr().out
    assert "✗ net  fidelity" in out
    assert "cases/net.yaml:8" in out
    layers = {line.split()[0]: line for line in out.partition("alone leaves")[2].splitlines() if line.strip()}
    assert layers["0"].endswith("quantized")
    assert " dB " in layers["0"]
    assert "left in float: `exclude` names it" in layers["2"]
    another = re.compile(r"^\S +other\b", re.MULTILINE)
    assert not another.search(out)
    assert main(["explain", "other"]) == 0
    assert another.search(capsys.readouterr().out)


@pytest.mark.parametrize(
    "name", ["net", "cases/net.yaml", "cases/net.yaml::net", "cases/net.yaml::net::accuracy_drop"]
)
def test_a_case_is_found_by_what_pytest_and_the_table_call_it(
    name: str, project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    project()
    pytester.runpytest_inprocess()
    capsys.readouterr()
    assert main(["explain", name]) == 0
    assert "accuracy_drop" in capsys.readouterr().out


def test_what_is_not_there_is_told(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    project()
    assert main(["explain", "net"]) == 2
    assert "there is no report reports/latest.json" in capsys.readouterr().err
    pytester.runpytest_inprocess()
    capsys.readouterr()
    assert main(["explain", "nett"]) == 2
    assert "the report has no case 'nett'; did you mean 'net'?" in capsys.readouterr().err


def test_a_plan_tells_what_is_stored_and_carries_nothing_out(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    project()
    assert main(["plan"]) == 0
    first = capsys.readouterr().out
    assert "cases/net.yaml::net\n    prune: l1_unstructured          to do\n" in first
    assert "measured by torch: accuracy" in first
    assert main(["plan"]) == 0
    assert capsys.readouterr().out == first
    pytester.runpytest_inprocess()
    capsys.readouterr()
    assert main(["plan", "cases/net.yaml"]) == 0
    then = capsys.readouterr().out
    assert "s last time\n    prune: l1_unstructured          stored, took 0" in then
    (pytester.path / "cases/net.yaml").write_text(CASE.replace("amount: 0.5", "amount: 0.6"))
    assert main(["plan"]) == 0
    assert "to do" in capsys.readouterr().out


def test_a_plan_goes_on_after_a_case_that_cannot_begin(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = "requires: [{package: no_such_package, install: pip install no-such-package}]\n"
    broken = CASE.replace("model.py:net", "model.py:broken")
    project(a="model: 3\n", b=broken, c=absent + CASE, d=CASE)
    assert main(["plan"]) == 1
    out = capsys.readouterr().out
    assert "cases/a.yaml:1:" in out
    assert "cannot begin: load: model.py:broken() raised RuntimeError: no such luck" in out
    assert "skipped: " in out
    assert "pip install no-such-package" in out
    assert "cases/d.yaml::d\n    prune: l1_unstructured" in out
