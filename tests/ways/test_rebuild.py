"""The manifest beside an artifact, and `weighbridge rebuild`: the artifact again, or what has changed since."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load
from tests.projects import as_onnx, trained

from weighbridge.cli.main import main
from weighbridge.core.code import module_files
from weighbridge.core.files import file_digest
from weighbridge.run.manifest import _revision

Project = Callable[..., Path]
TRAINED = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe:
  - prune: l1_unstructured
    amount: 0.5
  - finetune: supervised
    epochs: 1
thresholds:
  size_ratio: 0.9
"""
STATIC = """
model: {onnx: net.onnx}
data: model.py:splits
recipe:
  - quantize: static
thresholds:
  size_ratio: 2
"""
PLACE = "reports/artifacts/cases/net.yaml/net"


def manifest_of(folder: Path) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads((folder / PLACE / "manifest.json").read_text(encoding="utf-8"))
    return stated


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that asks for `made` leaves it for the others."""
    return tmp_path_factory.mktemp("kept") / "project"


@pytest.fixture
def made(kept: Path, project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose case was pruned and trained on."""
    if kept.exists():
        shutil.copytree(kept, pytester.path, dirs_exist_ok=True)
    else:
        project(net=TRAINED)
        pytester.runpytest_inprocess().assert_outcomes(passed=1)
        shutil.copytree(pytester.path, kept)
    monkeypatch.chdir(pytester.path)
    return pytester.path


def rebuild(*words: str) -> int:
    return main(["rebuild", f"{PLACE}/manifest.json", "--executor", "inline", *words])


def test_a_manifest_says_what_went_in_and_what_came_out(made: Path) -> None:
    stated = manifest_of(made)
    stages = stated["stages"]
    assert [one["stage"] for one in stages] == ["prune: l1_unstructured", "finetune: supervised"]
    assert stages[1]["stated"] == {"epochs": 1}
    assert stages[1]["options"]["epochs"] == 1
    assert stages[1]["options"].keys() > stages[1]["stated"].keys()
    assert stages[0]["seed"] != stages[1]["seed"]
    assert {"cases/model.py", "cases/net.safetensors"} <= set(stated["files"])
    assert set(stated["data"]) == {"train"}
    (file,) = stated["artifact"]["files"]
    assert (made / PLACE / file["path"]).stat().st_size == file["bytes"]
    assert {"python", "weighbridge", "torch", "onnxruntime"} <= set(stated["versions"])
    assert str(made) not in json.dumps(stated)


def test_the_same_case_has_the_same_manifest_from_the_store_and_anew(
    made: Path, pytester: pytest.Pytester
) -> None:
    path = made / PLACE / "manifest.json"
    first = path.read_bytes()
    path.unlink()
    pytester.runpytest_inprocess()
    assert path.read_bytes() == first
    pytester.runpytest_inprocess("--fresh")
    assert path.read_bytes() == first


def test_an_artifact_is_made_again_byte_for_byte(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rebuild("-o", "again") == 0
    assert "the same, byte for byte" in capsys.readouterr().out
    (file,) = manifest_of(made)["artifact"]["files"]
    assert (made / "again" / file["path"]).read_bytes() == (made / PLACE / file["path"]).read_bytes()
    assert (made / "again/manifest.json").read_bytes() == (made / PLACE / "manifest.json").read_bytes()
    assert rebuild("-o", "again") == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("cases/net.yaml", "amount: 0.5", "amount: 0.6", "stages.1.stated.amount: 0.5, here 0.6"),
        ("cases/net.yaml", "data:", "seed: 1\ndata:", "seed: 0, here 1"),
        ("cases/model.py", "nn.ReLU()", "nn.Sigmoid()", "files.cases/model.py: "),
        ("cases/model.py", 'part("train")', 'part("test")', "data.train: "),
        ("cases/net.yaml", "  - finetune: supervised\n    epochs: 1\n", "", "stages: "),
    ],
)
def test_what_was_changed_since_is_named(
    file: str, old: str, new: str, told: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / file).write_text((made / file).read_text().replace(old, new))
    assert rebuild() == 1
    assert f"    {told}" in capsys.readouterr().out


def test_a_change_that_makes_no_other_artifact_is_none(made: Path) -> None:
    path = made / "cases/net.yaml"
    path.write_text(path.read_text().replace("size_ratio: 0.9", "size_ratio: 1.5  # more") + "repeat: 3\n")
    assert rebuild() == 0


