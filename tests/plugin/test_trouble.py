"""What is wrong with a file or a model concerns its own items and no others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.projects import CASE, report_of, statuses, trained

Project = Callable[..., Path]


def test_a_malformed_file_is_one_failing_item(pytester: pytest.Pytester, project: Project) -> None:
    project(bad="model: {torhc: model.py:net}\nthresholds: {size: lots}\n", net=CASE)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*cases/bad.yaml:1:9: unknown key 'torhc'; did you mean 'torch'?*", "*cases/bad.yaml:2:20: *'lots'*"]
    )
    assert statuses(pytester.path)["case file::case file"] == "error"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a: [", b"- 1", b"\x00", b"{" * 3000])
def test_any_bytes_are_one_failing_item(pytester: pytest.Pytester, project: Project, content: bytes) -> None:
    folder = project()
    (folder / "bad.yaml").write_bytes(content)
    pytester.runpytest_inprocess().assert_outcomes(passed=2, failed=1)


def test_a_folder_called_like_a_case_file(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    (folder / "folder.yaml").mkdir()
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_dangling_link(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    (folder / "link.yaml").symlink_to("nowhere.yaml")
    result = pytester.runpytest_inprocess()
    assert result.parseoutcomes()["passed"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("model.py:net,", "model.py:broken,"),
            "*bad.yaml:2: load: model.py:broken() raised RuntimeError: no such luck",
        ),
        (("model.py:net,", "model.py:nte,"), "*load: model.py has no 'nte'; did you mean 'net'?*"),
        (("model.py:net,", "modle.py:net,"), "*load: no file *modle.py; did you mean 'model.py'?*"),
        (
            ("model.py:net,", "model.py:splits,"),
            "*load: model.py:splits() gave a dict, not a torch.nn.Module",
        ),
        (("net.safetensors", "nte.safetensors"), "*load: no weights file *nte.safetensors*"),
        (
            ("model.py:splits", "model.py:broken"),
            "*data: model.py:broken() raised RuntimeError: no such luck",
        ),
        (
            ("model.py:splits", "model.py:net"),
            "*data: model.py:net() gave a Sequential; it must give*",
        ),
        (
            ("model.py:net,", "no.such.module:net,"),
            "*load: importing no.such.module raised ModuleNotFoundError*",
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_the_users_code_raises(
    pytester: pytest.Pytester, project: Project, change: tuple[str, str], message: str
) -> None:
    assert change[0] in CASE
    project(bad=CASE.replace(*change), net=CASE)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(message)
    assert "Traceback" not in result.stdout.str()
    assert set(statuses(pytester.path).values()) == {"pass", "error"}


def test_system_exit_in_the_users_code(pytester: pytest.Pytester, project: Project) -> None:
    folder = project(bad=CASE.replace("model.py:net,", "exits.py:net,"), net=CASE)
    (folder / "exits.py").write_text("import sys\ndef net(): sys.exit(0)\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines("*bad.yaml:2: load: *SystemExit*")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def write_weights(folder: Path, kind: str) -> str:
    """A checkpoint that must not be believed, of the given kind; gives its name."""
    state = {
        name: torch.as_tensor(array)
        for name, array in torch.load(folder / "state.pt", weights_only=True).items()
    }
    if kind == "truncated safetensors":
        (folder / "w.safetensors").write_bytes(trained()[:1000])
        return "w.safetensors"
    if kind == "empty":
        (folder / "w.safetensors").write_bytes(b"")
        return "w.safetensors"
    if kind == "truncated checkpoint":
        (folder / "w.pt").write_bytes((folder / "state.pt").read_bytes()[:-2000])
        return "w.pt"
    if kind == "pickled module":
        torch.save(torch.nn.Linear(2, 2), folder / "w.pt")
    elif kind == "hostile":
        torch.save({**state, "extra": Hostile(folder / "ran")}, folder / "w.pt")
    elif kind == "hostile plain pickle":
        (folder / "w.pt").write_bytes(pickle.dumps(Hostile(folder / "ran")))
    elif kind == "another model's":
        torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "w.pt")
    elif kind == "not tensors":
        torch.save({"epoch": 3}, folder / "w.pt")
    return "w.pt"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated safetensors", "*load: *w.safetensors cannot be read, it is truncated or no checkpoint*"),
        ("empty", "*load: *w.safetensors cannot be read, it is truncated or no checkpoint*"),
        ("truncated checkpoint", "*load: *w.pt cannot be read, it is truncated or no checkpoint*"),
        (
            "pickled module",
            "*w.pt is not opened: it holds pickled code, which is not run.*`trust: {cases/w.pt: *",
        ),
        ("hostile", "*w.pt is not opened: it holds pickled code*"),
        ("hostile plain pickle", "*w.pt is not opened: it holds pickled code*"),
        ("another model's", "*w.pt does not fit the module: *it lacks *"),
        ("not tensors", "*w.pt holds no state dict of tensors*"),
    ],
)
def test_a_checkpoint_is_read_or_refused_and_never_run(
    pytester: pytest.Pytester, project: Project, kind: str, message: str
) -> None:
    from safetensors.torch import load

    folder = project()
    torch.save(load(trained()), folder / "state.pt")
    name = write_weights(folder, kind)
    (folder / "bad.yaml").write_text(CASE.replace("net.safetensors", name))
    (folder / "zip.yaml").write_text(CASE.replace("net.safetensors", "state.pt"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(message)
    assert not (folder / "ran").exists()


def test_weights_that_are_not_numbers(pytester: pytest.Pytester, project: Project) -> None:
    from safetensors.torch import load, save_file

    folder = project(bad=CASE.replace("net.safetensors", "nan.safetensors"), net=CASE)
    state = load(trained())
    state["4.weight"][0, 0] = float("nan")
    save_file(state, folder / "nan.safetensors")
    result = pytester.runpytest_inprocess("-k", "accuracy_drop")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        "*bad.yaml:*measure: the baseline's outputs are NaN or infinite on 400 of 400 samples*"
    )


ONNX = """
model: {onnx: net.onnx}
recipe:
  - quantize: dynamic
