"""What a run says while it goes on: where it is, progress, and raw timings. Whoever shows or keeps them listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class StageEntered:
    """`stage` is one of the pipeline's (`load`, `prune`, `quantize`, `export`, `save`, `measure`, ...); `line` its place."""

    stage: str
    text: str
    line: int


@dataclass(frozen=True)
class Said:
    """Progress for a person: one short line."""

    text: str


@dataclass(frozen=True)
class Timed:
    """The raw timings of `baseline` or `candidate`, seconds a call."""

    measure: str
    side: str
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Waiting:
    """The case stands still while another is timed, or goes on (`begins` is False); its limit of time does not count that."""

    begins: bool


Event: TypeAlias = StageEntered | Said | Timed | Waiting
Listener: TypeAlias = Callable[[Event], None]

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in (StageEntered, Said, Timed, Waiting)}


def event_to_json(event: Event) -> dict[str, Any]:
    return {"event": type(event).__name__, **asdict(event)}


def event_from_json(data: Mapping[str, Any]) -> Event:
    kind: Callable[..., Event] = _KINDS[data["event"]]
    fields = {key: value for key, value in data.items() if key != "event"}
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
