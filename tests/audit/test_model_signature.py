"""`weighbridge sign`: what passed is signed so that OpenSSF's own verifier takes it, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.projects import CASE

from weighbridge.cli.main import main
from weighbridge.environment.extras import MODEL_SIGNING
from weighbridge.environment.requirements import missing

Project = Callable[..., Path]
FOLDER = Path("reports/artifacts/cases/net.yaml/net")
signs = pytest.mark.skipif(missing(MODEL_SIGNING) is not None, reason=missing(MODEL_SIGNING) or "")


@pytest.fixture
def passed(project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a case that passed and one that did not, and a pair of keys."""
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric import ec

    project(net=CASE, bad=CASE.replace("size_ratio: 0.9", "size_ratio: 5"))
    pytester.runpytest_inprocess().assert_outcomes(passed=3, failed=1)
    monkeypatch.chdir(pytester.path)
    key = ec.generate_private_key(ec.SECP256R1())
    Path("key.pem").write_bytes(key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption()))
    Path("key.pub").write_bytes(
        key.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)
    )
    return pytester.path


def sign(case: str = "cases/net.yaml::net", key: str = "key.pem") -> int:
    return main(["sign", case, "--key", key])


def verify(folder: Path) -> None:
    """As the `model_signing` command does; raises `ValueError`."""
    from model_signing import verifying

    verifying.Config().use_elliptic_key_verifier(public_key="key.pub").verify(folder, folder / "model.sig")


def shipped() -> Path:
    """The file of the candidate, no longer a link to what the store keeps."""
    (file,) = (FOLDER / "candidate").iterdir()
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    return file


@signs
def test_what_passed_is_signed_and_what_is_altered_afterwards_is_found(passed: Path) -> None:
    assert sign() == 0
    verify(FOLDER)
    for path in (shipped(), FOLDER / "manifest.json"):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(ValueError, match="Hash mismatch"):
            verify(FOLDER)
        path.write_bytes(content)
    (FOLDER / "candidate/more.bin").write_bytes(b"more")
    with pytest.raises(ValueError, match="Extra files"):
        verify(FOLDER)


@signs
def test_the_signature_is_good_of_the_candidate_without_the_baseline(passed: Path) -> None:
    import shutil

    assert sign() == 0
    shutil.rmtree(FOLDER / "baseline")
    assert sign() == 0
    verify(FOLDER)


@signs
def test_what_did_not_pass_is_refused(passed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign("bad") == 1
    assert (
        "refused: cases/bad.yaml::bad: fail; only what passed its gate is signed" in capsys.readouterr().err
    )
    assert not list(passed.rglob("model.sig"))


@signs
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda: shipped().write_bytes(b"another"), "is not the file that was judged"),
        (lambda: (FOLDER / "candidate/more.bin").write_bytes(b"more"), "more.bin belongs to no artifact"),
        (lambda: edited(commit="f" * 40), "is not the manifest that the run wrote"),
        (lambda: edited(stages=[]), "is not the manifest that the run wrote"),
        (lambda: (FOLDER / "candidate/link").symlink_to("/etc"), "link is a link"),
        (lambda: linked(), "is a link"),
        (lambda: (FOLDER / "model.sig").mkdir(), "is a link or a folder"),
    ],
)
def test_what_is_not_what_was_judged_is_refused(
    spoil: Callable[[], Any], told: str, passed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    assert sign() == 1
    assert told in capsys.readouterr().err
    assert not (FOLDER / "model.sig").is_file()


def edited(**changes: Any) -> None:
    path = FOLDER / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def linked() -> None:
    """The judged file, as a link to a place where it may be exchanged."""
    shipped().rename("elsewhere.bin")
    (file,) = {row["path"] for row in report()["rows"][0]["artifacts"]["candidate"]["files"]}
    Path(file).symlink_to(Path("elsewhere.bin").resolve())


def report() -> dict[str, Any]:
    """Of the case that passed."""
    told: dict[str, Any] = json.loads(Path("reports/latest.json").read_text())
    told["rows"] = [row for row in told["rows"] if row["case"] == "cases/net.yaml::net"]
    return told


@signs
def test_no_signature_is_written_through_a_link(passed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept.txt").write_text("kept")
    (FOLDER / "model.sig").symlink_to(Path("kept.txt").resolve())
    assert sign() == 1
    assert "is a link or a folder" in capsys.readouterr().err
    assert Path("kept.txt").read_text() == "kept"


@signs
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one.update(files=[]), "no artifact was laid out"),
        (lambda one: one["files"][0].update(path=3), "is no report"),
        (lambda one: one["files"][0].update(path="a" * 5000), "no artifact was laid out"),
    ],
)
def test_a_row_that_somebody_made_is_told(
    change: Callable[[Any], None], told: str, passed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = report()
    change(data["rows"][0]["artifacts"]["candidate"])
    Path("made.json").write_text(json.dumps(data))
    assert main(["sign", "cases/net.yaml::net", "--key", "key.pem", "--from", "made.json"]) == 2
    assert told in capsys.readouterr().err


@signs
@pytest.mark.parametrize(
    ("key", "told"),
    [("none.pem", "No such file"), ("key.pub", "openssl genpkey"), ("cases", "cannot be read")],
)
def test_a_key_that_is_none_is_told(
    key: str, told: str, passed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(key=key) == 2
    assert told in capsys.readouterr().err


def test_without_the_package_it_says_what_to_install(
    passed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    assert sign() == 2
    assert "pip install 'weighbridge[model-signing]'" in capsys.readouterr().err


@signs
@pytest.mark.parametrize(
    ("demanded", "asked", "left"),
    [
        ("size_ratio: 0.9", ["-k", "size_ratio"], "accuracy_drop"),
        ("size_ratio: 0.9", ["cases/net.yaml::net::accuracy_drop"], "size_ratio"),
        ("speedup: 0.01", [], "speedup"),
    ],
)
def test_what_was_judged_in_part_is_refused(
    demanded: str,
    asked: list[str],
    left: str,
    passed: Path,
    project: Project,
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the other limits say of it nobody asked: a model that lost all accuracy was signed."""
    project(net=CASE.replace("size_ratio: 0.9", demanded))
    pytester.runpytest_inprocess(*asked)
    assert sign() == 1
    assert (
        f"the run did not judge {left}; only what passed all of its gate is signed" in capsys.readouterr().err
    )


@signs
def test_what_cannot_be_compared_yet_is_signed(
    passed: Path, project: Project, pytester: pytest.Pytester
) -> None:
    """A limit that is held against an earlier run, of which there is none, is skipped and not left out."""
    project(net=CASE.replace("size_ratio: 0.9", "size_ratio: {min: 0.9, against: main}"))
    pytester.runpytest_inprocess("cases/net.yaml")
    assert sign() == 0
