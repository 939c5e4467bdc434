"""What the candidate takes or gives no longer, which no figure shows: samples of one size are answered, and accuracy reads the
first output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weighbridge.contracts import FORMATS, Port, Weighing
from weighbridge.core.errors import StageError
from weighbridge.core.signal_to_noise import SignalToNoise
from weighbridge.core.units import show
from weighbridge.formats.opened import opened
from weighbridge.run.answers import FACES, SAMPLES


def narrower(weighing: Weighing) -> Iterator[str]:
    """A sentence for each, of a candidate in the format of its original; none where their files do not say what they take."""
    if weighing.baseline is None or weighing.baseline.format != weighing.candidate.format:
        return
    if weighing.candidate.format not in FACES:
        return
    ports = FORMATS.get(weighing.candidate.format).ports
    (takes, gives), (takes_now, gives_now) = (
        ports(opened(one)) for one in (weighing.baseline, weighing.candidate)
    )
    if len(takes) == len(takes_now):
        yield from _fixed(takes, takes_now)
    if len(gives_now) < len(gives):
        yield (
            f"the candidate gives {len(gives_now)} of the original's {len(gives)} outputs; accuracy reads the first, and whoever "
            "reads another finds nothing"
        )
    elif len(gives_now) == len(gives) > 1 and weighing.data.splits:
        yield from _unlike(weighing, [str(port["name"]) for port in gives_now])


def _fixed(before: Sequence[Port], now: Sequence[Port]) -> Iterator[str]:
    """Axes of an input that were free and have one size now: text of another length, a picture of another size.

    Not the first: what is measured in batches fills up a fixed one, and says so where it times one.
    """
    for port, other in zip(before, now, strict=True):
        free, sizes = port["shape"], other["shape"]
        if len(free) == len(sizes) and any(
            isinstance(size, int) and not isinstance(name, int)
            for name, size in zip(free[1:], sizes[1:], strict=True)
        ):
            yield (
                f"the candidate's input {other['name']} is {_shown(sizes)}, the original's {_shown(free)}: it takes no other "
                "size, and no sample here has another; export it with the same axes free, where other sizes come in use"
            )


def _unlike(weighing: Weighing, names: Sequence[str]) -> Iterator[str]:
    """Outputs behind the first that have nothing of the original's: the noise holds at least as much power as the signal."""
    inputs = weighing.data.sample(SAMPLES)
    for place, name in enumerate(names[1:], 1):
        compared = SignalToNoise()
        try:
            ours, theirs = (weighing.session(side).run(inputs)[place] for side in ("candidate", "baseline"))
            compared.add([theirs], [ours])
            found = compared.worst()
        except (StageError, IndexError):  # of other shapes, or nothing to compare with
            continue
        if found <= 0:
            yield (
                f"output {name} of the candidate has nothing of the original's ({show(found, 'dB')}), and accuracy reads the "
                "first output; a limit on `fidelity` judges all of them"
            )


def _shown(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
