"""What one machine made, another finds at an address: whole, or not at all."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.projects import CASE, report_of, statuses
from tests.run.object_stores import s3_server

from weighbridge.cli.main import main
from weighbridge.run import object_store
from weighbridge.run.object_store import ObjectStore
from weighbridge.run.store import Store

Project = Callable[..., Path]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def address(bucket: str) -> str:
    """Where nothing was written yet."""
    return f"{bucket}/{uuid.uuid4().hex}"


def put(store: Store, text: str = "weights", key: str = "model-1") -> None:
    def write(folder: Path) -> None:
        (folder / "deeper").mkdir()
        (folder / "deeper" / "file").write_text(text)

    store.keep(key, {"a": 1}, write)


def files_of(store: Store) -> Any:
    """The file system that the store talks to."""
    assert store._beyond is not None
    return store._beyond._files


def objects(address: str) -> Any:
    """The bucket's own client: of what lies under the address, by name."""
    import boto3

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    return {
        one.key.removeprefix(f"{prefix}/"): one
        for one in boto3.resource("s3").Bucket(bucket).objects.filter(Prefix=prefix)
    }


def test_one_machine_finds_what_another_made(tmp_path: Path, address: str) -> None:
    put(Store(tmp_path / "a", beyond=address))
    entry = Store(tmp_path / "b", beyond=address).find("model-1")
    assert entry is not None
    assert entry.folder.is_relative_to(tmp_path / "b")
    assert (entry.facts, (entry.folder / "deeper" / "file").read_text()) == ({"a": 1}, "weights")
    assert Store(tmp_path / "b").find("model-1") is not None, "it is kept on this machine"
    assert Store(tmp_path / "b", beyond=address).find("model-2") is None
    assert Store(tmp_path / "c", before=time.time() + 1, beyond=address).find("model-1") is None
    assert not (tmp_path / "c" / "store" / "model-1").exists(), "what is too old is not read"


def test_a_newer_entry_takes_the_place_of_the_machines_own(tmp_path: Path, address: str) -> None:
    """As on the node that times what another one has made afresh."""
    here = tmp_path / "b"
    put(Store(here), text="old")
    began = time.time()
    put(Store(tmp_path / "a", beyond=address), text="new")
    entry = Store(here, before=began, beyond=address).find("model-1")
    assert entry is not None
    assert (entry.folder / "deeper" / "file").read_text() == "new"


@pytest.mark.parametrize(
    "damage", ["flipped", "cut", "gone", "entry cut", "entry altered", "entry of another", "leads out"]
)
def test_a_damaged_entry_is_said_and_made_again(tmp_path: Path, address: str, damage: str) -> None:
    put(Store(tmp_path / "a", beyond=address))
    found = objects(address)
    (file,), entry = (
        [one for name, one in found.items() if name.startswith("files/")],
        found["entries/model-1.json"],
    )
    meta = json.loads(entry.get()["Body"].read())
    if damage == "flipped":
        file.put(Body=b"weightz")
    elif damage == "cut":
        file.put(Body=b"wei")
    elif damage == "gone":
        file.delete()
    elif damage == "entry cut":
        entry.put(Body=json.dumps(meta)[:40].encode())
    elif damage == "entry altered":
        entry.put(Body=json.dumps({**meta, "facts": {"a": 2}}).encode())
    elif damage == "entry of another":
        put(Store(tmp_path / "a", beyond=address), "other weights", "model-2")
        entry.put(Body=objects(address)["entries/model-2.json"].get()["Body"].read())
    else:
        meta["files"][0]["path"] = "../../../outside"
        entry.put(Body=json.dumps(meta).encode())
    said: list[str] = []
    store = Store(tmp_path / "b", said.append, beyond=address)
    assert store.find("model-1") is None
    assert len(said) == 1
    assert "model-1" in said[0]
    assert "is damaged" in said[0]
    assert "made again" in said[0]
    assert not (tmp_path / "outside").exists()
    put(store)
    assert Store(tmp_path / "c", beyond=address).find("model-1") is not None


