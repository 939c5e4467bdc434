"""The engine of formats that hold tensors only."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import ENGINES, NO_ENGINE, EngineOptions, Requirement, Session
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact


class Nothing:
    name = NO_ENGINE
    formats: tuple[str, ...] = ("safetensors",)
    options: type[EngineOptions] = EngineOptions
    requires: tuple[Requirement, ...] = ()

    def open(self, artifact: Artifact, options: Any) -> Session:
        raise StageError("open", f"{artifact.path.name} holds tensors only: nothing can run it")


ENGINES.add(Nothing.name, Nothing())
