"""Which arithmetic a quantize step is held to: every quantizer that computes as it does, in the schemes it has."""

from types import SimpleNamespace

import numpy as np
import pytest

from weighbridge.contracts import Promise
from weighbridge.numerics import Scheme
from weighbridge.numerics.quantizers.reference import ReferenceQuantizer
from weighbridge.run import round_trip as promises

PER_CHANNEL, PER_TENSOR = Scheme("int8", axis=0), Scheme("int8")
STEP = SimpleNamespace(key="quantize:mine")


class Having(ReferenceQuantizer):
    def __init__(self, name, *schemes):
        self.name, self.schemes = name, schemes

    def supports(self, scheme):
        return scheme in self.schemes


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn for, without drawing it; `quantizers` are those that compute as the step does."""
    seen = SimpleNamespace(hunts=[], checks=[], quantizers=[])
    monkeypatch.setattr(promises, "_quantizers", lambda step: iter(seen.quantizers))
    seen.hunt = lambda q, scheme, share: seen.hunts.append((q.name, scheme, share))
    monkeypatch.setattr(
        "weighbridge.numerics.hunt.check_weights",
        lambda q, scheme, weights: seen.checks.append((q.name, scheme, list(weights))),
    )
    return seen


def read_back(*schemes):
    weights = [
        SimpleNamespace(layer=f"layer{number}", scheme=scheme, original=np.ones((2, 2), np.float32))
        for number, scheme in enumerate(schemes)
    ]
    return SimpleNamespace(weights=weights)


def test_each_quantizer_draws_in_the_first_scheme_that_it_has(drawn):
    drawn.quantizers = [Having("both", PER_CHANNEL, PER_TENSOR), Having("tensor", PER_TENSOR)]
    assert (
        list(promises._check_properties(STEP, Promise(), read_back(PER_CHANNEL, PER_TENSOR), drawn.hunt))
        == []
    )
    assert drawn.hunts == [("both", PER_CHANNEL, 0.25), ("tensor", PER_TENSOR, 0.25)]
    assert drawn.checks == [
        ("both", PER_CHANNEL, ["layer0"]),
        ("both", PER_TENSOR, ["layer1"]),
        ("tensor", PER_TENSOR, ["layer1"]),
    ]


@pytest.mark.parametrize(
    "variant",
    [Scheme("int8", narrow=True), Scheme("int8", rounding="half_away")],
    ids=["narrow", "half away"],
)
def test_what_the_recipe_leaves_open_is_the_quantizers(drawn, variant):
    drawn.quantizers = [Having("other", variant)]
    assert list(promises._check_properties(STEP, Promise(), read_back(PER_TENSOR), drawn.hunt)) == []
    assert drawn.hunts == [("other", variant, 0.5)]


def test_a_scheme_that_nobody_has_is_said_to_be_untested(drawn):
    drawn.quantizers = [Having("tensor", PER_TENSOR)]
    (note,) = promises._check_properties(STEP, Promise(), read_back(PER_CHANNEL), drawn.hunt)
    assert note.startswith("quantize:mine: no registered quantizer computes as it does in this scheme")
    assert drawn.hunts == []