def test_an_entry_comes_after_its_files(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is lost in the middle leaves nothing that another could take for an entry."""
    said: list[str] = []
    store = Store(tmp_path / "a", said.append, beyond=address)

    def breaks(source: str, target: str) -> None:
        raise ConnectionError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(files_of(store), "put_file", breaks)
        put(store)
    assert objects(address) == {}
    assert store.find("model-1") is not None
    assert Store(tmp_path / "b", beyond=address).find("model-1") is None
    (text,) = said
    assert "does not answer (ConnectionError: no route to host); this case does without it" in text


def test_without_an_answer_a_case_does_without(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(path: str) -> bytes:
        raise PermissionError("Forbidden")

    said: list[str] = []
    store = Store(tmp_path, said.append, beyond=address)
    monkeypatch.setattr(files_of(store), "cat_file", breaks)
    assert store.find("model-1") is store.find("model-2") is None
    put(store)
    assert store.find("model-1") is not None
    assert len(said) == 1, "it is asked once"
    assert "Forbidden" in said[0]


@pytest.mark.worker
@pytest.mark.slow
def test_a_run_elsewhere_makes_nothing_again(
    pytester: pytest.Pytester, project: Project, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the connection to the server is no damage that a case did to its worker."""
    from weighbridge.run.executors import process

    started: list[int] = []
    start = process._Worker.__init__
    monkeypatch.setattr(process._Worker, "__init__", lambda self: started.append(1) or start(self))
    project(a=CASE, b=CASE.replace("0.5", "0.4"))
    pytester.makeini(f"[pytest]\nweighbridge_store = {address}")
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert len(started) == 1
    assert not report_of(pytester.path)["rows"][0]["steps"][0]["cached"]
    shutil.rmtree(pytester.path / ".weighbridge")
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert set(statuses(pytester.path).values()) == {"pass"}
    assert all(row["steps"][0]["cached"] for row in report_of(pytester.path)["rows"])


def test_the_store_is_looked_after_by_its_address(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cache(*arguments: str) -> tuple[int, str]:
        status = main(["cache", *arguments, "--store", address])
        return status, capsys.readouterr().out

    store = Store(tmp_path, beyond=address)
    for number in range(3):
        put(store, f"weights {number}" * 100, f"model-{number}")
    status, said = cache("show")
    assert status == 0
    assert "models, as they ship" in said
    assert "3" in said
    assert cache("verify") == (0, "3 entries are what was written\n")
    size = len("weights 0" * 100)
    assert cache("prune", "--size", f"{2 * size} B")[1] == "removed 0 entries, 0 B\n", (
        "somebody may be reading them"
    )
    monkeypatch.setattr(object_store, "IN_USE_S", -1)
    assert cache("prune", "--size", f"{2 * size} B")[1].startswith("removed 1 entries")
    assert len([name for name in objects(address) if name.startswith("files/")]) == 2
    assert Store(tmp_path / "b", beyond=address).find("model-0") is None
    next(one for name, one in objects(address).items() if name.startswith("files/")).put(Body=b"other")
    status, said = cache("verify")
    assert status == 1
    assert "is not what was written" in said
    assert cache("clear")[1] == "removed 1 entries\n"
    assert set(objects(address)) <= {"weighbridge-store"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"facts": {"a": 2}}, "meta.json was altered"),
        ({"key": "model-2"}, "it is model-2, under another name"),
    ],
)
def test_an_entry_that_nobody_would_take_is_damaged(
    tmp_path: Path, address: str, change: dict[str, Any], why: str
) -> None:
    """What `find` refuses, `verify` names: its files alone may be in order."""
    store = ObjectStore(address)
    put(Store(tmp_path / "a", beyond=address))
    assert store.verify() == []
    entry = objects(address)["entries/model-1.json"]
    entry.put(Body=json.dumps({**json.loads(entry.get()["Body"].read()), **change}).encode())
    assert store.verify() == [f"the stored entry model-1 is damaged ({why}); it is made again"]
    assert "entries/model-1.json" not in objects(address)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("s3://no-such-bucket/prefix", "cannot be reached: FileNotFoundError"),
        ("s9://bucket/prefix", "Protocol not known: s9"),
        ("file:///tmp/store", "a folder is named by its path, without file://"),
    ],
)
def test_a_wrong_address_is_told_before_anything_runs(
    pytester: pytest.Pytester, project: Project, bucket: str, place: str, why: str
) -> None:
    project()
    pytester.makeini(f"[pytest]\nweighbridge_store = {place}")
    result = pytester.runpytest_inprocess()
    assert f"weighbridge_store: the store {place}" in "\n".join(result.outlines + result.errlines)
    assert why in "\n".join(result.outlines + result.errlines)
    assert not (pytester.path / "reports").exists()


def test_another_layout_is_left_alone(address: str) -> None:
    import boto3

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/weighbridge-store", Body=b"2")
    with pytest.raises(object_store.UsageError, match="laid out by another version"):
        ObjectStore(address).begin()


def test_without_s3fs_it_says_what_to_install(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    pytester.makeini("[pytest]\nweighbridge_store = s3://bucket/prefix")
    monkeypatch.setattr("weighbridge.environment.requirements._package", lambda name: name != "s3fs")
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(
        "*weighbridge_store: needs the package 's3fs'*pip install 'weighbridge[[]s3[]]'*"
    )
