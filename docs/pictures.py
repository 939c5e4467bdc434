"""The pictures of the documentation: `make pictures`. The tutorial's project is made and run for them; nothing is drawn by hand.

Needs a Chromium on the PATH, and the extras `dev` and `docs`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pygal
from pygal.style import Style
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

ROOT = Path(__file__).parents[1]
HERE = ROOT / "docs/pictures"
sys.path.insert(0, str(ROOT / "tests/report"))
from chromium import Browser  # noqa: E402

from weighbridge.core import stats  # noqa: E402

WIDTH = 100
STYLE = Style(
    background="white",
    plot_background="white",
    font_family="system-ui, sans-serif",
    colors=("#1f5fa8", "#b3261e", "#1c7a43"),
    label_font_size=12,
    major_label_font_size=12,
    guide_stroke_color="#dddddd",
    guide_stroke_dasharray="0",
    major_guide_stroke_color="#dddddd",
    major_guide_stroke_dasharray="0",
    legend_font_size=13,
    title_font_size=14,
)


def blocks() -> list[tuple[str, str]]:
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    return re.findall(r"```(python|yaml|bash)\n(.*?)```", text, re.DOTALL)


def tutorial(folder: Path) -> dict[str, str]:
    """Every block carried out in `folder`; gives what each command printed, colours included."""
    printed = {}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    inside = {**os.environ, "PATH": path, "COLUMNS": str(WIDTH), "PY_COLORS": "1"}
    for language, block in blocks():
        if language == "bash":
            done = subprocess.run(
                ["bash", "-c", block], cwd=folder, env=inside, capture_output=True, text=True
            )
            printed[block.splitlines()[-1]] = done.stdout
        else:
            name, _, text = block.removeprefix("# file: ").partition("\n")
            (folder / name).write_text(text)
    return printed


def terminal(name: str, command: str, printed: str) -> None:
    """What a run shows below its own heading, as an SVG."""
    table = printed.partition("= weighbridge =")[2].partition("\n")[2].partition("wrote reports")[0].rstrip()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(table), "\n")  # the last line of such a picture is cut
    text = console.export_svg(title="", theme=DEFAULT_TERMINAL_THEME, unique_id=name)
    # Fonts come from the reader's own machine: a page of documentation asks nobody else for anything.
    text = re.sub(r"@font-face \{.*?\}\n", "", text, flags=re.DOTALL)
    (HERE / f"{name}.svg").write_text(text, encoding="utf-8")


def pages(folder: Path) -> None:
    """The HTML report of the failing run, light and dark."""
    with Browser(1100, 900) as browser:
        for scheme in ("light", "dark"):
            browser.media(scheme=scheme)
            browser.open(folder / "reports/latest.html")
            browser.run("new Promise((done) => setTimeout(done, 300))")
            browser.shot(HERE / f"report-{scheme}.png", whole=True)


def chart(name: str, title: str, across: str, up: str, lines: dict[str, list[tuple[float, float]]]) -> None:
    drawn = pygal.XY(
        style=STYLE, js=[], show_dots=False, width=760, height=360, legend_at_bottom=True, x_title=across, y_title=up,
        title=title, xrange=(0, max(x for x, _ in next(iter(lines.values())))),
        value_formatter=lambda value: f"{value:g}", x_value_formatter=lambda value: f"{value:g}", show_x_guides=True,
    )  # fmt: skip
    drawn.uuid = name  # a random one would change the file each time
    for label, points in lines.items():
        drawn.add(label, points, stroke_style={"width": 2.5})
    (HERE / f"{name}.svg").write_bytes(drawn.render())


def statistics() -> None:
    counts = range(100, 3100, 100)
    limits = {
        f"{100 * sure:g} % sure": [(n, 100 * stats.decidable_limit(n, sure)) for n in counts]
        for sure in (0.9, 0.95, 0.99)
    }
    chart(
        "decidable",
        "The smallest limit that a test set can decide, where no sample flips",
        "samples in the test set",
        "points",
        limits,
    )
    lost, won = 0.02, 0.01
    ends = [(n, stats.tango_interval(lost * n, won * n, n, 0.95)) for n in counts]
    chart(
        "interval",
        "A drop of 1 point (2 % of the samples lost, 1 % won), and its 95 % interval",
        "samples in the test set",
        "points",
        {
            "the drop": [(n, 100 * (lost - won)) for n in counts],
            "high end": [(n, 100 * high) for n, (_, high) in ends],
            "low end": [(n, 100 * low) for n, (low, _) in ends],
        },
    )
    loads = range(4, 41)
    needed = [(n, 100 * stats.successes_needed(n, 0.5, 0.005) / n) for n in loads]
    chart(
        "loads",
        "Of so many loads, how many must lie on one side of the limit to decide a speed at 99 %",
        "loads",
        "percent of the loads",
        {"on one side of the limit": [(n, share) for n, share in needed if share <= 100]},
    )


def main() -> None:
    HERE.mkdir(exist_ok=True)
    statistics()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed = tutorial(folder)
        terminal("gate", "pytest --bench", printed["pytest --bench"])
        failing = "pytest cases/model/dynamic.yaml --bench"
        terminal("failing", failing, printed[failing])
        both = subprocess.run(
            [sys.executable, "-m", "pytest", "cases", "--bench", "--report", "html"],
            cwd=folder, env={**os.environ, "COLUMNS": str(WIDTH), "PY_COLORS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        terminal("both", "pytest cases --bench --report html", both.stdout)
        pages(folder)


if __name__ == "__main__":
    main()
