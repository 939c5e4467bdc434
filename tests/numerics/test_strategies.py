"""The strategies draw what they promise."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from weighbridge import strategies
from weighbridge.numerics import QUANTIZERS, Scheme

SEARCH = settings(
    max_examples=2000, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)

WANTED = {
    "negative zero": lambda x: bool(np.any((x == 0) & np.signbit(x))),
    "subnormal": lambda x: bool(np.any((x != 0) & (np.abs(x) < 2.0**-126))),
    "0-d": lambda x: x.ndim == 0,
    "5-d": lambda x: x.ndim == 5 and x.size > 0,
    "an empty axis": lambda x: x.size == 0,
    "not contiguous": lambda x: not x.flags.c_contiguous and not x.flags.f_contiguous,
    "column-major": lambda x: x.flags.f_contiguous and not x.flags.c_contiguous,
    "one huge outlier": lambda x: x.size > 3 and np.sum(np.abs(x) > 1e5) == 1 and np.sum(np.abs(x) < 10) > 2,
    "a channel of zeros": lambda x: x.ndim == 2 and x.any() and not x.any(axis=1).all() and x.shape[1] > 1,
    "a constant channel": lambda x: x.ndim == 2 and x.shape[1] > 2 and bool(np.any(np.ptp(x, axis=1) == 0)),
}


@pytest.mark.parametrize("what", WANTED)
def test_tensors_hold_what_breaks_quantizers(what):
    assert WANTED[what](find(strategies.tensors(), WANTED[what], settings=SEARCH))


@pytest.mark.parametrize("special", [np.isnan, np.isposinf, np.isneginf])
def test_tensors_that_need_not_be_finite(special):
    find(strategies.tensors(finite=False), lambda x: bool(special(x).any()), settings=SEARCH)


@given(strategies.tensors())
def test_tensors_are_finite_float32(x):
    assert x.dtype == np.float32
    assert np.isfinite(x).all()


def test_parameters_hit_ties_and_the_clamp():
    scheme = Scheme("int8", symmetric=False)

    def tie(trial):
        return trial.drawn is not None and bool(np.any(np.abs(trial.ratio - np.trunc(trial.ratio)) == 0.5))

    def past(trial):
        return trial.drawn is not None and not trial.inside.all()

    for wanted in (tie, past):
        find(strategies.trials(QUANTIZERS.get("reference"), scheme), wanted, settings=SEARCH)


@settings(max_examples=15, deadline=None)
@given(strategies.models("torch"))
def test_torch_models_run(drawn):
    import torch

    module, x = drawn
    with torch.no_grad():
        assert module(torch.from_numpy(x)).shape == (len(x), 3)


@settings(max_examples=15, deadline=None)
@given(strategies.models("onnx"))
def test_onnx_models_run(drawn):
    import onnxruntime

    model, x = drawn
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0].shape == (len(x), 3)


def test_an_impossible_scheme_is_refused():
    with pytest.raises(ValueError, match="no scheme"):
        strategies.schemes(lambda scheme: False)
