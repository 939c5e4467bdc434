"""`weighbridge init`: from a model and its samples to a gate that is green, can fail, and says what it cannot do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import report_of, samples, statuses
from tests.ways.made import in_folder, wide

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_folder(pytester.path, monkeypatch)


def init(*arguments: str) -> int:
    """Without speed: the tutorial's test has it."""
    return main(["init", "model.onnx", *arguments, "--no-bench"])


def thresholds(path: str) -> dict[str, Any]:
    (case,) = load_cases(Path(path))
    return {ref.name: ref.limit for ref in case.thresholds}


def test_limits_are_what_was_measured_plus_a_margin(project: Path, pytester: pytest.Pytester) -> None:
    assert init("--data", "samples.npz") == 0
    (case,) = load_cases(Path("cases/model/gate.yaml"))
    pytester.runpytest_inprocess("cases/model/gate.yaml").assert_outcomes(passed=4)
    (row,) = report_of(project)["rows"]
    measured = {one["threshold"]: one["measured"] for one in row["verdicts"]}
    limits = thresholds("cases/model/gate.yaml")
    assert limits["accuracy_drop"].max == pytest.approx(max(measured["accuracy_drop"], 0) + 0.01, abs=0.001)
    assert limits["size_ratio"].min == pytest.approx(measured["size_ratio"] * 0.95, abs=0.01)
    assert measured["fidelity"] - 4 <= limits["fidelity"].min <= measured["fidelity"] - 3
    assert case.recipe[0].kind == "quantize"


def test_the_gate_fails_for_a_recipe_that_is_worse(project: Path, pytester: pytest.Pytester) -> None:
    """The largest layer left in float."""
    assert init("--data", "samples.npz") == 0
    path = Path("cases/model/gate.yaml")
    path.write_text(re.sub(r"(quantize: \w+)\n", r"\1\n    exclude: ['2']\n", path.read_text(), count=1))
    pytester.runpytest_inprocess(str(path))
    assert statuses(project)["gate::size_ratio"] == "fail"


def test_samples_without_a_calibration_split_are_split(project: Path) -> None:
    assert init("--data", "samples.npz") == 0
    text = Path("cases/model/data.py").read_text()
    found: dict[str, Any] = {"__file__": str(project / "cases/model/data.py")}
    exec(text, found)
    splits = found["splits"]()
    counts = {name: len(targets) for name, (_, targets) in splits.items()}
    assert counts == {"calibration": 80, "test": 320}
    rows = np.concatenate([inputs for inputs, _ in splits.values()])
    assert len(np.unique(rows, axis=0)) == 400


def test_splits_of_the_users_own_are_left_alone(project: Path) -> None:
    (test_x, test_y), (x, _) = samples(2, 200), samples(1, 50)
    np.savez("both.npz", test_x=test_x, test_y=test_y, calibration_x=x)
    assert init("--data", "both.npz", "--into", "cases/both") == 0
    assert not Path("cases/both/data.py").exists()
    assert load_cases(Path("cases/both/gate.yaml"))[0].data == "../../both.npz"


def test_a_recipe_that_could_not_be_carried_out_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code that gives no calibration split leaves what needs none."""
    Path("data.py").write_text(
        "import numpy as np\n\ndef splits():\n    found = np.load('samples.npz')\n"
        "    return {'test': (found['x'], found['y'])}\n"
    )
    assert init("--data", "data.py:splits") == 0
    assert "note: static could not be carried out: " in capsys.readouterr().out
    assert load_cases(Path("cases/model/gate.yaml"))[0].recipe[0].method == "dynamic"


def test_without_data_no_accuracy_is_claimed_and_a_stub_is_written(
    project: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init() == 0
    assert "accuracy_drop" not in thresholds("cases/model/gate.yaml")
    stub = Path("cases/model/data.py").read_text()
    assert "# x: float ['n', 16]" in stub
    compile(stub, "data.py", "exec")
    pytester.runpytest_inprocess("cases").assert_outcomes(passed=3)


def test_a_model_that_no_recipe_makes_smaller_says_so_and_holds_what_there_is(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of a few weights is mostly graph, and grows."""
    wide(Path("model.onnx"), hidden=2)
    assert init() == 0
    assert "no standard recipe makes this model smaller" in capsys.readouterr().out
    limits = thresholds("cases/model/gate.yaml")
    assert "size_ratio" not in limits
    assert limits["size"].max > Path("model.onnx").stat().st_size
    assert "No smaller: 0." in Path("cases/model/gate.yaml").read_text()


