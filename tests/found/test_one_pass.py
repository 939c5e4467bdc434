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


def reused(size=50):
    # One buffer, filled again for each batch, as readers of files and of the network do.
    held = np.empty((size, *ids.shape[1:]), ids.dtype), np.empty((size, *mask.shape[1:]), mask.dtype)
    labels = np.empty(size, y.dtype)
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        held[0][:], held[1][:], labels[:] = ids[rows], mask[rows], y[rows]
        yield held, labels


class Reused:
    def __iter__(self): return reused()


class ReusedSamples(Pairs):
    held = np.empty(ids.shape[1:], ids.dtype), np.empty(mask.shape[1:], mask.dtype)

    def __getitem__(self, row):
        self.held[0][:], self.held[1][:] = ids[row], mask[row]
        return self.held, int(y[row])


def reused_in_a_generator(): return {'test': reused()}
def reused_in_an_iterable(): return {'test': Reused()}
def reused_in_a_dataset(): return {'test': ReusedSamples()}
"""
REUSED = ["reused_in_a_generator", "reused_in_an_iterable", "reused_in_a_dataset"]
NAMES = ["shuffled", "drawn", "torch_loader", "generator", *REUSED]


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


@pytest.mark.parametrize("name", REUSED)
def test_a_buffer_that_is_used_again_gives_every_sample(tmp_path: Path, name: str) -> None:
    plain, again = (
        weigh_text(tmp_path, f"data.py:{each}", LOADERS).measurements["accuracy"].candidate
        for each in ("generator", name)
    )
    assert again == plain


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
