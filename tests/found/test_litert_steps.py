"""`quantize: litert` leaves in float what it was asked to, tells the rest, and stores a tied weight once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import LITERT_QUANTIZER, LITERT_TORCH
from weighbridge.environment.requirements import missing

pytestmark = pytest.mark.skipif(
    bool(missing(LITERT_QUANTIZER, LITERT_TORCH)), reason="needs weighbridge[litert-torch]"
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(torch.relu(self.conv(x)).mean((2, 3)))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(200, 32), nn.Linear(32, 200, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(ids).mean(1))


def context(folder: Path, x: Any) -> Context:
    return Context(
        folder, folder, 0, Data(splits={name: (x, np.zeros(len(x))) for name in ("test", "calibration")})
    )


IMAGES = np.random.default_rng(0).standard_normal((20, 3, 10, 10)).astype(np.float32)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("litert")
    return CONVERTERS.get("torch->tflite").convert(Model("torch", Net().eval()), context(folder, IMAGES))


def quantize(model: Model, folder: Path, x: Any = IMAGES, **options: Any) -> Model:
    step = STEPS.get("quantize:litert")
    return step.apply(model, step.options.model_validate(options), context(folder, x))


def floats(model: Model) -> list[str]:
    """The matrices and filters that the file keeps in float."""
    return [
        tensor.name
        for tensor in FORMATS.get("tflite").tensors(model)
        if tensor.array.ndim > 1 and tensor.quantization is None
    ]


@pytest.mark.parametrize("mode", ["dynamic", "static", "weight_only"])
def test_everything_is_converted_and_nothing_told(converted: Model, tmp_path: Path, mode: str) -> None:
    model = quantize(converted, tmp_path, mode=mode)
    assert floats(model) == []
    assert model.notes == converted.notes
    assert model.coverage is not None
    told = model.coverage.to_json()
    assert (told["asked"], told["convertible"], told["converted"]) == (3, 3, 3)


@pytest.mark.parametrize("mode", ["dynamic", "static", "weight_only"])
@pytest.mark.parametrize(("pattern", "left"), [("CONV_2D", 1), ("FULLY_CONNECTED", 2), ("*Linear_body*", 1)])
def test_exclude_by_type_and_pattern(
    converted: Model, tmp_path: Path, mode: str, pattern: str, left: int
) -> None:
    model = quantize(converted, tmp_path, mode=mode, exclude=[pattern])
    assert len(floats(model)) == left
    assert model.coverage is not None
    assert sorted(layer.name for layer in model.coverage.left) == sorted(floats(model))
    assert {layer.reason for layer in model.coverage.left} == {"`exclude` names it"}
    assert "left in float: `exclude` names it" in model.notes[-1]


def test_a_pattern_that_fits_nothing_names_what_there_is(converted: Model, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"exclude: .*matches 'CONV2D'.*or a type: .*CONV_2D"):
        quantize(converted, tmp_path, mode="dynamic", exclude=["CONV2D"])


@pytest.mark.parametrize("mode", ["dynamic", "weight_only"])
def test_a_tied_weight_is_stored_once(tmp_path: Path, mode: str) -> None:
    ids = np.random.default_rng(0).integers(0, 200, (20, 5))
    model = CONVERTERS.get("torch->tflite").convert(Model("torch", Tied().eval()), context(tmp_path, ids))
    quantized = quantize(model, tmp_path, ids, mode=mode)
    assert len(quantized.value) < len(model.value) / 2.5
    assert floats(quantized) == []


def test_moving_averages_and_ranges_see_every_sample(converted: Model, tmp_path: Path) -> None:
    """One sample after the other, whatever batches the data comes in."""

    class Loader:
        def __iter__(self) -> Any:
            return iter([(IMAGES[:13], np.zeros(13)), (IMAGES[13:], np.zeros(7))])

    step = STEPS.get("quantize:litert")
    for calibration in ("minmax", "moving_average"):
        options = step.options.model_validate({"mode": "static", "calibration": calibration})
        data = Data(splits={"calibration": Loader(), "test": (IMAGES, np.zeros(20))})
        loaded = step.apply(converted, options, Context(tmp_path, tmp_path, 0, data))
        assert loaded.value == quantize(converted, tmp_path, mode="static", calibration=calibration).value