def test_accuracy_that_is_lost_is_told_and_held_to_what_is_left(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that are the model's own answers on noise: many stand near a boundary, and some flip."""
    wide(Path("model.onnx"), hidden=256)
    x = np.random.default_rng(1).standard_normal((2000, 16)).astype("float32")
    (outputs,) = onnxruntime.InferenceSession("model.onnx").run(None, {"x": x})
    np.savez("samples.npz", x=x, y=np.argmax(outputs, axis=1))
    assert init("--data", "samples.npz", "--max-drop", "1e-6") == 0
    assert "note: every standard recipe loses more than it may; the best, " in capsys.readouterr().out
    assert 0.01 < thresholds("cases/model/gate.yaml")["accuracy_drop"].max < 0.1


@pytest.mark.parametrize(
    "name",
    ["cases/model/gate.yaml", "cases/model/data.py", "pytest.ini", ".github/workflows/weighbridge.yml"],
)
def test_no_file_of_the_users_is_written_over(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# mine\n")
    code = init("--data", "samples.npz")
    if name == "pytest.ini":  # pytest's own settings are no obstacle
        assert code == 0
        assert "which are left alone" in capsys.readouterr().out
    else:
        assert code == 2
        assert f"{name}: the file is there already, and nothing is written over" in capsys.readouterr().err
        assert not Path(".weighbridge").exists(), "it says so before it begins to measure"
    assert path.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("pytest.toml", "[pytest]\n", True),
        ("pyproject.toml", "[tool.pytest]\naddopts = ['-q']\n", True),
        ("pyproject.toml", "[tool.pytest-watch]\nnobeep = true\n", False),
        ("tox.ini", "# [pytest] is in pytest.ini\n", False),
    ],
)
def test_settings_are_written_where_pytest_has_none(
    name: str, text: str, settings: bool, project: Path
) -> None:
    """Beside a pytest.toml a pytest.ini would be read by nobody; a table of another tool's is none of pytest's."""
    Path(name).write_text(text)
    assert init() == 0
    assert Path("pytest.ini").exists() is not settings


def test_an_error_is_held_to_a_share_of_itself(project: Path, pytester: pytest.Pytester) -> None:
    """A point of a mean squared error says nothing."""
    (outputs,) = onnxruntime.InferenceSession("model.onnx").run(None, {"x": samples(2, 400)[0]})
    noise = np.random.default_rng(1).standard_normal(outputs.shape).astype("float32")
    np.savez("samples.npz", x=samples(2, 400)[0], y=outputs + noise)
    assert init("--data", "samples.npz", "--metric", "mse") == 0
    assert 0.05 <= thresholds("cases/model/gate.yaml")["relative_accuracy_drop"].max < 0.2
    pytester.runpytest_inprocess("cases/model/gate.yaml").assert_outcomes(passed=4)


def test_the_users_own_code_may_lie_where_the_case_will(project: Path) -> None:
    own = Path("cases/model/data.py")
    own.parent.mkdir(parents=True)
    own.write_text(
        "import numpy as np\n\ndef splits():\n    found = np.load('samples.npz')\n"
        "    part = lambda rows: (found['x'][rows], found['y'][rows])\n"
        "    return {'calibration': part(slice(50)), 'test': part(slice(50, None))}\n"
    )
    text = own.read_text()
    assert init("--data", "cases/model/data.py:splits") == 0
    assert load_cases(Path("cases/model/gate.yaml"))[0].data == "data.py:splits"
    assert own.read_text() == text


def test_a_second_model_has_its_own_folder_and_the_same_workflow(project: Path) -> None:
    assert init() == 0
    Path("model.onnx").rename("other.onnx")
    assert main(["init", "other.onnx", "--no-bench"]) == 0
    assert Path("cases/other/gate.yaml").is_file()


