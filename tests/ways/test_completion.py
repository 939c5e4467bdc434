"""`weighbridge completion`: scripts that the shells take, and what they complete."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from weighbridge.cli.main import VERBS, main, parser


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="pip install shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert len(VERBS) > 10
    (verbs,) = (action.choices for action in parser()._actions if action.dest == "verb")
    assert [name for name in verbs or () if name not in script] == []


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="pip install shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "net.yaml").touch()

    def complete(*words: str) -> list[str]:
        listed = " ".join(f"'{word}'" for word in ("weighbridge", *words))
        code = (
            f"source ./script; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _shtab_weighbridge; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [str(shutil.which("bash")), "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        return done.stdout.split()

    assert complete("bun") == ["bundle"]
    assert "--output" in complete("bundle", "--")
    assert complete("completion", "fi") == ["fish"]
    assert "net.yaml" in complete("check", "ne")


def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'weighbridge[completion]'" in capsys.readouterr().err
