"""Audits with their records."""

from __future__ import annotations

from pathlib import Path

import pytest
from audited import Audited


@pytest.fixture
def plain(tmp_path: Path) -> Audited:
    return Audited(tmp_path, signed=False)


@pytest.fixture
def signed(tmp_path: Path) -> Audited:
    return Audited(tmp_path, signed=True)
