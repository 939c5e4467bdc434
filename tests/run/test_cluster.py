"""Cases on a real Ray cluster of several nodes, of which one is lost while it is at work."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.projects import CASE, report_of, statuses
from tests.run.object_stores import s3_server
from tests.run.test_executors import HARM, harmful, wait_for
from tests.run.test_turns import STAMPING

from weighbridge.run.object_store import ObjectStore

Project = Callable[..., Path]
MEMORY = 80 * 2**20
"""Bytes of each node's object store, near the least that Ray takes: a task has a few kilobytes."""


class Nodes:
    """A head that carries out nothing, a node, and one that offers `bench`; each with one core and a folder of its own for
    what is not shared. They reach `bucket`."""

    def __init__(self, folder: Path, bucket: str) -> None:
        from ray.cluster_utils import Cluster

        self._folder, self.bucket = folder, bucket
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.client = f"127.0.0.1:{port}"
        """Where Ray Client finds it."""
        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": MEMORY,
            "ray_client_server_port": port,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.add()
        self.add(resources={"bench": 1})
        self.address: str = self._cluster.address

    def add(self, **options: Any) -> Any:
        own = self._folder / uuid.uuid4().hex
        own.mkdir()
        return self._cluster.add_node(
            num_cpus=1, object_store_memory=MEMORY, env_vars={"TMPDIR": str(own)}, **options
        )

    @contextmanager
    def without(self, raylet: int) -> Iterator[None]:
        """The node whose raylet has this process id is killed, with what runs on it; afterwards there is one like it again."""
        (node,) = [one for one in self._cluster.list_all_nodes() if pid_of(one) == raylet]
        self._cluster.remove_node(node, allow_graceful=False)
        try:
            yield
        finally:
            self.add(resources=node._ray_params.resources)

    def benches(self) -> set[int]:
        return {
            pid_of(node)
            for node in self._cluster.list_all_nodes()
            if "bench" in (node._ray_params.resources or {})
        }

    def shut_down(self) -> None:
        self._cluster.shutdown()


def pid_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="pip install 'weighbridge[ray]'")
    with pytest.MonkeyPatch.context() as patch, s3_server() as bucket:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Nodes(tmp_path_factory.mktemp("nodes"), bucket)
        yield nodes
        nodes.shut_down()


@pytest.fixture
def nodes(running: Nodes, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """The cluster that `--executor=ray` finds."""
    monkeypatch.setenv("RAY_ADDRESS", running.address)
    return running


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the last run without what differs between two runs of one executor."""
    found = report_of(folder)["rows"]
    for row in found:
        del row["seconds"]
        for step in row["steps"]:
            del step["seconds"], step["cached"]
    return found


@pytest.mark.worker
@pytest.mark.slow
def test_the_rows_are_those_of_the_process_executor(
    nodes: Nodes, pytester: pytest.Pytester, project: Project
) -> None:
    """A case that passes, one that fails, one that kills its worker, and one that cannot be planned."""
    folder = project(
        a=CASE,
        b=CASE.replace("0.5", "0.97"),
        c=harmful("leaves"),
        d=CASE.replace("prune: l1_unstructured\n    amount: 0.5", "quantize: litert"),
    )
    (folder / "harm.py").write_text(HARM)
    pytester.runpytest_subprocess("--executor=process", "-p", "no:cacheprovider")
    expected = rows(pytester.path)
    assert [row["status"] for row in expected][:3] == ["pass", "fail", "error"]
    pytester.runpytest_subprocess("--executor=ray", "--fresh", "-p", "no:cacheprovider")
    assert rows(pytester.path) == expected
    assert list((pytester.path / ".weighbridge" / "making").iterdir()) == []


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run of pytest that listens to Ctrl-C, as one that a shell starts in the background does not; it ends with the test."""
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield run
    finally:
        run.kill()
        run.wait()


LOST = """
import os, time
from pathlib import Path
from model import net

HERE = Path(__file__).parent


def once():
    if not (HERE / "raylet").exists():
        (HERE / "raylet.part").write_text(os.environ["RAY_RAYLET_PID"])
        (HERE / "raylet.part").rename(HERE / "raylet")
        time.sleep(600)
    return net()


def always():
    os.kill(os.getppid(), 9)
    time.sleep(600)
"""


@pytest.mark.worker
@pytest.mark.slow
def test_a_case_whose_node_is_lost_is_carried_out_by_another(
    nodes: Nodes, pytester: pytest.Pytester, project: Project
) -> None:
    folder = project(a=harmful("once"), b=CASE, c=harmful("always"))
    (folder / "harm.py").write_text(LOST)
    with started("--executor=ray") as run:
        wait_for(folder / "raylet")
        with nodes.without(int((folder / "raylet").read_text())):
            said, _ = run.communicate(timeout=200)
    found = statuses(pytester.path)
    assert {found[f"{name}::size_ratio"] for name in "ab"} == {"pass"}, said
    assert found["c::size_ratio"] == "error"
    message = report_of(pytester.path)["rows"][2]["message"]
    assert message.startswith("lost 3 times with the node or the worker that carried it out (")
    assert message.count(os.uname().nodename) == 3


@pytest.mark.worker
@pytest.mark.slow
def test_what_is_timed_has_a_node_of_its_class_to_itself(
    nodes: Nodes, pytester: pytest.Pytester, project: Project
) -> None:
    """And what it finds in the bucket others have made."""
    text = CASE.partition("thresholds:")[0] + "thresholds: {stamp: 2, size: 1 GB}\n"
    project(a=text, b=text.replace("0.5", "0.6"), c=text.replace("0.5", "0.7"))
    note = STAMPING.replace(
        "[began, time.monotonic()]", "[began, time.monotonic(), os.environ['RAY_RAYLET_PID']]"
    )
    pytester.makeconftest(note.replace("SECONDS", "0.5").replace("import json", "import os, json"))
    store = f"weighbridge_store = {nodes.bucket}/timed"
    pytester.makeini(f"[pytest]\nweighbridge_speed_resource = bench\n{store}")
    pytester.runpytest_subprocess("--executor=ray", "--bench")
    assert set(statuses(pytester.path).values()) == {"pass"}, report_of(pytester.path)
    stamps = [json.loads(line) for line in (pytester.path / "stamps.txt").read_text().splitlines()]
    assert {int(raylet) for *_, raylet in stamps} <= nodes.benches()
    assert len(stamps) == 3
    assert all(end <= begin for (_, end, _), (begin, *_) in itertools.pairwise(sorted(stamps)))
    steps = [step for row in report_of(pytester.path)["rows"] for step in row["steps"]]
    assert all(step["cached"] for step in steps)
    assert not any(path.is_file() for path in (pytester.path / ".weighbridge" / "store").rglob("*"))
    assert "model" in {key.partition("-")[0] for key, *_ in ObjectStore(f"{nodes.bucket}/timed").entries()}
    pytester.makeini("[pytest]\nweighbridge_speed_resource = bnech")
    result = pytester.runpytest_subprocess("--executor=ray", "--bench", "-k", "a and stamp")
    result.stdout.fnmatch_lines("*no node of the cluster offers 'bnech'*ray start*")


@pytest.mark.worker
@pytest.mark.slow
def test_a_node_without_the_project_refuses(
    nodes: Nodes, pytester: pytest.Pytester, project: Project
) -> None:
    project()
    pytester.makeconftest(
        """
        from weighbridge.run.executors import node

        parcel = node.parcel
        node.parcel = lambda job, book: {**parcel(job, book), "case_sha256": "of another file"}
        """
    )
    result = pytester.runpytest_subprocess("--executor=ray")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        "*net.yaml:*the node * does not see *net.yaml as the machine that runs pytest does*"
    )


