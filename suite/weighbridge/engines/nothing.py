"""The engine of formats that hold tensors only."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import ENGINES, Session
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines.base import EngineBase


class Nothing(EngineBase):
    name = "none"
    formats: tuple[str, ...] = ("safetensors",)
    runs = False

    def open(self, artifact: Artifact, options: Any) -> Session:
        raise StageError("open", f"{artifact.path.name} holds tensors only: nothing can run it")


ENGINES.add(Nothing.name, Nothing())
