"""The data of a case: what it names, or invented samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from weighbridge.case.limits import known_metric
from weighbridge.case.model import Case, ThresholdRef
from weighbridge.contracts import FORMATS, THRESHOLDS, Model
from weighbridge.core.data import Data, load_data
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Layout
from weighbridge.formats.stated_inputs import stated_inputs
from weighbridge.run.recent import data_of


def make_data(case: Case, root: Path, original: Callable[[], Model]) -> Data:
    """The case's data, with what it is judged on in place of the test split; without any, samples of the stated shapes, or
    of the shapes that the model's file declares.

    `original` gives the case's model, where its file has to be asked: what is drawn is of the types that it declares.
    """
    data = _data(case, root, original)
    if data.invented or (case.judged_on == "test" and case.judged_samples is None):
        return data
    return data.judged_on(case.judged_on, case.judged_samples)


def _data(case: Case, root: Path, original: Callable[[], Model]) -> Data:
    format_ = FORMATS.get(case.model.format)
    layout = Layout(case.targets, case.batch, case.sequence, case.groups)
    if case.data is not None:
        reference = case.data
        return data_of(case, root, lambda: load_data(reference, case.folder, case.seed, layout))
    if case.inputs is not None and not isinstance(case.inputs, str):
        kinds = format_.inputs(original())[1] if format_.declares_inputs else {}
        if not isinstance(case.inputs, dict):
            kinds = {str(index): kind for index, kind in enumerate(kinds.values())}
        return Data(shapes=case.inputs, dtypes=kinds, seed=case.seed, layout=layout)
    if case.batch:
        raise StageError(
            "data", "`batch` needs `data`, or `inputs` with the shapes by name, without the batch axis"
        )
    shapes, dtypes = format_.inputs(original())
    if case.inputs == "random" and shapes is None:
        lines = stated_inputs(format_.ports(original())[0]) or ("inputs: [[3, 224, 224]]",)
        raise StageError(
            "data",
            "`inputs: random`, and the model's file declares no full shapes: write them, "
            + " and ".join(f"`{line}`" for line in lines),
        )
    if shapes is not None and len(shapes) == 1:
        # Nobody has named it but the file, and a candidate's file may say another name.
        ((name, shape),) = shapes.items()
        kind = {"0": dtypes[name]} if name in dtypes else {}
        return Data(shapes=(shape,), dtypes=kind, seed=case.seed, layout=layout)
    return Data(shapes=shapes, dtypes=dtypes, seed=case.seed, layout=layout)


def undecidable(case: Case, thresholds: Sequence[ThresholdRef], data: Data) -> list[tuple[ThresholdRef, str]]:
    """The limits that the case's test split is too small for, as far as that is known before a model has run.

    Of an iterable without a length nothing is known; where the data cannot be read, the stage that needs it says so.
    """
    metric = known_metric(case.metric)
    if case.data is None or metric is None or not metric.binary:
        return []
    asked = [(ref, THRESHOLDS.get(ref.name).too_few) for ref in thresholds]
    if not any(too_few for _, too_few in asked):
        return []
    try:
        split = data.split("test")
        groups = len(split.scan().groups) if split.grouped_by is not None else 0
    except StageError:
        return []
    n, what = groups or split.length or 0, "groups" if groups else "samples"
    found = [(ref, too_few and too_few(ref.limit, n, what)) for ref, too_few in asked]
    return [(ref, text) for ref, text in found if text]


def data_notes(data: Data) -> tuple[str, ...]:
    """What is worth knowing of the data. Where it cannot be read, the measurement that needs it says so."""
    try:
        return data.notes()
    except StageError:
        return ()
