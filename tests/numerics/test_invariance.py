"""Metamorphic checks on whole artifacts: each fails for the fault it exists for, and for no other."""

import textwrap

import numpy as np
import pytest
from tests.projects import write_samples

from weighbridge.core.errors import StageError
from weighbridge.measure.invariance import RUINED, batch_axes, difference

MODEL = """
import numpy as np
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))


class Mixing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        y = self.inner(x)
        return y - y.mean(0)


class Positional(Mixing):
    def forward(self, x):
        return self.inner(x) * torch.arange(1, len(x) + 1)[:, None]


class Restless(Mixing):
    def forward(self, x):
        return self.inner(x) + torch.rand(1)


class TimeFirst(Mixing):
    def forward(self, x):
        y = self.inner(x)
        return torch.stack([y, 2 * y, 3 * y]), x.new_ones(())


class TimeFirstMixing(TimeFirst):
    def forward(self, x):
        y, one = super().forward(x)
        return y - y.mean(1, keepdim=True), one


class Broken(Mixing):
    def forward(self, x):
        return self.inner(x) / (len(x) > 1)


def mixing():
    return Mixing()


def time_first():
    return TimeFirst()


def time_first_mixing():
    return TimeFirstMixing()


def broken():
    return Broken()


def positional():
    return Positional()


def restless():
    return Restless()
"""
NAMES = ("batch_invariance", "permutation_invariance", "determinism")


@pytest.fixture
def held(pytester):
    pytester.makepyfile(model=MODEL)

    def run(model, recipe=""):
        folder = pytester.mkdir("cases")
        write_samples(folder, {"x": [16]})
        text = f"""
        model: {{torch: ../model.py:{model}}}
        data: samples.npz
        {recipe}
        thresholds:
          batch_invariance: 1e-5
          permutation_invariance: 1e-5
          determinism: 1e-5
        """
        (folder / "net.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
        result = pytester.runpytest("-p", "no:cacheprovider", "-rA", "-k", " or ".join(NAMES))
        assert sum(result.parseoutcomes().get(what, 0) for what in ("passed", "failed")) == len(NAMES)
        lines = result.outlines
        return {name for name in NAMES if any(line.startswith("FAILED") and name in line for line in lines)}

    return run


@pytest.mark.parametrize(
    ("model", "broken"),
    [
        ("net", set()),
        ("mixing", {"batch_invariance"}),
        ("time_first", set()),
        ("time_first_mixing", {"batch_invariance"}),
        ("broken", {"batch_invariance"}),
        ("positional", {"batch_invariance", "permutation_invariance"}),
        ("restless", set(NAMES)),
    ],
)
def test_each_fault_fails_what_exists_for_it(held, model, broken):
    assert held(model) == broken


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_dynamic_quantization_breaks_batch_invariance_only(held, engine):
    assert held("net", f"recipe: [{{quantize: dynamic, engine: {engine}}}]") == {"batch_invariance"}


def test_static_quantization_keeps_all(held):
    assert held("net", "recipe: [{quantize: static, engine: onnxruntime}]") == set()


@pytest.mark.parametrize(
    ("whole", "one", "axes"),
    [
        ([(8, 3), (20, 8, 5)], [(1, 3), (20, 1, 5)], {0: 0, 1: 1}),
        ([(8, 8), (2,), ()], [(8, 1), (2,), ()], {0: 1}),
        ([(40, 2)], [(5, 2)], {0: 0}),
    ],
)
def test_the_batch_is_where_an_output_grows(whole, one, axes):
    assert batch_axes([np.zeros(shape) for shape in whole], [np.zeros(shape) for shape in one], 8) == axes


@pytest.mark.parametrize(
    ("whole", "one", "why"),
    [((8, 8), (1, 1), "which sample"), ((7, 2), (3, 2), "which sample"), ((2,), (2,), "none")],
)
def test_an_output_that_does_not_grow_with_the_batch_is_an_error_that_says_so(whole, one, why):
    with pytest.raises(StageError, match=why):
        batch_axes([np.zeros(whole)], [np.zeros(one)], 8)


def test_difference_is_relative_to_the_output():
    one = np.array([3.0, -3.0])
    assert difference((one,), (one,)) == 0
    assert difference((one,), (np.array([3.0, -2.7]),)) == pytest.approx(0.1)
    assert difference((1000 * one,), (np.array([3000.0, -2700.0]),)) == pytest.approx(0.1)


def test_nan_equals_nan_and_nothing_else():
    nan = np.array([1.0, np.nan])
    assert difference((nan,), (nan,)) == 0
    assert difference((nan,), (np.array([1.0, 2.0]),)) == RUINED
