"""What a user without the extras is told: the package, the version needed, the command. Really without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.projects import weigh

from weighbridge.core.errors import Unavailable
from weighbridge.core.results import Status
from weighbridge.environment.extras import LITERT, TENSORFLOW, TFMOT, demand, load
from weighbridge.environment.requirements import missing

CASE = """
model:
  keras: model.py:network
inputs: [[4]]
recipe:
  - {step}
thresholds:
  size_ratio: 1.5
"""

without_tensorflow = pytest.mark.skipif(missing(TENSORFLOW) is None, reason="TensorFlow is installed here")


def outcome_of(folder: Path, step: str):
    (folder / "model.py").write_text("def network():\n    raise AssertionError('not to be called')\n")
    return weigh(folder, CASE.format(step=step))


@without_tensorflow
@pytest.mark.parametrize(("step", "packages"), [
    ("prune: low_magnitude", {"tensorflow": "2.16", "tf_keras": "2.16", "tensorflow_model_optimization": "0.8"}),
    ("quantize: tflite\n    mode: dynamic_range", {"tensorflow": "2.16"}),
    ("cluster: weights", {"tensorflow_model_optimization": "0.8"}),
    ("quantize: qat\n    engine: litert", {"tensorflow_model_optimization": "0.8"}),
])  # fmt: skip
def test_a_tensorflow_case_is_skipped_with_the_command(
    tmp_path: Path, step: str, packages: dict[str, str]
) -> None:
    outcome = outcome_of(tmp_path, step)
    assert outcome.status is Status.SKIP
    for package, version in packages.items():
        assert f"'{package}' {version} or later" in outcome.message
    assert outcome.message.count("pip install 'weighbridge[tensorflow]'") == 1


@without_tensorflow
def test_a_package_that_goes_missing_late_says_the_same() -> None:
    from weighbridge.formats.tf_runtime import tfmot

    with pytest.raises(
        Unavailable, match=r"'tensorflow' 2\.16 or later.*pip install 'weighbridge\[tensorflow\]'"
    ):
        tfmot()


def test_an_old_version_is_named_beside_the_one_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.environment.requirements._package", lambda name: True)
    monkeypatch.setattr("weighbridge.environment.requirements.found_version", lambda name: "0.5.0")
    assert missing(TFMOT) == (
        "needs the package 'tensorflow_model_optimization' 0.8 or later (0.5.0 is installed); "
        "install it with: pip install 'weighbridge[tensorflow]'"
    )


def test_a_converter_without_optimizations_names_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sheets' error "'TFLiteConverter' object has no attribute 'optimizations'", made useful."""

    class TFLiteConverter:
        target_spec = None

    monkeypatch.setattr("weighbridge.environment.extras.found_version", lambda name: "1.12.0")
    with pytest.raises(Unavailable) as caught:
        demand(TFLiteConverter(), "optimizations", TENSORFLOW)
    assert str(caught.value) == (
        "TFLiteConverter has no 'optimizations': the package 'tensorflow' is 1.12.0 here, and 2.16 or later is "
        "needed; install it with: pip install 'weighbridge[tensorflow]'"
    )


def test_a_folder_is_not_taken_for_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    requirement = type(LITERT)("package", "only_a_folder", LITERT.install)
    assert missing(requirement) == (
        "needs the package 'only_a_folder' (absent here); install it with: pip install 'weighbridge[litert]'"
    )


def test_a_broken_package_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfway.py").write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    requirement = type(LITERT)("package", "halfway", LITERT.install)
    with pytest.raises(
        Unavailable, match="'halfway' is installed but cannot be imported: No module named 'nowhere"
    ):
        load(requirement)


def test_discovery_imports_nothing_heavy() -> None:
    program = (
        "import sys; from weighbridge.contracts import STEPS; STEPS.names(); "
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'tensorflow_model_optimization', 'ai_edge_litert', "
        "'ai_edge_quantizer', 'litert_torch', 'jax', 'torch'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
