"""Whether a converted `.tflite` computes what the model it came from computes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.contracts import ENGINES, FORMATS, Model
from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    from weighbridge.contracts import Array, Inputs

TOLERANCE = 1e-3
"""Of the largest output: float32 sums in another order differ by about 1e-6 of it, a wrong layout by about
1.
"""


def check_agreement(model: Model, inputs: Inputs, expected: tuple[Array, ...], origin: str) -> str:
    """A note with the largest difference; raises `StageError` where an output is off by more than
    `TOLERANCE`.

    `expected` are the outputs of the original model, which `origin` names, on `inputs`.
    """
    import numpy as np

    engine = ENGINES.get("litert")
    with tempfile.TemporaryDirectory() as folder:
        artifact = FORMATS.get("tflite").save(model, Path(folder), "converted")
        outputs = engine.open(artifact, engine.options()).run(inputs)
    if len(outputs) != len(expected):
        raise StageError(
            "export", f"the .tflite has {len(outputs)} outputs, the {origin} model {len(expected)}"
        )
    worst = 0.0
    for index, (have, want) in enumerate(zip(outputs, expected, strict=True)):
        if have.shape != want.shape:
            raise StageError("export", f"output {index} is {list(have.shape)} in the .tflite and "
                                       f"{list(want.shape)} in {origin}")  # fmt: skip
        if not want.size:
            continue
        difference = float(np.max(np.abs(have.astype(np.float64) - want.astype(np.float64))))
        scale = float(np.max(np.abs(want.astype(np.float64))))
        if not difference <= TOLERANCE * max(scale, 1e-6):
            raise StageError("export", f"output {index} of the .tflite differs from {origin}'s by up to "
                                       f"{difference:.3g}; the largest output is {scale:.3g}")  # fmt: skip
        worst = max(worst, difference)
    return f"the .tflite agrees with {origin} within {worst:.1e}"
