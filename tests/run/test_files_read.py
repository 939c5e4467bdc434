"""What the user's code makes of a file that it reads is made again when the file changes, whenever it reads it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import MODEL, report_of

from weighbridge.core.code import code_digest
from weighbridge.core.references import resolve
from weighbridge.run import recent

Project = Callable[..., Path]

READS = (
    MODEL.replace(
        "\ndef net",
        "\nGAIN = float((HERE / 'gain.txt').read_text())\n\n\nclass Gain(nn.Module):\n"
        "    def forward(self, x):\n        return x * GAIN\n\n\ndef net",
        1,
    ).replace("nn.Linear(96, 4))\n", "nn.Linear(96, 4), Gain())\n")
    + """

def worth(outputs, targets):
    return (outputs.argmax(1) == targets) * float((HERE / "worth.txt").read_text())


def size(outputs, targets):
    return float(np.abs(outputs).mean())


worth.higher_is_better = size.higher_is_better = True
"""
)
SHEET = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
metric: model.py:METRIC
thresholds: {accuracy: 0.01}
cases:
  - {name: one, recipe: [{prune: l1_unstructured, amount: 0.3}]}
  - {name: other, recipe: [{prune: l1_unstructured, amount: 0.4}]}
"""


def as_in_a_new_process() -> None:
    recent.forget_data()
    for name in [name for name in sys.modules if name.startswith("_weighbridge_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("metric", "file"), [("worth", "worth.txt"), pytest.param("size", "gain.txt", marks=pytest.mark.slow)]
)
def test_a_run_after_the_file_has_changed_is_not_answered_from_what_was_kept(
    pytester: pytest.Pytester, project: Project, metric: str, file: str
) -> None:
    """By a metric when it is called; while the module is imported, which a process does for its first case alone."""
    folder = project(net=SHEET.replace("METRIC", metric))
    (folder / "model.py").write_text(READS)
    for name in ("worth.txt", "gain.txt"):
        (folder / name).write_text("1.0")

    def measured() -> list[float]:
        as_in_a_new_process()
        pytester.runpytest_inprocess("--executor=inline")
        return [row["measurements"]["accuracy"]["candidate"] for row in report_of(pytester.path)["rows"]]

    first = measured()
    (folder / file).write_text("0.25")
    assert measured() == pytest.approx([value / 4 for value in first], rel=1e-4)
    (folder / file).write_text("1.0")
    assert measured() == first


def test_what_its_calls_or_other_files_read_is_no_part_of_a_files_code(tmp_path: Path) -> None:
    """A model is not made again for what only its data reads."""
    (tmp_path / "model.py").write_text(
        "from pathlib import Path\nimport settings_of_the_net\n"
        "def net():\n    return (Path(__file__).parent / 'called.txt').read_text()\n"
    )
    (tmp_path / "settings_of_the_net.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_suffix('.txt').read_text()\n"
    )
    (tmp_path / "data.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_suffix('.txt').read_text()\n"
    )
    for name in ("settings_of_the_net.txt", "called.txt", "data.txt"):
        (tmp_path / name).write_text("1")
    resolve("data.py:__name__", tmp_path)
    resolve("model.py:net", tmp_path)()
    del sys.modules["settings_of_the_net"]

    def after(name: str) -> bool:
        before = code_digest([tmp_path / "model.py"], tmp_path)
        (tmp_path / name).write_text("other")
        return code_digest([tmp_path / "model.py"], tmp_path) != before

    assert [after(name) for name in ("called.txt", "data.txt", "settings_of_the_net.txt")] == [
        False,
        False,
        True,
    ]
