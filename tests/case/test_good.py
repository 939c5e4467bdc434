"""Good files: what they say reaches the `Case`, with YAML 1.2's meanings."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from tests.case.faults import faults_of

from weighbridge.case.load import load_cases
from weighbridge.case.model import Case
from weighbridge.case.text import read
from weighbridge.contracts import Requirement
from weighbridge.environment.requirements import unknown_name
from weighbridge.run.plan import make_plan

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
SHIPPED = sorted((HERE.parents[1] / "cases").rglob("*.yaml"))


def load(name: str) -> list[Case]:
    return load_cases(HERE / "good" / f"{name}.yaml")


@pytest.mark.parametrize("path", [*GOOD, *SHIPPED], ids=lambda path: path.stem)
def test_a_good_file_has_no_fault_and_can_be_planned(path: Path) -> None:
    assert faults_of(path) == ""
    for case in load_cases(path):
        assert make_plan(case).case is case


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_case_and_its_plan_cross_process_borders(path: Path) -> None:
    for case in load_cases(path):
        plan = make_plan(case)
        assert pickle.loads(pickle.dumps(plan)) == plan


def test_the_design_example() -> None:
    (case,) = load("design")
    assert (case.name, case.line, case.model.weights) == ("design", 2, "cnn.safetensors")
    prune, finetune, quantize = case.recipe
    assert (prune.options.amount, prune.options.scope, prune.line) == (0.5, "global", 9)
    assert (finetune.options.epochs, finetune.options.lr) == (2, 1e-3)
    assert (quantize.key, quantize.options.per_channel) == ("quantize:static@onnxruntime", True)
    assert {ref.name: str(ref.limit) for ref in case.thresholds} == {
        "accuracy_drop": "<= 0.01",
        "size_ratio": ">= 3.5",
        "speedup": ">= 1.2",
        "nonzero": "<= 60000",
    }
    assert [(ref.line, ref.column) for ref in case.thresholds] == [(18, 3), (19, 3), (20, 3), (21, 3)]


def test_units_become_numbers() -> None:
    (case,) = load("release")
    limits = {ref.name: ref.limit for ref in case.thresholds}
    assert limits["size"].max == 5_000_000
    assert limits["accuracy_drop"].max == pytest.approx(0.01)
    assert (limits["accuracy"].min, limits["accuracy"].confidence) == (0.9, 0.99)
    assert (limits["size_ratio"].min, limits["fidelity"].min, limits["nonzero"].equals) == (3, 20, 4000)
    (case,) = load("budgets_alone")
    assert [ref.limit.max for ref in case.thresholds] == [5 * 2**20, 60_000, 0.5]


def test_bookkeeping() -> None:
    (case,) = load("bookkeeping")
    assert (case.name, case.seed, case.allow_chance, case.skip) == ("named", 3, True, "not on this machine")
    assert case.inputs == {"x": (3, 8, 8), "mask": (8,)}
    assert case.xfail == {"size_ratio": "zeros take as much room as other numbers"}
    assert case.marks == ("slow", "nightly", "xfails_on_arm")
    assert case.requires == (
        Requirement("isa", "avx512_vnni"),
        Requirement("package", "sklearn", "pip install scikit-learn"),
        Requirement("path", "data/images"),
        Requirement("engine", "onnxruntime"),
    )


def test_a_package_that_is_there_is_found_without_listing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case of a file may need it, and listing what is installed takes a third of a second."""

    def list_all() -> None:
        raise AssertionError("every package was listed")

    monkeypatch.setattr("weighbridge.environment.requirements.metadata.packages_distributions", list_all)
    assert unknown_name("package", "numpy") is None


def test_matrix_and_cases() -> None:
    cases = {case.name: case for case in load("cases_and_matrix")}
    assert list(cases) == [
        "as-shared-l1_unstructured,0.3",
        "as-shared-l1_unstructured,0.5",
        "as-shared-random_unstructured,0.5",
        "as-shared-ln_structured,2",
        "own-l1_unstructured,0.9",
    ]
    own = cases["own-l1_unstructured,0.9"]
    assert (own.seed, own.recipe[0].options.amount, own.thresholds[0].name) == (2, 0.9, "nonzero_ratio")
    assert (own.line, own.recipe[0].line, own.thresholds[0].line) == (16, 4, 19)
    assert cases["as-shared-ln_structured,2"].recipe[0].options.amount == 2


def test_expressions_stand_anywhere_and_keep_their_type() -> None:
    cnn, mlp = load("expressions_everywhere")
    assert (cnn.name, mlp.name) == ("cnn-5MB", "mlp-7000")
    assert (cnn.model.reference, cnn.model.weights) == ("model.py:cnn", "cnn-7.safetensors")
    assert (cnn.seed, cnn.engine_options, cnn.marks, cnn.skip) == (7, {"threads": 2}, ("cnn",), None)
    assert (cnn.recipe[0].key, mlp.recipe[0].options.amount) == ("quantize:dynamic@torch", 0.1)
    assert [ref.limit.max or ref.limit.min for ref in cnn.thresholds] == [5e6, 3.5]
    assert ([ref.limit.max or ref.limit.min for ref in mlp.thresholds], mlp.skip) == ([7000, 2], "later")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0", 0),
        ("+12", 12),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("12:30:45", "12:30:45"),
        ("2026-11-22", "2026-11-22"),
        ("=", "="),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("1e3x", "1e3x"),
        ("infinity", "infinity"),
    ],
)
def test_yaml_1_2_meanings(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(f"key: {text}\n")
    found = read(path).data["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", ".NaN"])
def test_yaml_1_2_infinities(tmp_path: Path, text: str) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(f"key: {text}\n")
    assert str(read(path).data["key"]) == text.lower().replace(".", "")


def test_forms_of_data() -> None:
    random, npz, state, tasks = load("forms_of_data")
    assert (random.inputs, random.data, random.targets, random.batch, random.sequence) == (
        "random",
        None,
        None,
        {},
        False,
    )
    assert (npz.data, npz.targets) == ("samples.npz", "answer")
    assert (state.targets, state.batch, state.sequence) == (0, {"state": 1, "gain": None}, True)
    assert tasks.targets == ("kind", "age")
