"""Metrics of torchmetrics by name: its own numbers, in bounded memory, with faults that say what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.found.test_limits import faults
from tests.projects import CASE, weigh, write_project

from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.measure import by_torchmetrics
from weighbridge.measure.evaluation import Evaluation, evaluate
from weighbridge.measure.metrics import find_metric

torchmetrics = pytest.importorskip("torchmetrics", reason="pip install torchmetrics")

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((200, 5)).astype(np.float32)
LABELS = np.where(RANDOM.random(200) < 0.6, LOGITS.argmax(1), RANDOM.integers(0, 5, 200))
MAPS = RANDOM.standard_normal((70, 4, 8, 8)).astype(np.float32)
MARKS = RANDOM.integers(0, 4, (70, 8, 8))
TOKENS = RANDOM.standard_normal((70, 6, 9)).astype(np.float32)
NEXT = RANDOM.integers(0, 9, (70, 6))


class Outputs:
    """Gives its inputs back."""

    def run(self, inputs: Any) -> Any:
        return inputs

    def bind(self, inputs: Any) -> Any: ...


def found(stated: dict[str, Any], x: Any, y: Any, folder: Path = Path()) -> tuple[Any, Evaluation]:
    metric = find_metric(stated, folder)
    return metric, evaluate({"candidate": Outputs()}, Data({"test": (x, y)}).split("test"), metric)[
        "candidate"
    ]


@pytest.mark.parametrize(
    ("stated", "x", "y", "kept"),
    [
        (
            {"torchmetrics": "MulticlassF1Score", "num_classes": 5, "average": "macro"},
            LOGITS,
            LABELS,
            "outputs",
        ),
        ({"torchmetrics": "F1Score", "task": "multiclass", "num_classes": 5}, LOGITS, LABELS, ""),
        ({"torchmetrics": "MulticlassAUROC", "num_classes": 5}, LOGITS, LABELS, "outputs"),
        (
            {"torchmetrics": "MulticlassAccuracy", "num_classes": 5, "top_k": 2, "average": "micro"},
            LOGITS,
            LABELS,
            "",
        ),
        ({"torchmetrics": "MulticlassJaccardIndex", "num_classes": 4}, MAPS, MARKS, "parts"),
        ({"torchmetrics": "Perplexity"}, TOKENS, NEXT, "parts"),
        ({"torchmetrics": "MeanSquaredError"}, MAPS, MAPS * 0.9, "parts"),
        ({"torchmetrics": "R2Score"}, LOGITS[:, :1], LOGITS[:, 0] * 0.9, ""),
        ({"torchmetrics": "SpearmanCorrCoef"}, LOGITS[:, :1], LOGITS[:, 0] ** 3, "outputs"),
    ],
)
def test_it_is_what_torchmetrics_gives(
    stated: dict[str, Any], x: Any, y: Any, kept: str, tmp_path: Path
) -> None:
    import torch

    metric, evaluation = found(stated, x, y)
    theirs = metric.make()
    wanted = torch.tensor(y)
    theirs.update(torch.tensor(x.reshape(y.shape) if x.size == y.size else x), wanted)
    assert evaluation.value(metric) == pytest.approx(float(theirs.compute()), rel=1e-4)
    rows = np.random.default_rng(1).integers(0, len(y), len(y))
    assert evaluation.over(metric, rows) == pytest.approx(metric.whole((x[rows],), y[rows]), rel=1e-4)
    if kept:
        assert (evaluation.parts is not None, evaluation.outputs is not None) == (
            kept == "parts",
            kept != "parts",
        )
    evaluation.save(tmp_path)
    assert Evaluation.load(tmp_path).value(metric) == evaluation.value(metric)


def test_a_segmentation_is_kept_as_a_table_a_sample() -> None:
    maps = np.repeat(RANDOM.standard_normal((70, 21, 4, 4)).astype(np.float32), 8, 2).repeat(8, 3)
    _, evaluation = found(
        {"torchmetrics": "MulticlassJaccardIndex", "num_classes": 21},
        maps,
        RANDOM.integers(0, 21, (70, 32, 32)),
    )
    assert evaluation.outputs is None
    assert evaluation.parts is not None
    assert evaluation.parts.shape == (70, 21 * 21)


def test_sums_that_take_more_memory_than_the_outputs_are_not_kept() -> None:
    stated = {"torchmetrics": "MulticlassAUROC", "num_classes": 5, "thresholds": 100}
    _, evaluation = found(stated, LOGITS, LABELS)
    assert evaluation.parts is None
    assert evaluation.outputs is not None


def test_a_metric_that_learns_its_shape_from_the_data_keeps_outputs(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "import numpy as np\ndef classes(outputs, targets):\n    return outputs.argmax(1), targets\n"
    )
    known = {"torchmetrics": "MeanIoU", "num_classes": 4, "input_format": "index", "prepare": "m.py:classes"}
    metric, evaluation = found(known, MAPS, MARKS, tmp_path)
    assert evaluation.parts is not None
    assert evaluation.value(metric) == pytest.approx(metric.whole((MAPS,), MARKS), rel=1e-5)
    hot = np.eye(4, dtype=int)[MARKS].transpose(0, 3, 1, 2)
    metric, evaluation = found({"torchmetrics": "MeanIoU"}, hot, hot)
    assert evaluation.parts is None
    assert evaluation.value(metric) == 1


def test_a_figure_of_several_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def words(outputs, targets):\n"
        "    text = lambda rows: [' '.join(map(str, row)) for row in rows]\n"
        "    return text(outputs.argmax(2)), text(targets)\n"
    )
    stated = {"torchmetrics": "ROUGEScore", "rouge_keys": "rouge1", "prepare": "m.py:words"}
    metric, evaluation = found({**stated, "value": "rouge1_fmeasure"}, TOKENS, TOKENS.argmax(2), tmp_path)
    assert evaluation.value(metric) == pytest.approx(1)
    metric, evaluation = found(stated, TOKENS, TOKENS.argmax(2), tmp_path)
    with pytest.raises(StageError, match="say which is judged, such as `value: rouge1_fmeasure`"):
        evaluation.value(metric)


def test_a_metric_that_torchmetrics_leaves_out_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torchmetrics.detection.MeanAveragePrecision", raising=False)
    with pytest.raises(
        StageError, match="has MeanAveragePrecision only where torchvision is installed, which is absent"
    ):
        find_metric({"torchmetrics": "MeanAveragePrecision"}, Path())


def test_words_are_decoded_by_the_users_own_code(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def words(outputs, targets):\n"
        "    text = lambda rows: [' '.join(map(str, row)) for row in rows]\n"
        "    return text(outputs.argmax(2)), text(targets)\n"
    )
    answers = TOKENS.argmax(2).copy()
    answers[:7, 0] = (answers[:7, 0] + 1) % 9
    metric, evaluation = found(
        {"torchmetrics": "WordErrorRate", "prepare": "m.py:words"}, TOKENS, answers, tmp_path
    )
    assert evaluation.value(metric) == pytest.approx(7 / 420)
    assert metric.higher_is_better is False
    assert evaluation.parts is not None


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"torchmetrics": "MulticlasF1Score"}, "did you mean 'MulticlassF1Score'"),
        ({"torchmetrics": "PearsonCorrCoef"}, "which way PearsonCorrCoef is better"),
        ({"torchmetrics": "MeanSquaredError", "higher_is_better": True}, "of MeanSquaredError lower is"),
        ({"torchmetrics": "MulticlassF1Score", "num_classes": 5, "averge": 1}, "averge"),
        ({"torchmetrics": "MulticlassF1Score"}, "num_classes"),
    ],
)
def test_a_metric_that_cannot_be_made_says_why(stated: dict[str, Any], said: str) -> None:
    with pytest.raises(StageError, match=said):
        find_metric(stated, Path())


def test_a_number_a_class_is_no_number() -> None:
    metric = find_metric({"torchmetrics": "MulticlassRecall", "num_classes": 5, "average": "none"}, Path())
    with pytest.raises(StageError, match=r"shape .5.; an option such as `average: macro`"):
        metric.whole((LOGITS,), LABELS)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("{torchmetrics: MulticlasF1Score}", "did you mean 'MulticlassF1Score'"),
        ("{torchmetrics: 3}", "names a metric of torchmetrics"),
        ("{F1Score: macro}", "names a metric of torchmetrics"),
        ("{torchmetrics: MulticlassF1Score, higher_is_better: yes}", "true or false"),
        ("{torchmetrics: WordErrorRate, prepare: words}", "file.py:function"),
    ],
)
def test_a_fault_is_found_when_the_case_is_read(tmp_path: Path, metric: str, said: str) -> None:
    assert said in faults(tmp_path, "accuracy_drop: 0.1", f"metric: {metric}\n")
    assert (
        faults(tmp_path, "accuracy_drop: 0.1", "metric: {torchmetrics: MulticlassF1Score, num_classes: 4}\n")
        == ""
    )


def test_flips_need_a_metric_of_ours(tmp_path: Path) -> None:
    said = faults(tmp_path, "flip_rate: 0.1", "metric: {torchmetrics: MulticlassF1Score, num_classes: 4}\n")
    assert "accuracy, top5" in said


def test_every_name_that_is_offered_exists() -> None:
    names = by_torchmetrics.offered()
    assert {
        "MulticlassF1Score",
        "BinaryAUROC",
        "MeanIoU",
        "WordErrorRate",
        "Perplexity",
        "JaccardIndex",
    } <= set(names)
    rooms = [__import__(f"torchmetrics.{room}", fromlist=["_"]) for room in by_torchmetrics.ROOMS]
    missing = [name for name in names if not any(hasattr(room, name) for room in rooms)]
    assert len(missing) < 20  # those that need another package


def ruined(worse: bool) -> str:
    return CASE.replace("amount: 0.5", f"amount: {0.95 if worse else 0.2}").replace(
        "thresholds:",
        "metric: {torchmetrics: MulticlassF1Score, num_classes: 4, average: macro}\nthresholds:",
    )


@pytest.mark.parametrize(
    ("worse", "status"), [pytest.param(False, "pass", marks=pytest.mark.slow), (True, "fail")]
)
def test_a_case_is_judged_by_it(tmp_path: Path, worse: bool, status: str) -> None:
    result = weigh(write_project(tmp_path), ruined(worse))
    drop = result.result.verdict("accuracy_drop")
    assert drop.status == status
    assert drop.interval[0] <= drop.measured <= drop.interval[1]
    assert result.measurements["accuracy"].details["metric"] == "MulticlassF1Score"


def test_without_torchmetrics_the_case_is_skipped_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weighbridge.environment.requirements as requirements

    monkeypatch.setattr(requirements, "_package", lambda name: name != "torchmetrics")
    folder = write_project(tmp_path)
    skipped = weigh(folder, ruined(False)).result
    assert skipped.status == "skip"
    assert "pip install torchmetrics" in skipped.message
    assert weigh(folder, ruined(False), strict_requirements=True).result.status == "error"
    bare = ruined(False).replace(
        "{torchmetrics: MulticlassF1Score, num_classes: 4, average: macro}", "torchmetrics:R2Score"
    )
    assert weigh(folder, bare).result.status == "skip"
