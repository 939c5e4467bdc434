"""The data of a case: what it names, or invented samples."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.case.model import Case
from weighbridge.contracts import FORMATS, Model
from weighbridge.core.data import Data, load_data
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Layout


def make_data(case: Case, original: Callable[[], Model]) -> Data:
    """The case's data; without any, samples of the stated shapes, or of the shapes that the model's file declares.

    `original` gives the case's model, where its file has to be asked.
    """
    layout = Layout(case.targets, case.batch, case.sequence)
    if case.data is not None:
        return load_data(case.data, case.folder, case.seed, layout)
    if case.inputs is not None and not isinstance(case.inputs, str):
        return Data(shapes=case.inputs, seed=case.seed, layout=layout)
    if case.batch:
        raise StageError(
            "data", "`batch` needs `data`, or `inputs` with the shapes by name, without the batch axis"
        )
    shapes, dtypes = FORMATS.get(case.model.format).inputs(original())
    if case.inputs == "random" and shapes is None:
        raise StageError(
            "data",
            "`inputs: random`, and the model's file declares no full shapes: write them, `inputs: [[3, 224, 224]]`",
        )
    return Data(shapes=shapes, dtypes=dtypes, seed=case.seed, layout=layout)


def data_notes(data: Data) -> tuple[str, ...]:
    """What is worth knowing of the data. Where it cannot be read, the measurement that needs it says so."""
    try:
        return data.notes()
    except StageError:
        return ()
