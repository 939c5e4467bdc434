"""The documentation site: `make docs`. The reference is written from the registries each time it is built."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "Weighbridge"
version = release = version_of("weighbridge")
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"Weighbridge {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing"
]  # links out of docs/: tests/docs hold that each of them leads to a file
REFERENCE = HERE / "reference.md"


def weighbridge(*arguments: str) -> str:
    command = [sys.executable, "-m", "weighbridge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write_reference(app: Sphinx) -> None:
    """What a case can name, then the options of each step, threshold and engine: what `weighbridge list` prints."""
    from weighbridge.contracts import ENGINES, STEPS, THRESHOLDS

    names = [step.key for step in STEPS] + [*THRESHOLDS.names(), *ENGINES.names()]
    parts = ["(reference)=\n# Reference\n", weighbridge("list", "--style", "github"), "## Options\n"]
    for name in dict.fromkeys(names):
        title, _, rest = weighbridge_options(name).partition("\n")
        parts.append(f"### {title.partition(': ')[0] if name in THRESHOLDS else title}\n\n{rest}")
    text = "\n".join(parts) + "\n"
    if not REFERENCE.is_file() or REFERENCE.read_text(encoding="utf-8") != text:
        REFERENCE.write_text(text, encoding="utf-8")


def weighbridge_options(name: str) -> str:
    from weighbridge.cli.options import options_of

    return options_of(name, "github")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_reference)