def test_a_case_that_cannot_be_carried_out_is_told(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "cases/net.safetensors").unlink()
    assert rebuild() == 3
    assert "it could not be made here: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "case", ["../other/net.yaml::net", "/etc/net.yaml::net", "cases/../../net.yaml::net"]
)
def test_a_manifest_that_leads_out_of_the_project_runs_nothing(
    case: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made / PLACE / "manifest.json"
    path.write_text(json.dumps({**manifest_of(made), "case": case}))
    calls = (made / "cases/calls.txt").read_bytes()
    assert rebuild() == 2
    assert "lies outside of" in capsys.readouterr().err
    assert (made / "cases/calls.txt").read_bytes() == calls


def named(made: Path, case: str, to: str = f"{PLACE}/manifest.json") -> None:
    """Has the manifest name another case."""
    text = json.dumps({**manifest_of(made), "case": case})
    (made / to).parent.mkdir(parents=True, exist_ok=True)
    (made / to).write_text(text)


def planted(folder: Path) -> Path:
    """A case whose code leaves a mark where it is imported."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "ran.txt"
    (folder / "model.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (folder / "e.yaml").write_text(TRAINED)
    (folder / "conftest.py").write_text(f"open({str(mark)!r}, 'w')\n")
    return mark


@pytest.mark.parametrize(
    ("folder", "manifest"),
    [
        (PLACE, f"{PLACE}/manifest.json"),
        ("reports/artifacts", f"{PLACE}/manifest.json"),
        ("reports", f"{PLACE}/manifest.json"),
        (".weighbridge/kept", f"{PLACE}/manifest.json"),
        ("came/artifacts/more", "came/artifacts/cases/net/manifest.json"),
        ("came/more", "came/manifest.json"),
    ],
)
def test_a_case_that_may_have_come_with_the_manifest_is_not_run(
    folder: str, manifest: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = planted(made / folder)
    named(made, f"{folder}/e.yaml::e", to=manifest)
    assert main(["rebuild", manifest, "--executor", "inline"]) == 2
    assert "came along with the manifest" in capsys.readouterr().err
    assert not mark.exists()


def test_a_link_in_the_project_leads_to_no_case_that_came_along(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = planted(made / "reports")
    (made / "linked").symlink_to(made / "reports")
    named(made, "linked/e.yaml::e")
    assert rebuild() == 2
    assert "lies in reports" in capsys.readouterr().err
    assert not mark.exists()


def test_a_manifest_at_the_top_of_the_project_names_its_cases(made: Path) -> None:
    named(made, "cases/net.yaml::net", to="manifest.json")
    assert main(["rebuild", "manifest.json", "--executor", "inline"]) == 0


def test_in_a_checkout_only_a_tracked_case_is_run(
    made: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = planted(made / "handed/on")
    pytester.run("git", "init", "-q")
    named(made, "handed/on/e.yaml::e")
    assert rebuild() == 2
    assert "which git does not track here" in capsys.readouterr().err
    assert not mark.exists()
    pytester.run("git", "add", "cases")
    named(made, "cases/net.yaml::net")
    assert rebuild() == 0


@pytest.mark.parametrize("path", ["cases/a\0.yaml", "a" * 5000, "cases/\ud800.yaml"])
def test_a_case_that_can_be_no_path_is_told(
    path: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named(made, f"{path}::net")
    assert rebuild() == 2
    assert main(["sensitivity", f"{path}::net"]) == 2
    assert capsys.readouterr().err.count("case file") == 2


FALSE = "0" * 64


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda stated: stated["stages"][0].update(stage="quantize: none"), "stages.1.stage: quantize: none"),
        (
            lambda stated: stated["files"].update({"cases/model.py": FALSE}),
            "files.cases/model.py: 000000000000…",
        ),
        (lambda stated: stated["data"].update(train=FALSE), "data.train: 000000000000…"),
        (lambda stated: stated["artifact"]["files"][0].update(bytes=1), "artifact.files.1.bytes: 1, here"),
    ],
)
def test_a_manifest_that_says_of_the_same_bytes_what_is_not_so(
    change: Callable[[Any], None], told: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = manifest_of(made)
    change(stated)
    (made / PLACE / "manifest.json").write_text(json.dumps(stated))
    assert rebuild() == 4
    said = capsys.readouterr().out
    assert "the same bytes, but the manifest says otherwise of:" in said
    assert f"    {told}" in said


def test_another_file_beside_the_manifest_is_not_vouched_for(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ships is the file that lies there, and not the one that could be made again."""
    (file,) = manifest_of(made)["artifact"]["files"]
    place = made / PLACE / file["path"]
    there = place.read_bytes()
    place.unlink()
    place.write_bytes(there[:-1] + bytes([there[-1] ^ 1]))
    assert rebuild() == 1
    said = capsys.readouterr().out
    assert "beside the manifest lies another artifact than it states, not to ship: candidate/" in said
    place.unlink()
    assert rebuild() == 0, "a manifest may stand alone"


def test_the_same_bytes_at_a_later_commit_are_the_same(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / PLACE / "manifest.json").write_text(json.dumps(manifest_of(made) | {"commit": "f" * 40}))
    assert rebuild() == 0
    assert "    commit: ffffffffffff" in capsys.readouterr().out


def test_a_pattern_longer_than_any_name_is_a_pattern(project: Project, pytester: pytest.Pytester) -> None:
    pattern = f"[{'0' * 5000}]"
    project(net=TRAINED.replace("amount: 0.5", f"amount: 0.5\n    exclude: ['{pattern}']"))
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    assert manifest_of(pytester.path)["stages"][0]["stated"]["exclude"] == [pattern]


def test_a_module_longer_than_any_name_is_none(tmp_path: Path) -> None:
    assert module_files("a" * 5000, tmp_path, tmp_path) == []


def test_what_lies_elsewhere_stands_by_its_name(
    project: Project, pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And two files of one name are two."""
    cases = project()
    one, two = (tmp_path_factory.mktemp(name) / "it" for name in ("one", "two"))
    for folder in (one, two):
        shutil.copytree(cases, folder)
    (two / "model.py").write_text((cases / "model.py").read_text() + "# another\n")
    (two / "loss.py").write_text("from torch.nn.functional import cross_entropy as loss\n")
    case = TRAINED.replace(
        "model: {torch: model.py:net, weights: ", f"model: {{torch: {one}/model.py:net, weights: {one}/"
    )
    case = case.replace("data: ", f"data: {two}/").replace(
        "epochs: 1", f"epochs: 1\n    loss: {two}/loss.py:loss"
    )
    (cases / "net.yaml").write_text(case)
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    stated = manifest_of(pytester.path)
    assert stated["model"] == {"format": "torch", "reference": "model.py:net", "weights": "net.safetensors"}
    assert stated["stages"][1]["stated"] == {"epochs": 1, "loss": "loss.py:loss"}
    found = [digest for name, digest in stated["files"].items() if name.startswith("model.py")]
    assert sorted(found) == sorted(file_digest(folder / "model.py") for folder in (one, two))
    assert not any(str(folder.parent) in json.dumps(stated) for folder in (one, two))


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        '{"manifest": 2, "case": "a"}',
        '{"manifest": 1, "case": "a", "artifact": {"files": 3}}',
    ],
)
def test_what_is_no_manifest_is_told(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.json").write_text(text)
    assert main(["rebuild", "m.json"]) == 2
    assert "m.json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_quantized_file_is_made_again_by_a_worker(project: Project, pytester: pytest.Pytester) -> None:
    cases = project(net=STATIC)
    (cases / "net.onnx").write_bytes(as_onnx(load(trained())))
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
    assert "cases/net.onnx" in manifest_of(pytester.path)["files"]
    done = pytester.run(sys.executable, "-m", "weighbridge", "rebuild", f"{PLACE}/manifest.json")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["the same, byte for byte: 1 file(s) of cases/net.yaml::net"])


def test_a_finished_file_has_no_manifest(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = project(net="model: {onnx: net.onnx}\ninputs: random\nthresholds: {size: 1 MB}\n")
    (cases / "net.onnx").write_bytes(as_onnx(load(trained())))
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    assert not list(pytester.path.glob("reports/artifacts/**/manifest.json"))


def test_the_commit_is_the_projects(made: Path, pytester: pytest.Pytester) -> None:
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    pytester.run("git", "init", "-q")
    pytester.run("git", "add", "cases")
    pytester.run(*git, "commit", "-qm", "one")
    _revision.cache_clear()
    pytester.runpytest_inprocess()
    head = pytester.run("git", "rev-parse", "HEAD").outlines[0]
    assert (manifest_of(made)["commit"], manifest_of(made)["dirty"]) == (head, True)
