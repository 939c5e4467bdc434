"""What a case does to its process costs that case a row, and no other case anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load
from tests.projects import CASE, as_onnx, report_of, statuses, trained

from weighbridge.plugin.options import Settings
from weighbridge.run.executors import process

pytestmark = pytest.mark.worker
Project = Callable[..., Path]

HARM = """
import os, signal, sys, time, ctypes
import torch
from model import net


def crashes():
    print("last words")
    sys.stdout.flush()
    ctypes.string_at(0)


def leaves():
    os._exit(0)


def hangs():
    time.sleep(600)


def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def devours():
    held = []
    while True:
        held.append(bytearray(50_000_000))
        held[-1][::4096] = b"x" * len(held[-1][::4096])


def meddles():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(7)
    torch.set_grad_enabled(False)
    os.environ["MEDDLED"] = "yes"
    os.chdir("/")
    sys.path.insert(0, "/nowhere")
    module = net()
    torch.set_default_dtype(torch.float32)
    built = net().float()
    torch.set_default_dtype(torch.float64)
    return built


def looks():
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() != 7
    assert torch.is_grad_enabled()
    assert "MEDDLED" not in os.environ
    assert os.getcwd() != "/"
    assert "/nowhere" not in sys.path
    return net()
"""


def harmful(name: str, more: str = "") -> str:
    return CASE.replace("model.py:net,", f"harm.py:{name},") + more


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (
            "crashes",
            "",
            "*bad.yaml:2: load (load): its process was killed by signal 11 (SIGSEGV)*last words*",
        ),
        pytest.param(
            "leaves",
            "",
            "*bad.yaml:2: load (load): its process ended by itself, with exit status 0*",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "is_killed",
            "",
            "*bad.yaml:2: load (load): its process was killed by signal 9 (SIGKILL)*",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "hangs",
            "limits: {time: 8s}\n",
            "*load (load): it ran past its limit of time, and was ended*",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "devours",
            "limits: {memory: 1.5 GB}\n",
            "*of memory, past its limit of 1.5 GB, and was ended*",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_that_is_lost_costs_its_case_alone(
    pytester: pytest.Pytester, project: Project, name: str, more: str, message: str
) -> None:
    folder = project(bad=harmful(name, more), net=CASE)
    (folder / "harm.py").write_text(HARM)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(message)
    assert statuses(pytester.path) == {
        "bad::accuracy_drop": "error",
        "bad::size_ratio": "error",
        "net::accuracy_drop": "pass",
        "net::size_ratio": "pass",
    }
    assert report_of(pytester.path)["rows"][0]["stage"] == "load"


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_what_a_case_changes_in_its_process_never_reaches_the_next(
    pytester: pytest.Pytester, project: Project, executor: str
) -> None:
    folder = project(a=harmful("meddles"), b=harmful("looks"))
    (folder / "harm.py").write_text(HARM)
    pytester.runpytest_inprocess(f"--executor={executor}").assert_outcomes(passed=4)


@pytest.mark.slow
def test_the_project_can_limit_every_case(pytester: pytest.Pytester, project: Project) -> None:
    pytester.makeini("[pytest]\nweighbridge_limit_time = 1h")
    folder = project(bad=harmful("hangs"), own=CASE + "limits: {time: 5m}\n")
    (folder / "harm.py").write_text(HARM)
    result = pytester.runpytest_inprocess("--limit-time=8s")
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines("*ran past its limit of time*")


def test_a_limit_that_is_no_quantity(pytester: pytest.Pytester, project: Project) -> None:
    project(net=CASE + "limits: {time: soon, memory: -1}\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*'soon' is not a quantity in s*", "*limits.memory*greater than 0*"])
    result = pytester.runpytest_inprocess("--limit-time=soon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


STEP = """
from weighbridge.contracts import METRICS, STEPS, Context, Model, Options, Step
from weighbridge.measure.metrics import UserMetric


class NoOptions(Options):
    pass


def half(model, options, context):
    import copy
    module = copy.deepcopy(model.value)
    module[0].weight.data[::2] = 0
    return Model("torch", module, model.source, ("every other row went",))


STEPS.add("prune:half", Step("prune", "half", ("torch",), NoOptions, half, must="sparsify"))


