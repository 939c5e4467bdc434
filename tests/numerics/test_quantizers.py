"""Every registered quantizer keeps every property, and every known difference is still one."""

import importlib.util

import numpy as np
import pytest

from weighbridge.numerics import QUANTIZERS, Scheme, Trial, Violation, check
from weighbridge.numerics.hunt import check_weights, hunt

KNOWN = [
    pytest.param(quantizer, known, id=f"{quantizer.name}-{known.property}")
    for quantizer in QUANTIZERS
    for known in quantizer.known
]


def skip_unless_installed(quantizer):
    for requirement in quantizer.requires:
        if importlib.util.find_spec(requirement.name) is None:
            pytest.skip(f"{requirement.name} is absent: {requirement.install}")


@pytest.mark.parametrize("name", QUANTIZERS.names())
def test_registered_quantizer_keeps_every_property(name):
    quantizer = QUANTIZERS.get(name)
    skip_unless_installed(quantizer)
    hunt(quantizer)


@pytest.mark.parametrize(("quantizer", "known"), KNOWN)
def test_known_difference_is_still_one(quantizer, known):
    skip_unless_installed(quantizer)
    trial = Trial(quantizer, known.scheme, np.array(known.x, np.float32), known.parameters)
    assert known.where(trial)
    with pytest.raises(Violation, match=known.property):
        check(trial, known.property)


def test_a_weight_that_an_implementation_does_not_take_is_not_held_against_it():
    """A channel of one number, as a Linear of one input has: torchao takes one scale of all of them."""
    quantizer, scheme = QUANTIZERS.get("torchao_affine"), Scheme("int8", axis=0)
    skip_unless_installed(quantizer)
    column = np.array([[0.6], [-0.7], [-0.4], [0.3]], np.float32)
    assert not quantizer.accepts(scheme, column.shape)
    check_weights(quantizer, scheme, {"head": column})
