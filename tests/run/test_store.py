"""An entry is whole or not there, and whatever a result depends on is in its key."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.projects import CASE, report_of, trained, write_project

from weighbridge.core.errors import UsageError
from weighbridge.engines import torch_eager
from weighbridge.run import keys
from weighbridge.run.store import Store

Project = Callable[..., Path]


def put(store: Store, key: str = "model-1", text: str = "weights") -> None:
    store.keep(key, {"a": 1}, lambda folder: (folder / "file").write_text(text) and None)


def test_an_entry_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store)
    entry = Store(tmp_path).find("model-1")
    assert entry is not None
    assert (entry.facts, (entry.folder / "file").read_text()) == ({"a": 1}, "weights")
    assert [(file.path, file.bytes) for file in entry.files] == [("file", 7)]
    assert store.find("model-2") is None


@pytest.mark.parametrize(("before", "of_another"), [(0.0, False), (0.0, True), (1.0, False)])
def test_what_is_made_twice_is_not_taken_from_its_readers(
    tmp_path: Path, before: float, of_another: bool
) -> None:
    """Two processes may find nothing and both make it; a third one may be reading an older one that a run wants afresh."""
    put(Store(tmp_path))
    file = tmp_path / "store" / "model-1" / "file"
    there = file.stat().st_ino
    with file.open() as reader:
        store = Store(tmp_path, before=time.time() if before else 0.0)
        put(store, text="others!" if of_another else "weights")
        assert reader.read() == "weights"
    assert store.find("model-1") is not None
    assert (file.stat().st_ino == there) is not of_another
    assert file.read_text() == ("others!" if of_another else "weights")


def test_a_folder_that_cannot_be_made_says_what_to_write(tmp_path: Path) -> None:
    """As of a checkout that is read only; a file stands there, since root may write into any folder."""
    (tmp_path / "kept").write_text("")
    with pytest.raises(
        UsageError, match=r"kept, where results are kept, cannot be written: .*`-o weighbridge_store=FOLDER`"
    ):
        Store(tmp_path / "kept")


def test_damaged_files_are_not_believed_to_be_the_same(tmp_path: Path) -> None:
    put(Store(tmp_path))
    file = tmp_path / "store" / "model-1" / "file"
    file.write_text("weightz")
    put(Store(tmp_path))
    assert file.read_text() == "weights"


def _keeps_and_reads(folder: Path, lost: Any) -> None:
    for _ in range(100):
        store = Store(folder)
        put(store, text="weights" * 30_000)  # so many that writing them takes a while
        for _ in range(5):
            lost.value += store.find("model-1") is None


@pytest.mark.slow
def test_several_processes_that_make_one_entry_never_miss_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    lost = [context.Value("i", 0) for _ in range(3)]
    processes = [context.Process(target=_keeps_and_reads, args=(tmp_path, each)) for each in lost]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [each.value for each in lost] == [0, 0, 0]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "meta cut", "meta gone", "meta altered"])
def test_a_damaged_entry_is_said_and_made_again(tmp_path: Path, damage: str) -> None:
    said: list[str] = []
    put(Store(tmp_path))
    folder = tmp_path / "store" / "model-1"
    file, meta = folder / "file", folder / "meta.json"
    if damage == "flipped":
        file.write_text("weightz")
    elif damage == "cut":
        file.write_text("wei")
    elif damage == "gone":
        file.unlink()
    elif damage == "meta cut":
        meta.write_text(meta.read_text()[:40])
    elif damage == "meta gone":
        meta.unlink()
    else:
        meta.write_text(meta.read_text().replace('"a": 1', '"a": 2'))
    store = Store(tmp_path, said.append)
    assert store.find("model-1") is None
    assert "model-1 is damaged" in said[0]
    assert "made again" in said[0]
    put(store)
    assert Store(tmp_path).find("model-1") is not None


def test_an_entry_under_the_name_of_another_is_none(tmp_path: Path) -> None:
    """Whole, and of other weights: whoever copies a store by hand may misname one."""
    said: list[str] = []
    put(Store(tmp_path))
    (tmp_path / "store" / "model-1").rename(tmp_path / "store" / "model-2")
    store = Store(tmp_path, said.append)
    assert store.find("model-2") is None
    assert "model-2 is damaged (it is model-1, under another name); it is made again" in said[0]
    put(store, "model-2")
    assert Store(tmp_path).find("model-2") is not None


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def full(folder: Path) -> None:
        (folder / "file").write_text("half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        store.keep("model-1", {}, full)
    assert store.find("model-1") is None
    assert list((tmp_path / "making").iterdir()) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    Store(tmp_path)
    mine = tmp_path / "making" / f"{os.getpid()}@{socket.gethostname()}@1"
    dead = tmp_path / "making" / f"999999999@{socket.gethostname()}@2"
    elsewhere = tmp_path / "making" / "999999999@another-host@3"
    for folder in (mine, dead, elsewhere):
        folder.mkdir()
    Store(tmp_path)
    assert (mine.exists(), dead.exists(), elsewhere.exists()) == (True, False, True)


def test_the_least_recently_used_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for number in range(4):
        put(store, f"model-{number}", "x" * 10_000)
        old = time.time() - 7200 + number
        os.utime(tmp_path / "store" / f"model-{number}" / "meta.json", (old, old))
    store.find("model-0")
    removed, freed = store.prune(25_000)
    assert (removed, freed > 20_000) == (2, True)
    assert [key for key, _, _ in store.entries()] == ["model-0", "model-3"]
    assert store.prune(0)[0] == 1, "what was used within the hour may still be read by somebody"


def test_what_torch_compiled_goes_first_and_counts_as_freed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "model-1", "x" * 1000)
    kept = sum(size for _, size, _ in store.entries())
    (store.compiled / "deep").mkdir(parents=True)
    (store.compiled / "deep" / "package").write_text("x" * 5000)
    assert store.prune(kept + 5000) == (0, 0)
    assert store.prune(kept + 4999) == (0, 5000)
    assert (store.compiled_bytes(), len(list(store.entries()))) == (0, 1)


def test_what_another_process_removes_meanwhile_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stat = Store(tmp_path), Path.stat
    store.compiled.mkdir()
    for name in "abc":
        (store.compiled / name).write_text("x" * 5000)

    def raced(path: Path, **options: Any) -> os.stat_result:
        found = stat(path, **options)
        if path.parent == store.compiled:
            shutil.rmtree(store.compiled)
        return found

    monkeypatch.setattr(Path, "stat", raced)
    assert store.compiled_bytes() == 5000


def test_a_store_can_be_verified_and_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "model-1")
    put(store, "model-2")
    (tmp_path / "store" / "model-2" / "file").write_text("weightz")
    assert [line for line in store.verify() if "model-2" in line]
    assert [key for key, _, _ in store.entries()] == ["model-1"]
    assert store.clear() == 1
    assert list(store.entries()) == []


def _make(folder: Path, log: Path) -> None:
    store = Store(folder)
    with store.making("model-1"):
        if store.find("model-1") is None:
            with log.open("a") as file:
                file.write("made\n")
            time.sleep(0.2)
            put(store)


@pytest.mark.slow
def test_of_several_processes_one_makes_what_the_others_wait_for(tmp_path: Path) -> None:
    Store(tmp_path / "store")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_make, args=(tmp_path / "store", tmp_path / "log")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "log").read_text() == "made\n"
    assert list((tmp_path / "store" / "locks").iterdir()) == []


def cached(pytester: pytest.Pytester, *arguments: str) -> bool:
    """Whether the step of the one case of a run came from the store."""
    pytester.runpytest_inprocess(*arguments)
    (row,) = report_of(pytester.path)["rows"]
    return bool(row["steps"][0]["cached"])


def test_a_second_run_carries_out_nothing(pytester: pytest.Pytester, project: Project) -> None:
    project()
    assert not cached(pytester)
    first = report_of(pytester.path)["rows"][0]
    assert cached(pytester)
    second = report_of(pytester.path)["rows"][0]
    for row in (first, second):
        row["steps"][0]["cached"] = row["seconds"] = None
    assert first == second
    assert not cached(pytester, "--fresh")


CHANGES: dict[str, Callable[[Path], object]] = {
    "an option": lambda folder: edit(folder / "net.yaml", "amount: 0.5", "amount: 0.4"),
    "the seed": lambda folder: edit(folder / "net.yaml", "\nmodel", "\nseed: 3\nmodel"),
    "the weights": lambda folder: scale(folder / "net.safetensors"),
    "the model's code": lambda folder: edit(folder / "model.py", "def net():", "def net():\n    x = 1"),
    "a helper that it imports": lambda folder: (folder / "helper.py").write_text("WIDTH = 96 + 0\n"),
    "a helper of the helper": lambda folder: (folder / "deeper.py").write_text("NUMBER = 4 + 0\n"),
    "a file that it reads": lambda folder: (folder / "settings.json").write_text('{"a": 2}'),
}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def scale(path: Path) -> None:
    from safetensors.torch import load, save_file

    save_file({name: tensor * 1.01 for name, tensor in load(trained()).items()}, path)


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_result_depends_on_makes_it_anew(pytester: pytest.Pytester, change: str) -> None:
    folder = write_project(pytester.path)
    (folder / "net.yaml").write_text(CASE.replace("l1_unstructured", "random_unstructured"))
    edit(folder / "model.py", "HERE = ", "from helper import WIDTH\nHERE = ")
    edit(folder / "model.py", "    with (HERE", "    (HERE / 'settings.json').read_text()\n    with (HERE")
    (folder / "helper.py").write_text("from deeper import NUMBER\nWIDTH = 96\n")
    (folder / "deeper.py").write_text("NUMBER = 4\n")
    (folder / "settings.json").write_text('{"a": 1}')
    (folder / "unrelated.py").write_text("a = 1\n")
    assert not cached(pytester)
    (folder / "unrelated.py").write_text("a = 2\n")
    assert cached(pytester), "what nothing depends on changes nothing"
    CHANGES[change](folder)
    assert not cached(pytester)


def test_a_step_that_draws_nothing_does_not_depend_on_the_seed(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project()
    assert not cached(pytester)
    CHANGES["the seed"](folder)
    assert cached(pytester)


def test_the_code_of_a_loss_is_part_of_what_trains(pytester: pytest.Pytester, project: Project) -> None:
    recipe = "  - prune: l1_unstructured\n    amount: 0.5\n"
    tuned = "  - finetune: {epochs: 1, lr: 1e-3, loss: 'losses.py:own'}\n"
    folder = project(net=CASE.replace(recipe, tuned))
    (folder / "losses.py").write_text(
        "import torch\n\n\ndef own(outputs, targets):\n    return torch.nn.functional.cross_entropy(outputs, targets)\n"
    )
    assert not cached(pytester)
    assert cached(pytester)
    edit(folder / "losses.py", "(outputs, targets)\n", "(outputs, targets) * 2\n")
    assert not cached(pytester)


def test_another_instruction_set_is_evaluated_anew(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    pytester.runpytest_inprocess()

    runs: list[int] = []
    run = torch_eager.TorchSession.run
    monkeypatch.setattr(torch_eager.TorchSession, "run", lambda *a: runs.append(1) or run(*a))
    monkeypatch.setattr(keys.machine, "instruction_sets", lambda: ["another"])
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
    assert runs


SHRINK = """
import torch
from weighbridge.contracts import STEPS, Context, Model, Options, Step


