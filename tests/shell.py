"""What a reader of the documentation types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def in_bash(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The lines of `block` carried out in `folder`, with this environment's commands, until one fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-e", "-c", block],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
