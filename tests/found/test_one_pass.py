"""Both models see the same samples, whatever the loader does, so that a ruined model cannot hide behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.found.text_model import weigh_text
from tests.projects import weigh

LOADERS = """
class Shuffled:
    # Another order at each reading.
    def __init__(self):
        self.random = np.random.default_rng(0)

    def __iter__(self):
        order = self.random.permutation(len(y))
        for start in range(0, len(y), 50):
            rows = order[start : start + 50]
            yield (ids[rows], mask[rows]), y[rows]


class Drawn:
    # Other samples at each reading, and of another number.
    def __init__(self):
        self.random = np.random.default_rng(0)

    def __iter__(self):
        for _ in range(self.random.integers(3, 6)):
            rows = self.random.integers(0, len(y), 50)
            yield (ids[rows], mask[rows]), y[rows]


def shuffled(): return {'test': Shuffled()}
def drawn(): return {'test': Drawn()}
def torch_loader(): return {'test': torch.utils.data.DataLoader(Pairs(), batch_size=32, shuffle=True)}
def generator(): return {'test': batches()}
"""
NAMES = ["shuffled", "drawn", "torch_loader", "generator"]


@pytest.mark.parametrize("name", NAMES)
def test_a_ruined_model_fails(tmp_path: Path, name: str) -> None:
    accuracy = weigh_text(tmp_path, f"data.py:{name}", LOADERS, candidate="ruined").measurements["accuracy"]
    assert accuracy.baseline is not None
    assert accuracy.baseline > 0.85
    assert accuracy.candidate < 0.3
    assert accuracy.details["drop"] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_right_one_drops_by_nothing(tmp_path: Path, name: str) -> None:
    accuracy = weigh_text(tmp_path, f"data.py:{name}", LOADERS).measurements["accuracy"]
    assert (accuracy.details["b"], accuracy.details["c"]) == (0, 0)


def test_export_calibration_and_measurements_do_not_eat_a_generator(tmp_path: Path) -> None:
    code = "def splits(): return {'test': batches(), 'calibration': (row for row in batches(40))}"
    weigh_text(tmp_path, "data.py:splits", code)  # writes the files
    outcome = weigh(
        tmp_path,
        """
model: {onnx: text.onnx}
data: data.py:splits
recipe: [{quantize: static, per_channel: true}]
thresholds: {accuracy_drop: 0.05, fidelity: 10, batch_invariance: 1}
""",
    )
    assert outcome.measurements["accuracy"].details["n"] == 300, outcome.message
    assert outcome.measurements["fidelity"].details["samples"] == 256
    assert outcome.measurements["invariance"].details["samples"] == 8