class NoOptions(Options):
    pass


def shrink(model, options, context):
    old = model.value
    new = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), *old[2:])
    new[2] = torch.nn.Linear(64, 96)
    new[0].weight.data, new[0].bias.data = old[0].weight.data[:64].clone(), old[0].bias.data[:64].clone()
    new[2].weight.data, new[2].bias.data = old[2].weight.data[:, :64].clone(), old[2].bias.data.clone()
    import time
    time.sleep(0.1)
    return Model("torch", new.eval(), model.source)


STEPS.add("prune:shrink", Step("prune", "shrink", ("torch",), NoOptions, shrink, must="sparsify"))
"""


@pytest.mark.slow
def test_a_stored_model_that_does_not_open_is_made_again(pytester: pytest.Pytester, project: Project) -> None:
    """A step that changes the layers and brings no `rebuild`: its output is kept, and only its export can be opened."""
    case = CASE.replace("prune: l1_unstructured\n    amount: 0.5", "prune: shrink").replace("0.02", "0.9")
    onnx = case.replace("thresholds:", "engine: onnxruntime\nthresholds:").replace(
        "size_ratio: 0.9", "nonzero: 20000"
    )
    int8 = onnx.replace("engine:", "  - quantize: dynamic\n    engine: onnxruntime\nengine:")
    project(a=onnx)
    pytester.makeconftest(SHRINK)
    pytester.runpytest_subprocess("--executor=inline").assert_outcomes(passed=2)
    (pytester.path / "cases" / "b.yaml").write_text(int8)
    pytester.runpytest_subprocess("--executor=inline").assert_outcomes(passed=5)


def test_another_limit_costs_no_inference(pytester: pytest.Pytester, project: Project) -> None:
    """The data says whether it was read by a model: each batch that a session runs is counted."""
    folder = project()
    pytester.runpytest_inprocess()
    edit(folder / "net.yaml", "accuracy_drop: 0.02", "accuracy_drop: 0.03")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_eager.TorchSession, "run", lambda *arguments: pytest.fail("a model was run"))
        pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_other_data_are_evaluated_anew(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    pytester.runpytest_inprocess()
    before = report_of(pytester.path)["rows"][0]["measurements"]["accuracy"]
    text = (folder / "model.py").read_text().replace('part("test")', 'tuple(a[:200] for a in part("test"))')
    (folder / "model.py").write_text(text)
    pytester.runpytest_inprocess()
    after = report_of(pytester.path)["rows"][0]["measurements"]["accuracy"]
    assert (before["details"]["n"], after["details"]["n"]) == (400, 200)


def test_the_project_says_how_large_its_store_may_grow(pytester: pytest.Pytester, project: Project) -> None:
    project()
    pytester.runpytest_inprocess()
    old = time.time() - 7200
    for meta in (pytester.path / ".weighbridge" / "store").glob("*/meta.json"):
        os.utime(meta, (old, old))
    pytester.makeini("[pytest]\nweighbridge_store_size = 1 kB")
    pytester.runpytest_inprocess("-k", "nothing of that name")
    assert list(Store(pytester.path / ".weighbridge").entries()) == []


def test_a_model_is_shared_by_cases_that_name_its_code_from_different_folders(
    pytester: pytest.Pytester, project: Project
) -> None:
    cases = project()
    (cases / "more").mkdir()
    text = CASE.replace("model.py", "../model.py").replace("net.safetensors", "../net.safetensors")
    (cases / "more/net.yaml").write_text(text.replace("thresholds:", "thresholds:\n  fidelity: 1"))
    for path, passed in (("cases/net.yaml", 2), ("cases/more/net.yaml", 3)):
        pytester.runpytest_inprocess(path).assert_outcomes(passed=passed)