def test_a_folder_that_pytest_would_pass_by_is_named_in_its_settings(
    project: Path, pytester: pytest.Pytester
) -> None:
    assert init("--into", "gates/net") == 0
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("text", "into", "lacking"),
    [
        ("testpaths = ['tests']\n", "cases/model", ["testpaths = ['tests', 'cases']"]),
        ("addopts = '-q'\n", "gates", ["weighbridge_cases = cases/*.yaml cases/*.yml gates/*.yaml"]),
        (
            "testpaths = 'tests unit'\n",
            "gates/net",
            ["testpaths = tests unit gates", "weighbridge_cases = cases/*.yaml cases/*.yml gates/*.yaml"],
        ),
    ],
)
def test_settings_that_leave_the_gate_out_are_told_and_the_gate_is_named(
    text: str,
    into: str,
    lacking: list[str],
    project: Path,
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`pytest --bench` was green there, with no case in it: many projects have `testpaths`."""
    Path("tests").mkdir()
    Path("tests/test_mine.py").write_text("def test_mine(): pass\n")
    settings = Path("pyproject.toml")
    settings.write_text(f"[tool.pytest.ini_options]\n{text}")
    assert init("--into", into) == 0
    told = capsys.readouterr().out
    assert f"next: pytest {into}/gate.yaml --bench" in told
    assert [line.strip() for line in told.splitlines() if " = " in line and line.startswith("    ")][
        -len(lacking) :
    ] == lacking
    ran = re.search(r"run: pytest (\S+)", Path(".github/workflows/weighbridge.yml").read_text())
    assert ran
    pytester.runpytest_inprocess(ran[1]).assert_outcomes(passed=3)
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    pasted = [re.sub(r"= ([^\['].*)", r"= '\1'", line) for line in lacking]
    kept = "" if "testpaths" in text else text
    settings.write_text("[tool.pytest.ini_options]\n" + kept + "\n".join(pasted))
    pytester.runpytest_inprocess().assert_outcomes(passed=4)


@pytest.mark.parametrize(
    "text", ["testpaths = ['.']\n", "testpaths = 'tests ca*'\n", "testpaths = ['absent']\n"]
)
def test_settings_that_find_the_gate_are_left_in_peace(
    text: str, project: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """They look like those that do not."""
    Path("tests").mkdir()
    Path("pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{text}")
    assert init() == 0
    told = capsys.readouterr().out
    assert "does not find this gate" not in told
    assert "next: pytest --bench" in told
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


def test_a_model_that_does_not_open_is_told_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each recipe stumbled over it in its own words."""
    weight = numpy_helper.from_array(np.ones((16, 4), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Nowhere", ["h"], ["y"], domain="mine"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), "model.onnx")
    assert init("--data", "samples.npz") == 2
    told = capsys.readouterr().err
    assert "the model itself cannot be run: open: ONNX Runtime cannot load the model: " in told
    assert told.count("Nowhere") == 1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("image", "mask"),
            "the model has no input 'mask' (valid: image); if these are the targets, say `targets: mask`",
        ),
        (
            ("x", "y"),
            "say `metric: {torchmetrics: MulticlassJaccardIndex, num_classes: 4}`, or write your own",
        ),
    ],
)
def test_a_fault_of_the_data_is_told_without_the_recipes(
    names: tuple[str, str], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a network of convolutions `dynamic` gives up before it comes to the data, which is no reason to tell."""
    weight = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6, 6])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "model.onnx"
    )
    random = np.random.default_rng(0)
    images, masks = random.standard_normal((90, 1, 8, 8)).astype("float32"), random.integers(0, 4, (90, 6, 6))
    np.savez("masks.npz", **dict(zip(names, (images, masks), strict=True)))  # type: ignore[arg-type]  # as in tests/projects.py
    assert init("--data", "masks.npz") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("weighbridge: data: ")
    assert said in told


@pytest.mark.slow
def test_a_metric_of_torchmetrics_is_named_as_in_a_case(project: Path, pytester: pytest.Pytester) -> None:
    assert init("--data", "samples.npz", "--metric", "{torchmetrics: MulticlassF1Score, num_classes: 4}") == 0
    (case,) = load_cases(Path("cases/model/gate.yaml"))
    assert case.metric == {"torchmetrics": "MulticlassF1Score", "num_classes": 4}
    pytester.runpytest_inprocess("cases").assert_outcomes(passed=4)


@pytest.mark.parametrize(("stated", "told"), [("", True), ("grade.higher_is_better = False\n", False)])
def test_a_metric_that_does_not_say_which_way_it_is_better_is_told(
    stated: str, told: bool, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(
        f"def grade(outputs, targets):\n    return outputs.argmax(1) != targets\n\n\n{stated}"
    )
    assert init("--data", "samples.npz", "--metric", "mine.py:grade", "--max-drop", "0.9") == 0
    note = "note: mine.py:grade is taken as better the higher it is, since neither it nor its name says so"
    assert (note in capsys.readouterr().out) is told


def test_a_folder_that_cannot_be_written_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands where the folder would: root writes into any folder that is merely protected."""
    Path(".weighbridge").write_text("")
    assert init() == 2
    assert ".weighbridge/try/model, where recipes are tried, cannot be written: " in capsys.readouterr().err


def test_a_recipe_that_aims_at_a_limit_is_held_to_the_one_that_it_aimed_at(
    project: Path, pytester: pytest.Pytester
) -> None:
    """With the usual margin `auto` would aim at another limit, make another file, and miss what was measured of this one."""
    (outputs,) = onnxruntime.InferenceSession("model.onnx").run(None, {"x": samples(2, 400)[0]})
    noise = np.random.default_rng(1).standard_normal(outputs.shape).astype("float32")
    np.savez("samples.npz", x=samples(2, 400)[0], y=outputs + noise * 0.05 * outputs.std())
    assert init("--data", "samples.npz", "--metric", "mse") == 0
    (case,) = load_cases(Path("cases/model/gate.yaml"))
    assert case.recipe[0].method == "auto"
    assert thresholds("cases/model/gate.yaml")["relative_accuracy_drop"].max == 0.01
    pytester.runpytest_inprocess("cases/model/gate.yaml").assert_outcomes(passed=4)