@pytest.mark.worker
@pytest.mark.slow
def test_the_loss_of_the_last_node_of_the_class_ends_what_waits_for_it(
    nodes: Nodes, pytester: pytest.Pytester, project: Project
) -> None:
    text = CASE.partition("thresholds:")[0] + "thresholds: {stamp: 2, size: 1 GB}\n"
    project(a=text, b=text.replace("0.5", "0.6"))
    hangs = 'HERE.joinpath("timing").touch(); time.sleep(SECONDS)'
    pytester.makeconftest(STAMPING.replace("time.sleep(SECONDS)", hangs).replace("SECONDS", "600"))
    pytester.makeini("[pytest]\nweighbridge_speed_resource = bench")
    with started("--executor=ray", "--bench") as run:
        wait_for(pytester.path / "timing")
        (bench,) = nodes.benches()
        with nodes.without(bench):
            said, _ = run.communicate(timeout=100)
    assert set(statuses(pytester.path).values()) == {"error"}
    assert said.count("no node of the cluster offers 'bench'") >= 2


@pytest.mark.worker
@pytest.mark.slow
def test_ctrl_c_leaves_no_task_behind(nodes: Nodes, pytester: pytest.Pytester, project: Project) -> None:
    folder = project(a=CASE, b=harmful("hangs"), c=harmful("hangs"))
    hangs = "Path(__file__).with_name(f'at-{os.getpid()}').touch(); time.sleep(600)"
    (folder / "harm.py").write_text("from pathlib import Path\n" + HARM.replace("time.sleep(600)", hangs))
    with started(f"--executor=ray://{nodes.client}") as run:
        for _ in range(1000):
            if hanging := list(folder.glob("at-*")):
                break
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    workers = [int(path.name.partition("-")[2]) for path in hanging]
    for _ in range(100):
        if not any(map(psutil.pid_exists, workers)):
            break
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, workers))


def test_without_ray_it_says_what_to_install(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setattr("weighbridge.environment.requirements._package", lambda name: name != "ray")
    result = pytester.runpytest_inprocess("--executor=ray")
    result.stdout.fnmatch_lines(
        "*--executor ray: needs the package 'ray'*pip install 'weighbridge[[]ray[]]'*"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executor=process://here"], "this executor has none; ray has"),
        (["--executor=ray", "-n", "2"], "--executor ray has its cases side by side already: leave -n out"),
    ],
)
def test_wrong_use_is_told(
    pytester: pytest.Pytester, project: Project, arguments: list[str], message: str
) -> None:
    project()
    result = pytester.runpytest_inprocess(*arguments)
    assert result.ret != pytest.ExitCode.OK
    assert message in "\n".join(result.outlines + result.errlines)
