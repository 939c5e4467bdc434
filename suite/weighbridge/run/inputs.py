"""The data of a case."""

from __future__ import annotations

from weighbridge.case.model import Case
from weighbridge.contracts import FORMATS
from weighbridge.core.data import Data, load_data


def make_data(case: Case) -> Data:
    """The case's data; without any, seeded samples of the stated shapes, or of the shapes that the model's file declares."""
    if case.data is not None:
        return load_data(case.data, case.folder, case.seed)
    if case.inputs is not None:
        return Data(shapes=case.inputs, seed=case.seed)
    ref = case.model
    model = FORMATS.get(ref.format).load(
        ref.reference, case.folder / ref.weights if ref.weights else None, case.folder
    )
    shapes, dtypes = FORMATS.get(ref.format).inputs(model)
    return Data(shapes=shapes, dtypes=dtypes, seed=case.seed)
