"""`weighbridge sensitivity`: the layer that ruins the output stands first, and sparing it is tried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.ways.made import in_folder

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main

CASE = """
model: {onnx: model.onnx}
data: samples.npz
recipe: [{quantize: dynamic, engine: onnxruntime, per_channel: false}]
thresholds: {accuracy_drop: 0.5}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The second of three layers has one weight that takes all of the scale, and reads next to nothing."""
    here = in_folder(tmp_path, monkeypatch)
    model = onnx.load(here / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "2.weight":
            weight = numpy_helper.to_array(tensor).copy()
            weight[0, 0] = 300
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
        if tensor.name in ("0.weight", "0.bias"):
            first = numpy_helper.to_array(tensor).copy()
            first[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(first, tensor.name))
    onnx.save(model, here / "model.onnx")
    (here / "net.yaml").write_text(CASE)
    return here


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    status = main(["sensitivity", *words, "--executor", "inline"])
    return status, capsys.readouterr()


def test_the_worst_layer_stands_first_and_sparing_it_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = told(capsys, "net.yaml")
    assert status == 0
    rows = said.out.partition("\n\n")[0].splitlines()[2:]
    assert rows[0].split()[0] == "2"
    assert rows[0].count("█") > rows[1].count("█")
    assert "exclude: ['2']    # in quantize: dynamic, line 4" in said.out
    before, after = (float(found) for found in re.findall(r"(?:as it is|with that): (-?[\d.]+) dB", said.out))
    assert after > before + 6
    smaller = [float(found) for found in re.findall(r"([\d.]+)x smaller", said.out)]
    assert smaller[1] < smaller[0]


def test_the_mixed_recipe_is_written_as_a_case_that_gives_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = told(capsys, "net.yaml", "-o", "gates/mixed.yaml")
    assert "wrote gates/mixed.yaml; next: pytest gates/mixed.yaml" in said.out
    (case,) = load_cases(folder / "gates" / "mixed.yaml")
    (step,) = case.recipe
    assert step.options.exclude == ["2"]
    assert step.options.per_channel is False
    assert [ref.name for ref in case.thresholds] == ["accuracy_drop"]
    status, again = told(capsys, "gates/mixed.yaml")
    assert status == 0
    assert next(line for line in again.out.splitlines() if line.startswith("2 ")).count("200 dB") == 1
    before = (folder / "gates" / "mixed.yaml").read_text()
    assert main(["sensitivity", "net.yaml", "-o", "gates/mixed.yaml"]) != 0
    assert (folder / "gates" / "mixed.yaml").read_text() == before


def test_the_proposal_holds_where_it_is_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "net.yaml").write_text(CASE.replace("per_channel: false", "per_channel: false, exclude: ['2']"))
    _, said = told(capsys, "net.yaml")
    rows = {row.split()[0]: row for row in said.out.partition("\nalone")[0].splitlines()[2:]}
    assert "200 dB" in rows["2"]
    assert "200 dB" not in rows["0"]


def test_two_steps_of_one_line_are_told_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The step that lost most is the one whose `exclude` is tried."""
    torch_model = """import torch
def net():
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32), torch.nn.ReLU(),
                               torch.nn.Linear(32, 4))
    with torch.no_grad():
        made[2].weight[0, 0], made[0].weight[0], made[0].bias[0] = 300, 0, 0
    return made
"""
    (folder / "model.py").write_text(torch_model)
    recipe = "[{prune: l1_unstructured, amount: 0.01}, {quantize: dynamic, engine: torch}]"
    (folder / "net.yaml").write_text(
        "model: {torch: model.py:net}\ndata: samples.npz\nallow_chance: true\n"
        f"recipe: {recipe}\nthresholds: {{accuracy_drop: 0.5}}\n"
    )
    _, said = told(capsys, "net.yaml")
    assert "# in quantize: dynamic, line 4" in said.out
    before, after = (float(found) for found in re.findall(r"(?:as it is|with that): (-?[\d.]+) dB", said.out))
    assert after > before + 6


def test_noise_that_no_few_layers_make_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, said = told(capsys, "net.yaml", "--gain", "90")
    assert "noise is spread over the layers" in said.out
    assert "exclude" not in said.out


def test_a_file_that_is_not_written_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = told(capsys, "net.yaml", "--gain", "90", "-o", "mixed.yaml")
    assert status == 1
    assert "mixed.yaml was not written" in said.out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["other.yaml"], "there is no case file other.yaml"),
        (["net.yaml::nte"], "net.yaml has no recipe 'nte'; did you mean 'net'?"),
        (["two.yaml"], "two.yaml has 2 recipes; name one: two.yaml::a, two.yaml::b"),
    ],
)
def test_what_cannot_be_meant_is_told(
    words: list[str], why: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, _, recipe = CASE.partition("recipe:")
    steps = "recipe:" + recipe.partition("thresholds")[0].rstrip()
    limits = "thresholds: {accuracy_drop: 0.5}\n"
    cases = "".join(f"  - name: {name}\n    {steps}\n" for name in "ab")
    (folder / "two.yaml").write_text(f"{head}{limits}cases:\n{cases}")
    status, said = told(capsys, *words)
    assert status == 2
    assert why in said.err


def test_a_case_that_cannot_be_carried_out_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "samples.npz", x=np.zeros((8, 3), dtype=np.float32), y=np.zeros(8, dtype=np.int64))
    status, said = told(capsys, "net.yaml")
    assert status == 1
    assert "nothing is known of single layers" in said.out
    assert "does not take the data's float32" in said.out
