"""The `round_trip` item of a case: it passes where the promise is kept, and fails with the sentence where it is not."""

import os
import textwrap
from pathlib import Path

import pytest
from tests.projects import write_samples

MODEL = """
import numpy as np
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
"""

QUANTIZERS = """
import numpy as np
from hypothesis import Phase, settings

from weighbridge.contracts import STEPS, Model, Options, Promise, Step
from weighbridge.numerics.quantizer import QUANTIZERS
from weighbridge.numerics.quantizers.reference import ReferenceQuantizer

# For the tests that do not read the smallest example: looking for it takes most of the time.
settings.register_profile("unshrunk", phases=[Phase.generate])


class Floor(ReferenceQuantizer):
    name = "floor"
    engines = ("mine",)
    bit_exact = None

    def quantize(self, x, parameters, scheme):
        scale, zero_point = parameters.spread(x.shape, scheme)
        if np.isnan(x).any():
            raise ValueError("NaN")
        codes = np.floor(np.clip(x / scale, -1e9, 1e9)) + zero_point
        return np.clip(codes, scheme.lowest, scheme.highest).astype(np.int64)


if FLOOR:
    QUANTIZERS.add("floor", Floor())


def apply(model, options, context):
    from weighbridge.steps.quantize.torch_dynamic import DynamicOptions, dynamic

    return dynamic(model, DynamicOptions(), context)


def step(method, granularity=None):
    STEPS.add(f"quantize:{method}", Step(
        "quantize", method, ("torch",), Options, apply, must="quantize",
        scheme=lambda options: Promise(granularity=granularity),
    ))


step("mine")
step("coarse", "channel")
step("right", "tensor")
"""


@pytest.fixture
def registries():
    """What a project of a test registers is gone after it: the next one runs in the same process."""
    from weighbridge.contracts import STEPS
    from weighbridge.numerics import QUANTIZERS

    before = [(registry, set(registry.names())) for registry in (STEPS, QUANTIZERS)]

    def forget():
        for registry, names in before:
            for name in set(registry.names()) - names:
                del registry._entries[name]

    yield forget
    forget()


@pytest.fixture
def case(pytester, registries):
    pytester.makepyfile(model=MODEL)

    def run(recipe, *flags, extra="", floor=False):
        pytester.makeconftest(QUANTIZERS.replace("FLOOR", str(floor)))
        folder = pytester.mkdir("cases")
        write_samples(folder, {"x": [16]})
        text = f"""
        model: {{torch: ../model.py:net}}
        data: samples.npz
        recipe:
          - {recipe}
        thresholds:
          size: 1 GB
        {extra}
        """
        (folder / "net.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
        return pytester.runpytest(*flags)

    return run


@pytest.mark.parametrize(
    "recipe",
    [
        "{quantize: dynamic, engine: torch}",
        "{quantize: dynamic, engine: torch, per_channel: true}",
        "{quantize: dynamic, engine: onnxruntime}",
        "{quantize: dynamic, engine: onnxruntime, per_channel: true, weights: uint8}",
        "{quantize: static, engine: onnxruntime, per_channel: true}",
    ],
)
def test_what_was_asked_for_passes(case, recipe):
    result = case(recipe)
    result.assert_outcomes(passed=2)


def test_per_tensor_where_per_channel_was_asked_fails_just_the_item(case):
    result = case("quantize: coarse")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*net.yaml:5: quantize: coarse: the artifact is not what was asked for*",
            "*asked for per-channel, got per-tensor*",
        ]
    )


@pytest.mark.slow
def test_a_quantizer_that_breaks_a_property_fails_with_the_code_to_reproduce_it(case):
    result = case("quantize: mine", "cases", "-k", "not quantizer", floor=True)
    result.assert_outcomes(passed=1, failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*quantizer 'floor' breaks it under Scheme(*", "*value*code*", "*to reproduce:*", "*check(trial, *"]
    )


def test_a_known_failure_can_be_named(case):
    result = case("quantize: coarse", extra="xfail: {round_trip: per-channel is not there yet}")
    result.assert_outcomes(passed=1, xfailed=1)


def test_a_quantizer_that_is_registered_is_an_item_of_its_own(case, pytester, registries):
    result = case("quantize: right", "-v", "--hypothesis-profile=unshrunk", floor=True)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*collected 3 items",
            "*::quantizer-floor FAILED*",
            "*quantizer 'floor' breaks it under Scheme(*",
            "*check(trial, *",
        ]
    )
    registries()
    last_failed = pytester.runpytest("--lf", "--co", "-q")
    last_failed.stdout.fnmatch_lines(["::quantizer-floor", "1/3 tests collected (2 deselected)*"])
    registries()
    named = pytester.runpytest("--co", "-q", "cases/net.yaml::net::round_trip")
    named.stdout.fnmatch_lines(["cases/net.yaml::net::round_trip", "1 test collected*"])


@pytest.mark.parametrize(("profile", "examples"), [("default", 100), ("thorough", 5_000)])
def test_the_profile_is_honoured(pytester, profile, examples):
    pytester.makepyfile(
        f"""
        from weighbridge.numerics.hunt import current_settings

        def test_examples():
            assert current_settings().max_examples == {examples}
        """
    )
    pytester.runpytest(f"--hypothesis-profile={profile}").assert_outcomes(passed=1)


def test_a_profile_that_is_asked_for_holds_for_the_tests_of_this_package(pytester, monkeypatch):
    """`make test-thorough`. In a process of its own: the profile would be loaded for the tests that follow."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    pytester.makeconftest("from tests.conftest import own_profile, pytest_configure")
    pytester.makepyfile(
        """
        from weighbridge.numerics.hunt import current_settings

        def test_examples():
            assert current_settings().max_examples == 5_000
        """
    )
    pytester.runpytest_subprocess("--hypothesis-profile=thorough").assert_outcomes(passed=1)
