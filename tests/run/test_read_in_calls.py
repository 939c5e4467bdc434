"""What the user's code reads when it is called, in whatever way, is made again when it changes, and only then."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.projects import report_of
from tests.run.test_files_read import as_in_a_new_process

from weighbridge.core.files import file_digest
from weighbridge.core.observed import files_opened, read_in_calls
from weighbridge.core.references import call, resolve

Write = Callable[[Path, float], None]
MODEL = """
import functools
import os
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
{how}


class Gain(torch.nn.Module):
    def __init__(self, by=None):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x * (gain() if self.by is None else self.by)


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 4), Gain())


def built():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 4), Gain(gain()))


def splits():
    x = np.load(HERE / "x.npy")
    return {{"test": (x, np.zeros(len(x), "int64"))}}


def size(outputs, targets):
    return float(np.abs(outputs).mean())


size.higher_is_better = True
"""
CASE = """
model: {torch: model.py:NET}
data: model.py:splits
metric: model.py:size
recipe: [{prune: l1_unstructured, amount: 0.3}]
thresholds: {accuracy: 0.00001}
"""


def as_text(folder: Path, value: float) -> None:
    (folder / "gain.txt").write_text(str(value))


def under_the_same_time(folder: Path, value: float) -> None:
    """The name, size and time of change stay."""
    as_text(folder, value)
    os.utime(folder / "gain.txt", (1, 1))


def as_bytes(folder: Path, value: float) -> None:
    np.array([value], "float32").tofile(folder / "gain.bin")


def as_table(folder: Path, value: float) -> None:
    with sqlite3.connect(folder / "gain.db") as table:
        table.execute("create table if not exists gain (value real)")
        table.execute("delete from gain")
        table.execute("insert into gain values (?)", (value,))


def behind_a_link(folder: Path, value: float) -> None:
    """In a folder outside of the project."""
    beyond = folder.parent.parent / f"{folder.parent.name}-beyond"
    beyond.mkdir(exist_ok=True)
    as_text(beyond, value)
    if not (folder / "beyond").exists():
        (folder / "beyond").symlink_to(beyond)


def by_another_link(folder: Path, value: float) -> None:
    (folder / f"{value}.txt").write_text(str(value))
    (folder / "gain.txt").unlink(missing_ok=True)
    (folder / "gain.txt").symlink_to(f"{value}.txt")


def only_if_another(folder: Path, value: float) -> None:
    """A file that is not there at first."""
    if value != 1:
        as_text(folder, value)


READ = "float((HERE / 'gain.txt').read_text())"
IN_A_CALL = f"def gain():\n    return {READ}"
WAYS: dict[str, tuple[str, str, Write]] = {
    "a text": (IN_A_CALL, "net", as_text),
    "a text under the same time": (IN_A_CALL, "net", under_the_same_time),
    "another link": (IN_A_CALL, "net", by_another_link),
    "by bytes": (
        "def gain():\n    return float(open(os.fsencode(HERE / 'gain.txt')).read())",
        "net",
        as_text,
    ),
    "once a process": (f"@functools.cache\n{IN_A_CALL}", "net", as_text),
    "mapped to be written": (
        "def gain():\n    return float(np.memmap(HERE / 'gain.bin', dtype='float32', shape=(1,))[0])",
        "net",
        as_bytes,
    ),
    "a database": (
        "import sqlite3\ndef gain():\n"
        "    return sqlite3.connect(f'file:{HERE}/gain.db?mode=ro', uri=True).execute('select * from gain').fetchone()[0]",
        "built",
        as_table,
    ),
    "behind a link": (
        "def gain():\n    return float((HERE / 'beyond' / 'gain.txt').read_text())",
        "built",
        behind_a_link,
    ),
    "behind a link, on import": (
        "GAIN = float((HERE / 'beyond' / 'gain.txt').read_text())\ndef gain():\n    return GAIN",
        "built",
        behind_a_link,
    ),
    "a file that is written later": (
        f"def gain():\n    try:\n        return {READ}\n    except FileNotFoundError:\n        return 1.0",
        "net",
        only_if_another,
    ),
}


def write(folder: Path, how: str, net: str) -> None:
    (folder / "model.py").write_text(MODEL.format(how=how))
    (folder / "gate.yaml").write_text(CASE.replace("NET", net))
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((32, 16)).astype("float32"))


def run(pytester: pytest.Pytester) -> tuple[float, bool]:
    """The candidate's metric, and whether the step came from the store."""
    as_in_a_new_process()
    pytester.runpytest_inprocess("--executor=inline")
    (row,) = report_of(pytester.path)["rows"]
    return row["measurements"]["accuracy"]["candidate"], row["steps"][0]["cached"]


