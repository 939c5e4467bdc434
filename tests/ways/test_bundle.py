"""`weighbridge bundle`: a failing case travels, alone, and what it travels in can do nothing by itself."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.projects import CASE, report_of

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.core.errors import UsageError
from weighbridge.run.bundle import contents
from weighbridge.run.bundle_file import pack

Project = Callable[..., Path]
FAILING = CASE.replace("size_ratio: 0.9", "size_ratio: 5")


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *words], cwd=cwd, capture_output=True, text=True
    )


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture
def failed(project: Project, pytester: pytest.Pytester) -> Path:
    """A project whose case failed: code that imports code, data that is opened, and things that nobody needs."""
    cases = project(net=FAILING, other=CASE)
    model = (cases / "model.py").read_text()
    (cases / "layers").mkdir()
    (cases / "layers/__init__.py").write_text("")
    (cases / "layers/wide.py").write_text("WIDTH = 96\n")
    (cases / "model.py").write_text(f"from layers.wide import WIDTH\n{model}".replace("96", "WIDTH"))
    (pytester.path / "secrets.txt").write_text("password")
    (cases / ".env").write_text("TOKEN=1")
    pytester.runpytest_inprocess("cases/net.yaml").assert_outcomes(passed=1, failed=1)
    return pytester.path


def verdicts(folder: Path) -> list[tuple[str, str, Any]]:
    (row,) = report_of(folder)["rows"]
    return [(one["threshold"], one["status"], one["measured"]) for one in row["verdicts"]]


@pytest.mark.slow
def test_a_failing_case_fails_the_same_in_an_empty_folder(failed: Path, tmp_path_factory: Any) -> None:
    done = command("bundle", "net", "-o", "case.zip", cwd=failed)
    assert done.returncode == 0, done.stderr
    assert names(failed / "case.zip") == {
        "bundle.json",
        "pytest.ini",
        *(f"cases/{name}" for name in ("net.yaml", "model.py", "net.safetensors", "data.npz")),
        *(f"cases/layers/{name}" for name in ("__init__.py", "wide.py")),
    }
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = command("unbundle", str(failed / "case.zip"), cwd=elsewhere)
    assert "next: cd case && weighbridge run cases/net.yaml::net\n" in done.stdout
    (failed / "cases").rename(failed / "gone")
    assert command("run", "cases/net.yaml::net", cwd=elsewhere / "case").returncode == 1
    assert verdicts(elsewhere / "case") == verdicts(failed)
    facts = json.loads((elsewhere / "case/bundle.json").read_text())
    assert facts["row"]["verdicts"][1]["message"] == "size_ratio 1x, needs 5x"
    assert facts["versions"]["torch"]
    assert str(failed) not in (elsewhere / "case/bundle.json").read_text()


@pytest.mark.slow
def test_what_is_hidden_or_outside_is_told_and_not_packed(failed: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other") / "samples.npz"
    (failed / "cases/data.npz").rename(other)
    model = failed / "cases/model.py"
    text = model.read_text().replace('np.load(HERE / "data.npz")', f"np.load({str(other)!r})")
    model.write_text(text.replace("def splits():", 'def splits():\n    open(HERE / ".env").read()'))
    done = command("bundle", "cases/net.yaml::net", cwd=failed)
    assert done.returncode == 0, done.stderr
    told = next(line for line in done.stdout.splitlines() if line.startswith("read, and not packed"))
    assert str(other) in told
    assert ".env" in told
    assert "python" not in told
    assert not {
        name for name in names(failed / "case.zip") if "samples" in name or "env" in name or "secret" in name
    }


def test_a_module_that_is_developed_outside_of_the_project_is_told_and_not_packed(
    project: Project, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an editable installation or PYTHONPATH has it: it is there elsewhere too, or is not, and that is to be known."""
    developed = tmp_path_factory.mktemp("developed")
    (developed / "own_share.py").write_text(
        "def share(outputs, targets):\n    return (outputs.argmax(1) == targets) * 1.0\n"
    )
    monkeypatch.syspath_prepend(str(developed))
    cases = project(net=f"metric: own_share:share{CASE}")
    (case,) = load_cases(cases / "net.yaml")
    found = contents(case, cases.parent)
    assert found.left == (str(developed / "own_share.py"),)
    assert {path.name for path in found.files} >= {"net.yaml", "model.py", "net.safetensors", "data.npz"}


def test_a_file_that_the_case_names_outside_of_the_project_is_refused(failed: Path) -> None:
    done = command("bundle", "net", "--from", "../reports/latest.json", cwd=failed / "cases")
    assert done.returncode == 2
    (failed / "inner").mkdir()
    (failed / "inner/net.yaml").write_text(FAILING.replace("model.py", "../cases/model.py"))
    report = report_of(failed)
    report["rows"][0].update(path="net.yaml", case="net.yaml::net")
    (failed / "inner/r.json").write_text(json.dumps(report))
    done = command("bundle", "net", "--from", "r.json", cwd=failed / "inner")
    assert done.returncode == 2
    assert "cases/model.py, which lies outside of" in done.stderr
    assert not (failed / "inner/case.zip").exists()


@pytest.mark.slow
def test_code_that_raises_is_packed_with_what_was_read_until_then(failed: Path) -> None:
    path = failed / "cases/net.yaml"
    path.write_text(path.read_text().replace("model.py:net", "model.py:broken"))
    done = command("bundle", "net", cwd=failed)
    assert "files may be missing: " in done.stdout
    assert "no such luck" in done.stdout
    assert "cases/model.py" in names(failed / "case.zip")


def facts_of(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("bundle.json"))


