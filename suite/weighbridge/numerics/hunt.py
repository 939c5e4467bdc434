"""Looking for a tensor that breaks a property: Hypothesis, in the profile that pytest was given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from weighbridge.environment.one_thread import one_thread
from weighbridge.numerics.elements import Array
from weighbridge.numerics.properties import check_all
from weighbridge.numerics.quantizer import Quantizer
from weighbridge.numerics.schemes import Scheme
from weighbridge.numerics.trial import Trial
from weighbridge.numerics.violation import Violation

if TYPE_CHECKING:
    from hypothesis import settings

THOROUGH = 5_000
"""Examples in the profile `thorough`; Hypothesis' own default has 100."""


def register_profiles() -> None:
    """Make `--hypothesis-profile=thorough` known.

    Hypothesis' pytest plugin loads the profile in its `pytest_configure` and refuses unknown names, so this has to
    run before that. The profile `default` is Hypothesis' own, and a profile of the user's is kept.
    """
    from hypothesis import settings

    settings.register_profile("thorough", max_examples=THOROUGH)


def current_settings() -> settings:
    """The loaded profile, without the limits that are about the speed of a single example."""
    from hypothesis import HealthCheck, settings

    loaded = settings()
    return settings(
        loaded,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[*loaded.suppress_health_check, HealthCheck.too_slow],
    )


def hunt(
    quantizer: Quantizer,
    scheme: Scheme | None = None,
    seed: int | None = None,
    shrink: bool = True,
    share: float = 1.0,
) -> None:
    """Hold `quantizer` to every property on drawn trials, of one scheme or of all that it supports.

    `share` of the profile's examples are drawn. Raises `Violation` with the smallest trial found and the code to
    reproduce it. A `seed` makes the draw repeatable and leaves Hypothesis' database of earlier failures aside.
    """
    import hypothesis

    from weighbridge.strategies import trials

    chosen = current_settings()
    chosen = hypothesis.settings(chosen, max_examples=math.ceil(share * chosen.max_examples))
    if not shrink:
        phases = [phase for phase in chosen.phases if phase is not hypothesis.Phase.shrink]
        chosen = hypothesis.settings(chosen, phases=phases)
    if seed is not None:
        chosen = hypothesis.settings(chosen, database=None, derandomize=False)

    @chosen
    @hypothesis.given(trials(quantizer, scheme))
    def every_property_holds(trial: Trial) -> None:
        check_all(trial)

    if seed is not None:
        every_property_holds = hypothesis.seed(seed)(every_property_holds)
    try:
        with one_thread():
            every_property_holds()
    except hypothesis.errors.FlakyFailure as flaky:
        # Not the same answer twice: a verdict on the quantizer, not a fault of the test.
        first = next(error for error in flaky.exceptions if isinstance(error, Violation))
        first.add_note("The same tensor passes at other times: the quantizer does not repeat itself.")
        raise first from None


def check_weights(quantizer: Quantizer, scheme: Scheme, weights: Mapping[str, Array]) -> None:
    """Hold `quantizer` to every property on those of the tensors, named by their layer, that it takes. Raises `Violation`."""
    for layer, weight in weights.items():
        if scheme.fits(weight.shape) and quantizer.accepts(scheme, weight.shape):
            check_all(Trial(quantizer, scheme, weight.astype("float32"), layer=layer))
