"""The documentation is executed: README and tutorial. Their files are written, cases run, commands carried out; the
README's tables are compared with the registries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.projects import report_of, statuses

from weighbridge.case.load import load_cases
from weighbridge.report.reading import read_report

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:python|yaml)\n# file: (\S+)\n(.*?)```", README, re.DOTALL))


def section(name: str) -> str:
    found = re.search(rf"<!-- begin: {name} -->\n(.*?)<!-- end: {name} -->", README, re.DOTALL)
    assert found, f"the README has no section '{name}'"
    return found.group(1).strip()


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """The README's files in an empty project, and weights for its network."""
    import torch
    from safetensors.torch import save_file

    for name, text in FILES.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.path.insert(0, str(pytester.path / "cases/mine"))
    try:
        sys.modules.pop("model", None)
        import model
    finally:
        sys.path.pop(0)
        sys.modules.pop("model", None)
    torch.manual_seed(0)
    network = model.network()
    images, labels = map(torch.tensor, model.data()["train"])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(network.state_dict(), pytester.path / "cases/mine/network.safetensors")
    return pytester.path


def test_the_case_of_the_first_page_gates_a_torch_module(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("cases/mine/gate.yaml", "-v", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(
        ["*gate.yaml::gate::accuracy_drop PASSED*", "*gate::size_ratio PASSED*", "*gate::speedup SKIPPED*"]
    )
    result.assert_outcomes(passed=3, skipped=1)


def test_every_case_of_the_manual_is_valid_and_runs(project: Path, pytester: pytest.Pytester) -> None:
    names = [case.name for case in load_cases(project / "cases/mine/full.yaml")]
    assert names == ["prune-int8-0.3", "prune-int8-0.5", "torch-int8"]
    result = pytester.runpytest_inprocess(
        "cases/mine/full.yaml", "-k", "torch-int8", "-W", "ignore::pytest.PytestUnknownMarkWarning"
    )
    result.assert_outcomes(passed=2, xfailed=1)


def test_the_extension_of_the_manual_is_caught_changing_nothing(
    project: Path, pytester: pytest.Pytester
) -> None:
    (project / "cases/mine/halve.yaml").write_text(
        "model: {torch: model.py:network, weights: network.safetensors}\n"
        "recipe: [{prune: halve}]\nthresholds: {nonzero: 100}\n"
    )
    result = pytester.runpytest_subprocess("-p", "halve", "cases/mine/halve.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*prune (prune: halve): the step changed nothing*"])


def test_the_property_of_the_manual_holds(project: Path, pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess("test_mine.py").assert_outcomes(passed=1)


def weighbridge(*arguments: str) -> str:
    """What the command prints, in a process of its own: other tests of this one register steps for themselves."""
    command = [Path(sys.executable).parent / "weighbridge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_tables_are_the_registries() -> None:
    assert section("tables") == weighbridge("list", "--style", "github").strip(), (
        "run: weighbridge list --style github, and paste it between the README's marks"
    )


def test_the_schema_beside_the_cases_is_the_commands() -> None:
    kept = (ROOT / "cases/case.schema.json").read_text(encoding="utf-8")
    assert kept == weighbridge("schema"), "run: make schema"


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def carried_out(document: str, folder: Path) -> Iterator[str]:
    """Every block of a document in its order, from an empty folder, as a reader would; gives each command once it is done."""
    text = (ROOT / document).read_text(encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, block in re.findall(r"```(python|yaml|bash)\n(.*?)```", text, re.DOTALL):
        if language != "bash":
            name, content = re.match(r"# file: (\S+)\n(.*)", block, re.DOTALL).groups()  # type: ignore[union-attr]
            (folder / name).write_text(content)
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == block.startswith("# fails:"), f"{block}{done.stdout}{done.stderr}"
        yield block


def test_the_tutorial_is_what_happens(tmp_path: Path) -> None:
    """With nothing edited the gate is green."""
    for block in carried_out("docs/tutorial.md", tmp_path):
        if block == "pytest --bench\n":
            assert set(statuses(tmp_path).values()) == {"pass"}
            assert "speedup" in {
                verdict["threshold"] for verdict in report_of(tmp_path)["rows"][0]["verdicts"]
            }
            assert (tmp_path / "reports/latest.html").is_file()
    assert statuses(tmp_path)["dynamic::speedup"] == "fail"


@pytest.mark.slow
def test_the_manual_of_histories_is_what_happens(tmp_path: Path) -> None:
    blocks = list(carried_out("docs/history.md", tmp_path))
    assert len(blocks) > 5
    assert (tmp_path / "trend.html").is_file()
    assert len(read_report(tmp_path / "joined/latest.json")["rows"]) == 3