thresholds: {size_ratio: 1}
"""


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\x08\x07" + b"\x00" * 50, None], ids=["empty", "junk", "zeros", "half"]
)
def test_a_truncated_onnx_file(pytester: pytest.Pytester, project: Project, content: bytes | None) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = project(bad=ONNX, net=CASE)
    weight = numpy_helper.from_array(__import__("numpy").ones((16, 400), "float32"), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 400])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]),
        folder / "net.onnx",
    )
    whole = (folder / "net.onnx").read_bytes()
    (folder / "net.onnx").write_bytes(whole[: len(whole) // 2] if content is None else content)
    result = pytester.runpytest_inprocess()
    assert statuses(pytester.path) == {
        "bad::size_ratio": "error",
        "net::accuracy_drop": "pass",
        "net::size_ratio": "pass",
    }
    result.stdout.fnmatch_lines("*bad.yaml:2: load: *net.onnx *no ONNX file*")


def test_a_candidate_that_does_not_load_is_found_on_its_own_line(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project(
        bad="\nmodel: {torch: model.py:net}\ncandidate:\n  onnx: cut.onnx\nthresholds: {size_ratio: 1}\n"
    )
    (folder / "cut.onnx").write_bytes(b"\x08\x07")
    result = pytester.runpytest_inprocess()
    assert statuses(pytester.path)["bad::size_ratio"] == "error"
    result.stdout.fnmatch_lines("*bad.yaml:3: load: *cut.onnx *no ONNX file*")


def test_a_faulty_metric_concerns_the_items_that_read_it(pytester: pytest.Pytester, project: Project) -> None:
    folder = project(bad=f"metric: metric.py:score\n{CASE}", net=CASE)
    (folder / "metric.py").write_text("def score(outputs, targets): return outputs['nothing']\n")
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines("*bad.yaml*measure: metric metric.py:score raised IndexError*")
    assert statuses(pytester.path) == {
        "bad::accuracy_drop": "error",
        "bad::size_ratio": "pass",
        "net::accuracy_drop": "pass",
        "net::size_ratio": "pass",
    }


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def score(outputs, targets): return 'high'", "*metric metric.py:score*"),
        (
            "def score(outputs, targets): return float('nan')",
            "*metric metric.py:score gave nan for the candidate*",
        ),
        (
            "def score(outputs, targets): return [float('nan')] * len(targets)",
            "*metric metric.py:score gave nan*",
        ),
        ("def score(outputs, targets): return None", "*metric metric.py:score*"),
        ("def score(outputs): return 1.0", "*metric metric.py:score raised TypeError*"),
        ("score = 3", "*metric.py:score is a int, not a function*"),
        ("raise ValueError('broken file')", "*importing metric.py raised ValueError: broken file*"),
    ],
)
def test_metrics_that_give_no_number(
    pytester: pytest.Pytester, project: Project, code: str, message: str
) -> None:
    folder = project(bad=f"metric: metric.py:score\n{CASE}")
    (folder / "metric.py").write_text(code)
    result = pytester.runpytest_inprocess("-k", "accuracy_drop")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(message)


def test_a_case_file_named_on_the_command_line_is_one(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    (pytester.path / "elsewhere").mkdir()
    (pytester.path / "elsewhere" / "own.yml").write_text(
        CASE.replace("model.py", f"{folder}/model.py").replace("net.safetensors", f"{folder}/net.safetensors")
    )
    pytester.runpytest_inprocess("elsewhere").assert_outcomes()
    pytester.runpytest_inprocess("elsewhere/own.yml").assert_outcomes(passed=2)


def test_other_yaml_of_the_repository_is_left_alone(pytester: pytest.Pytester, project: Project) -> None:
    project()
    for name in (".github/workflows/ci.yaml", "compose.yml", "docs/cases.yaml", ".pre-commit-config.yaml"):
        (pytester.path / name).parent.mkdir(parents=True, exist_ok=True)
        (pytester.path / name).write_text("services: [broken")
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_the_report_has_every_case(pytester: pytest.Pytester, project: Project) -> None:
    project(bad="- 1", broken=CASE.replace("model.py:net", "model.py:broken"), net=CASE)
    pytester.runpytest_inprocess()
    rows = {row["case"]: row for row in report_of(pytester.path)["rows"]}
    assert {name: (row["status"], row["stage"]) for name, row in rows.items()} == {
        "cases/bad.yaml::case file": ("error", "collect"),
        "cases/broken.yaml::broken": ("error", "load"),
        "cases/net.yaml::net": ("pass", "done"),
    }
