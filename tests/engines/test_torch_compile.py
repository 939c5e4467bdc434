"""The engine `torch_compile`: it answers as torch does, is compiled once for every batch, and says what it cannot take."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.projects import report_of, statuses

from weighbridge.cli.main import main
from weighbridge.contracts import ENGINES, FORMATS, Inputs, Model
from weighbridge.core.batches import NamedInputs
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines import torch_compile
from weighbridge.engines.torch_compile import COMPILER

Project = Callable[..., Path]
compiles = pytest.mark.skipif(shutil.which(COMPILER.name) is None, reason=f"needs {COMPILER.install}")
NETWORKS = """
import torch
from torch import nn

def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(50, 16), nn.Linear(16, 4)
    def forward(self, ids, weight):
        return {"logits": self.out((self.table(ids) * weight[..., None]).mean(1)), "ids": ids}

class OfFour(nn.Linear):
    def forward(self, x):
        return super().forward(x.view(4, 8)) + torch.arange(4)[:, None]

class Crowd(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (2 if x.shape[0] > 10 else 1)

class Branches(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x

class Wrong(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (1.01 if torch.compiler.is_compiling() else 1.0)

class Counts(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)
        self.register_buffer("asked", torch.zeros(()))
    def forward(self, x):
        self.asked += 1
        return super().forward(x) + self.asked

class Reads(Counts):
    def forward(self, x):
        return nn.Linear.forward(self, x) + self.asked

def counts(): return Counts()
def reads(): return Reads()

class Right(nn.Linear):
    def forward(self, x):
        return super().forward(x).mul(2) / 2 if torch.compiler.is_compiling() else super().forward(x)

def of_four(): return OfFour(8, 3)
def crowd(): return Crowd(8, 3)
def branches(): return Branches(8, 8)
def wrong(): return Wrong(8, 3)
def right(): return Right(8, 3)
"""
CASE = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
engine: torch_compile
recipe:
  - prune: l1_unstructured
    amount: 0.3
thresholds:
  accuracy_drop: 0.05
  fidelity: 5
  size_ratio: 0.9
  speedup: {min: 0.01, budget: 20}
"""


@pytest.fixture(autouse=True, scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that these tests share: C++ headers are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each program that is compiled in the test."""
    import torch._inductor

    programs, compile_ = list[Any](), torch._inductor.aoti_compile_and_package

    def watched(program: Any, **options: Any) -> Any:
        programs.append(program)
        return compile_(program, **options)

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", watched)
    monkeypatch.setattr(torch_compile, "_programs", {})
    return programs


def artifact(folder: Path, name: str) -> Artifact:
    (folder / "networks.py").write_text(NETWORKS)
    format_ = FORMATS.get("torch")
    return format_.save(format_.load(f"networks.py:{name}", None, folder), folder, name)


def answers(artifact: Artifact, inputs: Inputs, name: str = "torch_compile", **options: Any) -> Any:
    engine = ENGINES.get(name)
    return engine.open(artifact, engine.options(**options)).run(inputs)


def images(n: int) -> Inputs:
    return (np.random.default_rng(n).standard_normal((n, 3, 8, 8)).astype(np.float32),)


@pytest.mark.slow
@compiles
def test_one_compilation_serves_every_batch_and_every_later_process(tmp_path: Path, made: list[Any]) -> None:
    net = artifact(tmp_path, "conv")
    for n in (1, 5, 64, 2):
        (ours,), (torchs,) = answers(net, images(n)), answers(net, images(n), "torch")
        np.testing.assert_allclose(ours, torchs, atol=1e-5)
    assert len(made) == 1
    torch_compile._programs.clear()  # as in a process that knows nothing
    answers(net, images(3))
    assert len(made) == 1


@compiles
@pytest.mark.slow
def test_without_a_cache_each_process_compiles_once(tmp_path: Path, made: list[Any]) -> None:
    net = artifact(tmp_path, "conv")
    for count in (1, 2):
        torch_compile._programs.clear()
        for n in (3, 4):
            answers(net, images(n), cache=False)
        assert len(made) == count


@compiles
@pytest.mark.slow
def test_other_weights_are_another_program(tmp_path: Path, made: list[Any]) -> None:
    net = artifact(tmp_path, "conv")
    before = answers(net, images(3))[0]
    model = FORMATS.get("torch").open(net)
    with torch.no_grad():
        model.value[0].weight.mul_(2)
    other = FORMATS.get("torch").save(model, tmp_path, "other")
    assert not np.allclose(answers(other, images(3))[0], before)
    np.testing.assert_allclose(answers(other, images(3))[0], answers(other, images(3), "torch")[0], atol=1e-5)


@compiles
@pytest.mark.slow
def test_inputs_by_name_and_of_several_types(tmp_path: Path, made: list[Any]) -> None:
    (tmp_path / "networks.py").write_text(
        NETWORKS.replace("def conv", "def words(): return Words()\n\ndef conv")
    )
    format_ = FORMATS.get("torch")
    net = format_.save(format_.load("networks.py:words", None, tmp_path), tmp_path, "words")
    for n in (1, 3):
        random = np.random.default_rng(n)
        given = {"ids": random.integers(0, 50, (n, 6)), "weight": random.random((n, 6)).astype(np.float32)}
        inputs = NamedInputs(given, {})
        for ours, torchs in zip(answers(net, inputs), answers(net, inputs, "torch"), strict=True):
            np.testing.assert_allclose(ours, torchs, atol=1e-5)
    assert len(made) == 1


@compiles
@pytest.mark.slow
def test_a_module_that_fixes_its_batch_is_compiled_for_that(tmp_path: Path, made: list[Any]) -> None:
    net = artifact(tmp_path, "of_four")
    x = (np.ones((4, 8), np.float32),)
    np.testing.assert_allclose(answers(net, x)[0], answers(net, x, "torch")[0], atol=1e-5)
    with pytest.raises(StageError, match="cannot trace"):
        answers(net, (np.ones((3, 8), np.float32),))


@pytest.mark.slow
@compiles
def test_a_module_that_looks_at_the_size_of_its_batch_is_compiled_for_each(
    tmp_path: Path, made: list[Any]
) -> None:
    net = artifact(tmp_path, "crowd")
    for n in (4, 20, 4):
        x = (np.ones((n, 8), np.float32),)
        np.testing.assert_allclose(answers(net, x)[0], answers(net, x, "torch")[0], atol=1e-5)
    assert len(made) == 2


@compiles
def test_what_cannot_be_traced_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"torch.export cannot trace the module .*`engine: torch` runs it as it is"
    ):
        answers(artifact(tmp_path, "branches"), (np.ones((4, 8), np.float32),))


@pytest.mark.slow
@compiles
def test_a_module_that_is_compiled_to_other_answers_is_an_error_and_its_look_alike_is_none(
    tmp_path: Path, made: list[Any]
) -> None:
    x = (np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32),)
    for _ in range(2):  # what was found wrong is not kept either
        with pytest.raises(StageError, match="output 0 of the compiled model differs from torch's"):
            answers(artifact(tmp_path, "wrong"), x)
    right = artifact(tmp_path, "right")
    np.testing.assert_allclose(answers(right, x)[0], answers(right, x, "torch")[0], atol=1e-5)
    assert len(made) == 3


@compiles
@pytest.mark.slow
def test_a_module_that_changes_its_own_buffers_is_refused_and_one_that_reads_them_is_not(
    tmp_path: Path, made: list[Any]
) -> None:
    x = (np.ones((4, 8), np.float32),)
    with pytest.raises(StageError, match=r"forward changes asked, .*`engine: torch` runs it as it is"):
        answers(artifact(tmp_path, "counts"), x)
    assert made == []
    reads = artifact(tmp_path, "reads")
    np.testing.assert_allclose(answers(reads, x)[0], answers(reads, x, "torch")[0], atol=1e-5)


@compiles
@pytest.mark.slow
def test_an_exported_program_is_compiled_as_it_is(tmp_path: Path, made: list[Any]) -> None:

    module = FORMATS.get("torch").open(artifact(tmp_path, "conv")).value
    with torch.no_grad():
        module[0].weight.mul_(3)
    program = torch.export.export(
        module, (torch.from_numpy(images(2)[0]),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    net = FORMATS.get("exported").save(Model("exported", program), tmp_path, "program")
    for n in (4, 1):
        np.testing.assert_allclose(answers(net, images(n))[0], answers(net, images(n), "torch")[0], atol=1e-5)
    assert len(made) == 1
    fixed = torch.export.export(module, (torch.from_numpy(images(2)[0]),))
    other = FORMATS.get("exported").save(Model("exported", fixed), tmp_path, "fixed")
    np.testing.assert_allclose(answers(other, images(2))[0], answers(other, images(2), "torch")[0], atol=1e-5)
    for n in (1, 3):
        with pytest.raises(StageError, match="does not run on"):
            answers(other, images(n))
    assert len(made) == 2


@pytest.mark.slow
@compiles
def test_a_case_is_gated_on_compiled_models(
    project: Project, pytester: pytest.Pytester, made: list[Any]
) -> None:
    project(net=CASE)
    pytester.runpytest_inprocess("--bench").assert_outcomes(passed=4)
    (row,) = report_of(pytester.path)["rows"]
    assert row["engine"] == row["measurements"]["speed"]["details"]["against"] == "torch_compile"
    assert len(made) == 2, "the original and the candidate, once each"


def test_without_a_compiler_it_is_skipped_with_what_to_install(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None)
    project(net=CASE)
    pytester.runpytest_inprocess("-rs").stdout.fnmatch_lines(
        [f"*needs the command '{COMPILER.name}' (absent here); install it with: {COMPILER.install}*"]
    )
    assert set(statuses(pytester.path).values()) == {"skip"}


def test_what_torch_compiled_is_kept_within_the_size_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".weighbridge/inductor/weighbridge/a.pt2"
    file.parent.mkdir(parents=True)
    for action, left in (("show", True), ("prune", True), ("clear", False)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(2000))
        assert main(["cache", action]) == 0
        assert file.exists() == left
    assert "compiled by torch" in capsys.readouterr().out
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(2000))
    assert main(["cache", "prune", "--size", "1 kB"]) == 0
    assert not file.exists()
