"""What is checked out: the commit, its branch, and whether somebody has changed files since."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BRANCH_VARIABLES = (
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "BUILDKITE_BRANCH",
    "CIRCLE_BRANCH",
    "BRANCH_NAME",
)
"""A CI service checks a commit out, not a branch, and says here which branch that was; the first that is set counts."""
PULL_VARIABLES = ("CI_MERGE_REQUEST_IID", "BUILDKITE_PULL_REQUEST")
"""The number of the pull request that is built; the branch that the service names for one is the author's, in any fork."""


@dataclass(frozen=True)
class Revision:
    """All None outside of a git checkout, or without git."""

    commit: str | None = None
    branch: str | None = None
    """`pull/12` for a pull request: a fork's own `main` is not what this project's `main` is held to."""
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
    branch = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD") or _told(environment, commit)
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Revision(commit, branch, None if changed is None else changed != "", committed)


def is_untracked(path: Path, root: Path) -> bool:
    """Whether `root` lies in a checkout whose git does not say that it tracks `path`, a file below `root`."""
    if not any((place / ".git").exists() for place in (root, *root.parents)):
        return False
    return not _git(root, "--literal-pathspecs", "ls-files", "--", str(path.relative_to(root)))


def _told(environment: Mapping[str, str], commit: str) -> str | None:
    """The branch or pull request that a CI service says it has checked out."""
    if head := environment.get("GITHUB_HEAD_REF"):  # set for pull requests alone
        number = re.fullmatch(r"refs/pull/(\d+)/.*", environment.get("GITHUB_REF", ""))
        return f"pull/{number[1] if number else head}"
    if environment.get("GITHUB_SHA", commit) != commit:
        return None  # a workflow of the default branch that has checked out something else, such as a fork's commit
    for name in PULL_VARIABLES:
        if environment.get(name, "").isdecimal():  # Buildkite says `false` for none
            return f"pull/{environment[name]}"
    return next((environment[name] for name in BRANCH_VARIABLES if environment.get(name)), None)


def _git(root: Path, *words: str) -> str | None:
    """What git answers; None where there is none, or nothing to answer."""
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
