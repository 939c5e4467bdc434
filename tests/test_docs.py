"""The documentation is executed: README, manual and tutorial. Their files are written, cases run, commands carried out."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.projects import report_of, statuses
from tests.shell import in_bash

from weighbridge.case.load import load_cases
from weighbridge.contracts import ENGINES, THRESHOLDS
from weighbridge.report.reading import read_report

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("case", "desk", "extending", "gate", "properties", "search")),
)
"""Those that speak of one project. The tutorial has its own, and so have the pages with tests beside the code."""
EVERY_PAGE = [
    "README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
]
TEXT = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
FILES = dict(re.findall(r"```(?:python|yaml)\n# file: (\S+)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """The files of the pages in an empty project, and weights for their network."""
    for name, text in FILES.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (pytester.path / "cases/mine/network.safetensors").write_bytes(trained())
    return pytester.path


@functools.cache
def trained() -> bytes:
    """The weights of the pages' network, trained as a reader would have done."""
    import torch
    from safetensors.torch import save

    code: dict[str, Any] = {}
    exec(FILES["cases/mine/model.py"], code)
    torch.manual_seed(0)
    network = code["network"]()
    images, labels = map(torch.tensor, code["data"]()["train"])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return save(network.state_dict())


def test_the_case_of_the_first_page_gates_a_torch_module(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("cases/mine/gate.yaml", "-v", "-p", "no:cacheprovider")
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


@pytest.mark.slow
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


def test_the_schema_beside_the_cases_is_the_commands() -> None:
    kept = (ROOT / "cases/case.schema.json").read_text(encoding="utf-8")
    assert kept == weighbridge("schema"), "run: make schema"


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_file_that_a_page_links_to_exists(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    made = {"reference.md"} & set(links)
    assert [link for link in links if not ((ROOT / page).parent / link).exists() and link not in made] == []


def test_the_readme_is_what_a_newcomer_needs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- begin: bench -->\n```\n(.*?)```", text, re.DOTALL)
    assert table is not None
    lines = table[1].rstrip().splitlines()
    assert len(lines) <= 25
    run = (ROOT / "docs/bench.txt").read_text(encoding="utf-8")
    assert [line for line in lines if line not in run.splitlines()] == [], "the table is that of the run"
    assert len(text.splitlines()) <= 150


def test_every_case_file_of_the_pages_is_valid(project: Path) -> None:
    cases = [name for name in FILES if name.startswith("cases/") and name.endswith(".yaml")]
    added = [name for name, text in FILES.items() if name.endswith(".py") and ".add(" in text]
    assert len(cases) > 5
    assert len(added) == 5
    (project / "conftest.py").write_text("".join(f"import {Path(name).stem}\n" for name in added))
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", "check", *cases],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_target_holds_and_a_sweep_is_a_grid(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("cases/mine/served.yaml", "cases/mine/sweep.yaml")
    assert set(statuses(project).values()) == {"pass"}
    assert statuses(project)["served::target"] == "pass"
    result.stdout.fnmatch_lines(["*sweep*accuracy*", "*0.3 *", "*0.6 *"])


@pytest.mark.slow
def test_the_case_without_a_recipe_is_searched_for_one(project: Path, pytester: pytest.Pytester) -> None:
    pytest.importorskip("optuna", reason="pip install 'weighbridge[search]'")
    words = ["search", "wanted.yaml", "--trials", "2", "-o", "cases/mine/best.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", *words], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the split 'calibration' are trained on" in done.stdout, "as the page says"
    pytester.runpytest_inprocess("cases/mine/best.yaml")
    assert set(statuses(project).values()) == {"pass"}


@pytest.mark.slow
def test_what_the_manual_adds_works(project: Path, pytester: pytest.Pytester) -> None:
    """A step, a quantizer, a metric, an engine, a report: each as the page has it."""
    added = ("thin", "rounding", "by_reference", "worst")
    pytester.makeconftest("\n".join(f"import {name}" for name in added))
    cases = [f"cases/mine/{name}.yaml" for name in ("thin", "margin", "by_reference")]
    result = pytester.runpytest_subprocess(*cases, "--report", "worst", "-v")
    found = statuses(project)
    assert set(found.values()) == {"pass"}, result.stdout.str()
    assert {"thin::nonzero_ratio", "margin::accuracy_drop", "by_reference::size_ratio"} <= set(found)
    result.stdout.fnmatch_lines(["*quantizer-rounding PASSED*"])
    rows = {row["name"]: row for row in report_of(project)["rows"]}
    assert rows["by_reference"]["engine"] == "by-reference"
    assert "weights became zero" in rows["thin"]["notes"][0]
    assert rows["margin"]["measurements"]["accuracy"]["details"]["metric"] == "margin.py:margin"
    assert "::" in (project / "reports/latest.worst.txt").read_text()


@pytest.mark.slow
def test_the_quantizer_of_the_manual_would_fail_if_it_were_wrong(
    project: Path, pytester: pytest.Pytester
) -> None:
    path = project / "rounding.py"
    path.write_text(path.read_text().replace("np.rint(", "np.floor("))
    pytester.makeconftest("import rounding")
    result = pytester.runpytest_subprocess("cases/mine/margin.yaml", "-k", "rounding")
    result.assert_outcomes(failed=1, deselected=result.parseoutcomes().get("deselected", 0))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="pip install 'weighbridge[docs]'")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-d",
        str(tmp_path / "trees"),
    ]
    done = subprocess.run([*command, ROOT / "docs", tmp_path / "site"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site/reference.html").read_text(encoding="utf-8")

    shipped = [name for name in (*THRESHOLDS.names(), *ENGINES.names()) if name in weighbridge("list")]
    assert [name for name in shipped if name not in reference] == []
    assert "At most so many samples of the calibration split." in reference


def carried_out(document: str, folder: Path) -> Iterator[str]:
    """Every block of a document in its order, from an empty folder, as a reader would; gives each command once it is done."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for language, block in re.findall(r"```(python|yaml|bash)\n(.*?)```", text, re.DOTALL):
        if language != "bash":
            name, content = re.match(r"# file: (\S+)\n(.*)", block, re.DOTALL).groups()  # type: ignore[union-attr]
            (folder / name).write_text(content)
            continue
        done = in_bash(block, folder)
        assert done.returncode == block.startswith("# fails:"), f"{block}{done.stdout}{done.stderr}"
        yield block


@pytest.mark.slow
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
    # The tutorial ends where the pages for the desk and for a red gate begin.
    for page, expected in (("gate", [[1, 0, 0], [0]]), ("desk", [[0]])):
        blocks = re.findall(r"```bash\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
        first = blocks[: len(expected)]  # signing, after them, needs a package that CI has not
        for block, codes in zip(first, expected, strict=True):
            assert [in_bash(line, tmp_path).returncode for line in block.splitlines()] == codes, page
    assert (tmp_path / "dynamic.zip").is_file()


@pytest.mark.slow
def test_the_manual_of_histories_is_what_happens(tmp_path: Path) -> None:
    blocks = list(carried_out("docs/history.md", tmp_path))
    assert len(blocks) > 5
    assert (tmp_path / "trend.html").is_file()
    assert len(read_report(tmp_path / "joined/latest.json")["rows"]) == 3