QUICK = ("a text", "mapped to be written", "once a process", "behind a link", "a file that is written later")
"""One of each kind of way; the others are slow together."""


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=() if way in QUICK else pytest.mark.slow) for way in WAYS]
)
def test_what_is_read_in_a_call_is_no_stale_answer(pytester: pytest.Pytester, way: str) -> None:
    how, net, put = WAYS[way]
    folder = pytester.mkdir("cases")
    write(folder, how, net)
    put(folder, 1.0)
    first, _ = run(pytester)
    assert run(pytester) == (first, True)
    put(folder, 4.0)
    assert run(pytester)[0] == pytest.approx(4 * first, rel=1e-4)


@pytest.mark.slow
def test_a_step_that_reads_a_file_is_carried_out_again(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("cases")
    write(folder, "def gain():\n    return 1.0", "net")
    (folder / "conftest.py").write_text(
        "from pathlib import Path\n"
        "from weighbridge.contracts import STEPS, Model, Options, Step\n\n"
        "class Nothing(Options):\n    pass\n\n"
        "def thin(model, options, context):\n"
        "    import copy\n"
        "    module, below = copy.deepcopy(model.value), float(Path(__file__).with_name('below.txt').read_text())\n"
        "    for parameter in module.parameters():\n"
        "        parameter.data[parameter.detach().abs() < below] = 0\n"
        "    return Model('torch', module, model.source)\n\n"
        "STEPS.add('prune:thin_by_file', Step('prune', 'thin_by_file', ('torch',), Nothing, thin, random=False))\n"
    )
    step = "{prune: thin_by_file}"
    text = CASE.replace("NET", "net").replace("{prune: l1_unstructured, amount: 0.3}", step)
    (folder / "gate.yaml").write_text(text)

    def zeros() -> tuple[int, bool]:
        as_in_a_new_process()
        pytester.runpytest_inprocess("--executor=inline")
        (row,) = report_of(pytester.path)["rows"]
        return row["measurements"]["nonzero"]["candidate"], row["steps"][0]["cached"]

    (folder / "below.txt").write_text("0.01")
    few = zeros()
    assert zeros() == (few[0], True)
    (folder / "below.txt").write_text("0.2")
    many = zeros()
    assert many[0] < few[0]
    assert not many[1]
    assert zeros() == (many[0], True)
    (folder / "below.txt").write_text("0.01")
    assert zeros()[0] == few[0]


def test_samples_are_known_by_their_content_and_are_no_files_of_the_code(tmp_path: Path) -> None:
    """A model beside its data is not made again when a loader's files change, be they read by a thread ahead of it."""
    from weighbridge.core.data import load_data

    write(tmp_path, IN_A_CALL, "net")
    as_text(tmp_path, 1.0)
    data = load_data("model.py:splits", tmp_path)
    data.digest(["test"])
    code = [(tmp_path / "model.py").resolve()]
    gain = resolve("model.py:gain", tmp_path)
    ahead = threading.Thread(target=gain)
    ahead.start()
    ahead.join()
    assert not read_in_calls(code)
    call("model.py:gain", tmp_path)
    assert set(read_in_calls(code)) == {tmp_path / "gain.txt"}


@pytest.mark.slow
def test_many_files_are_hashed_once(tmp_path: Path) -> None:
    """A step that trains on pictures of its own reads more than the 65,536 that once were remembered."""
    from weighbridge.core.code import content_digest

    (tmp_path / "picture").write_bytes(b"a picture")
    names = [str(number) for number in range(260)]
    for name in names:
        (tmp_path / name).symlink_to(tmp_path)
    paths = [tmp_path / one / other / "picture" for one in names for other in names]
    for path in paths:
        content_digest(path)
    with files_opened() as opened:
        assert {content_digest(path) for path in paths} == {file_digest(tmp_path / "picture")}
    assert opened == {str(tmp_path / "picture")}


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of PYTHONPATH outside of the project."""
    folder = tmp_path.parent / f"{tmp_path.name}-developed"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_code_that_is_developed_outside_of_the_project_is_code(tmp_path: Path, on_the_path: Path) -> None:
    from weighbridge.core.code import code_digest
    from weighbridge.run.keys import reference_code

    package = on_the_path / "developed_gain"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import gain\n")
    (tmp_path / "model.py").write_text("import developed_gain\n")

    def digests(text: str) -> tuple[str, str]:
        (package / "inner.py").write_text(text)
        code = code_digest([tmp_path / "model.py"], tmp_path)
        return code, reference_code("developed_gain.inner:gain", tmp_path, tmp_path)

    one, other = digests("gain = 1\n"), digests("gain = 40\n")
    assert one[0] != other[0]
    assert one[1] != other[1]
    assert digests("gain = 1\n") == one


def test_a_package_that_pip_has_put_somewhere_stands_for_itself(tmp_path: Path, on_the_path: Path) -> None:
    from weighbridge.core.code import code_digest, code_files

    (on_the_path / "put_gain.py").write_text("gain = 1\n")
    (on_the_path / "put_gain-1.dist-info").mkdir()
    (tmp_path / "model.py").write_text("import put_gain\n")
    assert code_files([tmp_path / "model.py"], tmp_path) == {(tmp_path / "model.py").resolve()}
    assert code_digest([tmp_path / "model.py"], tmp_path)


def test_weighbridge_is_no_code_of_the_user_s_from_a_checkout_either(tmp_path: Path) -> None:
    """It has a digest of its own. Following five hundred files of it took most of a small case's time, in each case."""
    from weighbridge.core.code import code_files, module_files

    (tmp_path / "model.py").write_text(
        "import helper\nimport weighbridge\nfrom weighbridge.contracts import STEPS\n"
    )
    (tmp_path / "helper.py").write_text("import weighbridge.core.code\n")
    mine = {(tmp_path / name).resolve() for name in ("model.py", "helper.py")}
    assert code_files([tmp_path / "model.py"], tmp_path) == mine
    assert module_files("weighbridge.measure.metrics", tmp_path, tmp_path) == []
    (tmp_path / "weighbridges.py").write_text("")
    (tmp_path / "helper.py").write_text("import weighbridges\nfrom . import weighbridge\n")
    (tmp_path / "weighbridge.py").write_text("")
    other = {(tmp_path / name).resolve() for name in ("weighbridges.py", "weighbridge.py")}
    assert code_files([tmp_path / "model.py"], tmp_path) == mine | other


def test_an_installation_that_lost_its_metadata_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """`importlib_metadata`, where anything has imported it, raises another error there than Python's own."""
    from weighbridge.core import versions

    def lost(package: str) -> str:
        raise FileNotFoundError("No package metadata was found.")

    monkeypatch.setattr(versions.metadata, "version", lost)
    versions.version_of.cache_clear()
    assert versions.version_of("put_nowhere") == ""


def test_a_version_is_the_same_before_and_after_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """openvino calls itself `2026.4.1-22982-...`, and torch_pruning 1.6.0 in its 1.6.1: results were not found again."""
    import types
    from importlib import metadata

    from weighbridge.core.versions import version_of

    version_of.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy", types.ModuleType("scipy"))
    monkeypatch.setattr(sys.modules["scipy"], "__version__", "another", raising=False)
    assert version_of("scipy") == metadata.version("scipy")
    version_of.cache_clear()


def test_another_version_of_an_installed_package_is_another_model(
    tmp_path: Path, on_the_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`metric: package.module:callable` of an installed package is known by its version."""
    from weighbridge.core.versions import version_of
    from weighbridge.run.keys import reference_code

    (on_the_path / "put_metric-1.dist-info").mkdir()
    (on_the_path / "put_metric.py").write_text("__version__ = '1'\n")
    import put_metric

    def named() -> str:
        version_of.cache_clear()
        return reference_code("put_metric:size", tmp_path, tmp_path)

    one = named()
    monkeypatch.setattr(put_metric, "__version__", "2")
    assert named() != one
    monkeypatch.undo()
    assert named() == one
    del sys.modules["put_metric"]


def test_code_behind_an_editable_installation_s_finder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a package lies on no folder of the import path."""
    from importlib.abc import MetaPathFinder
    from importlib.util import spec_from_file_location

    from weighbridge.core.code import code_files

    source = (tmp_path / "elsewhere" / "source").resolve()
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("from . import inner\n")
    (source / "inner.py").write_text("")

    class Finder(MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> object:
            if name != "editable_gain":
                return None
            return spec_from_file_location(
                name, source / "__init__.py", submodule_search_locations=[str(source)]
            )

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    project = tmp_path / "project"
    project.mkdir()
    (project / "model.py").write_text("import editable_gain.inner\n")
    found = code_files([project / "model.py"], project)
    assert {source / "__init__.py", source / "inner.py"} <= found
