"""What is checked out: the commit, its branch, and whether somebody has changed files since."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BRANCH_VARIABLES = (
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "BUILDKITE_BRANCH",
    "CIRCLE_BRANCH",
    "BRANCH_NAME",
)
"""A CI service checks a commit out, not a branch, and says here which branch that was; the first that is set counts."""


@dataclass(frozen=True)
class Revision:
    """All None outside of a git checkout, or without git."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    """Whether a tracked file differs from the commit. What a run itself writes is not tracked."""
    committed: str | None = None
    """When the commit was made, ISO 8601."""


def revision(root: Path, environment: Mapping[str, str] = os.environ) -> Revision:
    """Of the checkout that `root` lies in."""
    told = _git(root, "show", "--no-patch", "--no-show-signature", "--format=%H%n%cI", "HEAD")
    if told is None or len(told.split()) != 2:
        return Revision()
    commit, committed = told.split()
    branch = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD") or next(
        (environment[name] for name in BRANCH_VARIABLES if environment.get(name)), None
    )
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Revision(commit, branch, None if changed is None else changed != "", committed)


def _git(root: Path, *words: str) -> str | None:
    """What git answers; None where there is none, or nothing to answer."""
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
