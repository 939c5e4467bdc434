"""What a format says of itself beside reading and writing, with the usual answer: a new one overrides what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from weighbridge.contracts import Model, Port, Requirement
from weighbridge.core.results import Artifact


class FormatBase:
    """Base of every format; see `contracts.Format` for what each member means."""

    requires: tuple[Requirement, ...] = ()
    whole_file = True
    marker = ""
    declares_inputs = False

    def whole(self, model: Model) -> Model:
        return model

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        return ()

    def companions(self, path: Path) -> tuple[Path, ...]:
        return ()

    def opsets(self, model: Model) -> Mapping[str, int]:
        return {}

    def structure(self, model: Model) -> str:
        return ""

    def ports(self, model: Model) -> tuple[list[Port], list[Port]]:
        return [], []

    def check_against(self, candidate: Model, original: Model) -> None:
        pass

    def in_training(self, artifact: Artifact) -> Sequence[str]:
        return ()

    def called_as(self, candidate: Artifact, original: Artifact) -> Artifact:
        return candidate