@pytest.mark.parametrize("home", ["/", "", "home", None])
def test_a_home_that_is_none_takes_nothing_from_the_facts(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers set HOME to / for a user that they do not know, or to nothing."""
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
    else:
        monkeypatch.setenv("HOME", home)
    facts = {"case": "cases/net.yaml::net", "row": {"path": "cases/net.yaml", "message": "at /home/x/home"}}
    pack(tmp_path / "case.zip", tmp_path, [], facts)
    assert facts_of(tmp_path / "case.zip") == facts


def test_the_projects_folder_and_the_home_are_hidden_and_nothing_that_begins_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, root = tmp_path / "ann", tmp_path / "ann/app"
    root.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    told = {
        f"{root}/a.py": "./a.py",
        f"{root}": ".",
        f"{home}/.cache": "~/.cache",
        f"'{home}' is full, and {root}: too": "'~' is full, and .: too",
        f"{root}2/a.py": "~/app2/a.py",
        f"{home}e/a.py {home}.old {home}-b": f"{home}e/a.py {home}.old {home}-b",
        f"/mnt{root}/a.py": f"/mnt{root}/a.py",
    }
    facts = {"case": f"{root}/a.yaml::a", "row": {"case": f"{root}/a.yaml::a", "notes": [*told]}}
    pack(tmp_path / "case.zip", root, [], facts)
    found = facts_of(tmp_path / "case.zip")
    assert found["row"]["notes"] == [*told.values()]
    assert found["case"] == found["row"]["case"] == facts["case"]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["a:b.npz"], "a:b.npz"),
        (["a\\b.npz"], "a\\\\b.npz"),
        (["a\nb.npz"], "a\\nb.npz"),
        (["\udcff.npz"], "\\udcff.npz"),
        (["Model.py", "model.py"], "'model.py' and 'Model.py'"),
        (["Bundle.json"], "'Bundle.json' and 'bundle.json'"),
        (["there.py", "gone.py"], "gone.py cannot be packed: No such file"),
        (["there.py", "zeros.npy"], "'zeros.npy' has 1000000 of them"),
    ],
)
def test_what_could_not_be_unpacked_is_not_packed(
    files: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.run.bundle_file.MOST", 10_000)
    for name in files:
        if name != "gone.py":
            (tmp_path / name).write_text("0" * 1_000_000 if name == "zeros.npy" else "x")
    with pytest.raises(UsageError, match=re.escape(named)):
        pack(tmp_path / "out.zip", tmp_path, [Path(name) for name in files], {"case": "a.yaml::a"})
    assert not (tmp_path / "out.zip").exists()


def test_facts_that_would_not_be_read_are_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.run.bundle_file.MOST_FACTS", 1000)
    with pytest.raises(UsageError, match=r"bundle.json would have 1\d+ bytes"):
        pack(tmp_path / "out.zip", tmp_path, [], {"case": "a.yaml::a", "row": "x" * 1000})
    assert not (tmp_path / "out.zip").exists()


def planted(path: Path, name: str, kind: int = 0, text: str = "x") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bundle.json", json.dumps({"case": "a.yaml::a; touch owned", "bench": "--x"}))
        info = zipfile.ZipInfo(name)
        info.external_attr = kind << 16
        archive.writestr(info, text)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../out.py", 0),
        ("/tmp/out.py", 0),
        ("a/../../out.py", 0),
        ("C:/out.py", 0),
        ("..\\out.py", 0),
        ("link", stat.S_IFLNK | 0o777),
        ("pipe", stat.S_IFIFO | 0o600),
        ("folder/", 0),
        ("BUNDLE.json", 0),
        ("a\nb.py", 0),
    ],
)
def test_nothing_of_a_strangers_bundle_leads_anywhere(
    name: str, kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    planted(tmp_path / "case.zip", name, kind)
    assert main(["unbundle", "case.zip", "-o", "in/case"]) == 2
    assert "nothing was unpacked" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["case.zip"]


def test_unpacking_runs_nothing_and_quotes_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    planted(tmp_path / "case.zip", "conftest.py", text="open('owned', 'w')")
    assert main(["unbundle", "case.zip"]) == 0
    assert not list(tmp_path.rglob("owned"))
    assert "weighbridge run 'a.yaml::a; touch owned'\n" in capsys.readouterr().out
    assert main(["unbundle", "case.zip"]) == 2
    assert "nothing is written over" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no zip", ""])
def test_what_is_no_bundle_is_told(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.zip").write_text(text)
    assert main(["unbundle", "case.zip", "-o", "in"]) == 2
    assert "case.zip cannot be unpacked" in capsys.readouterr().err
    planted(tmp_path / "case.zip", "a.py", text="some text that is long enough")
    (tmp_path / "case.zip").write_bytes((tmp_path / "case.zip").read_bytes().replace(b"long", b"song"))
    assert main(["unbundle", "case.zip", "-o", "in"]) == 2
    assert "case.zip cannot be unpacked: Bad CRC-32" in capsys.readouterr().err
    assert not (tmp_path / "in").exists()
    with zipfile.ZipFile("other.zip", "w") as archive:
        archive.writestr("a", "b")
    assert main(["unbundle", "other.zip", "-o", "in"]) == 2
    assert "other.zip is no bundle" in capsys.readouterr().err


def test_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("weighbridge.run.bundle_file.MOST", 10_000)
    with zipfile.ZipFile("case.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", json.dumps({"case": "a.yaml::a"}))
        archive.writestr("zeros", "0" * 1_000_000)
    assert main(["unbundle", "case.zip", "-o", "in"]) == 2
    assert "unpacks to 1000021 bytes: that is no bundle" in capsys.readouterr().err