METRICS.add("sure", UserMetric("sure", lambda outputs, targets: outputs.max(1).astype("float64")))
"""
OWN = CASE.replace("prune: l1_unstructured\n    amount: 0.5", "prune: half").replace(
    "accuracy_drop: 0.02", "accuracy: {min: -1}"
)


@pytest.mark.slow
def test_what_a_conftest_registers_works_in_the_worker_and_in_check(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=f"metric: sure\n{OWN}")
    pytester.makeconftest(STEP)
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    (row,) = report_of(pytester.path)["rows"]
    assert row["steps"][0]["notes"] == ["every other row went"]
    assert "every other row went" in row["notes"]
    done = subprocess.run(
        [Path(sys.executable).parent / "weighbridge", "check", "cases/net.yaml"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "cases/net.yaml: 1 case\n"), done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_at_once_with_the_report_of_what_is_done(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project(a=CASE, b=harmful("hangs"))
    (folder / "harm.py").write_text(HARM.replace("time.sleep(600)", "open('hanging', 'w'); time.sleep(600)"))
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        stdout=subprocess.PIPE,
        # What a shell runs in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(pytester.path / "hanging")
    started, children = time.monotonic(), psutil.Process(run.pid).children(recursive=True)
    assert children
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert time.monotonic() - started < 20  # two seconds on a machine of one's own
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert statuses(pytester.path) == {"a::accuracy_drop": "pass", "a::size_ratio": "pass"}
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_goes_on_where_it_was(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project(a=CASE, b=harmful("hangs"))
    starts = "import subprocess; subprocess.Popen(['sleep', '600']); open('hanging', 'w'); time.sleep(600)"
    (folder / "harm.py").write_text(HARM.replace("time.sleep(600)", starts))
    run = subprocess.Popen([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], stdout=subprocess.PIPE)
    wait_for(pytester.path / "hanging")
    children = psutil.Process(run.pid).children(recursive=True)
    assert "sleep" in [child.name() for child in children]
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone
    assert not alive
    (folder / "b.yaml").write_text(CASE)
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert report_of(pytester.path)["rows"][0]["steps"][0]["cached"]
    assert list((pytester.path / ".weighbridge" / "making").iterdir()) == []


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} never came")


@pytest.mark.slow
def test_the_debugger_gets_the_case_in_its_own_process(pytester: pytest.Pytester, project: Project) -> None:
    folder = project(net=harmful("looks"))
    (folder / "harm.py").write_text(
        HARM.replace("return net()", f"assert os.getpid() == {os.getpid()}; return net()")
    )
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(passed=2)
    pytester.runpytest_inprocess("--executor=process", "--fresh").assert_outcomes(errors=2)

    config = pytester.parseconfigure("--pdb")
    assert Settings.from_config(config).executor == "inline"


def test_an_unknown_executor(pytester: pytest.Pytester, project: Project) -> None:
    project()
    result = pytester.runpytest_inprocess("--executor=inlien")
    result.stdout.fnmatch_lines("*unknown executor 'inlien'; did you mean 'inline'?*")


@pytest.mark.slow
def test_speed_is_measured_in_the_worker_and_reaches_pytest_benchmark(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=CASE.replace("thresholds:", "thresholds:\n  speedup: 0.01"))
    result = pytester.runpytest_inprocess("--bench", "--benchmark-json=speed.json")
    result.assert_outcomes(passed=3)
    assert "net::speed[candidate]" in (pytester.path / "speed.json").read_text()


TWO = """
model: {MODEL}
data: {DATA}
thresholds: {{size: 1 GB}}
cases:
  - {{name: one, recipe: [{{STEP}}]}}
  - {{name: two, recipe: [{{STEP, OPTION}}]}}
"""
SOUND = {
    "exported": (
        "{torch: model.py:net, weights: net.safetensors}",
        "model.py:splits",
        "quantize: static, engine: onnxruntime",
    ),
    "onnx": ("{onnx: net.onnx}", "data.npz", "quantize: dynamic"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exported", "onnx"])
def test_sound_cases_share_a_worker(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What libraries leave behind, a progress bar's thread and torch itself, is no damage that a case did."""

    started: list[int] = []
    start = process._Worker.__init__
    monkeypatch.setattr(process._Worker, "__init__", lambda self: started.append(1) or start(self))
    model, data, step = SOUND[kind]
    folder = project()
    text = (
        TWO.replace("STEP", step).replace("OPTION", "per_channel: true").replace("{{", "{").replace("}}", "}")
    )
    (folder / "case.yaml").write_text(text.replace("{MODEL}", model).replace("{DATA}", data))
    (folder / "net.onnx").write_bytes(as_onnx(load(trained())))
    pytester.runpytest_inprocess("cases/case.yaml", "-k", "size").assert_outcomes(passed=2)
    assert len(started) == 1
