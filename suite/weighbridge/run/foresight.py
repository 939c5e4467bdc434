"""What a run would do, and what of it the store holds: the keys are those of the run itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weighbridge.run.chain import Chain
from weighbridge.run.plan import Plan
from weighbridge.run.store import Store
from weighbridge.run.workshop import Workshop


@dataclass(frozen=True)
class Foreseen:
    """A stage of a plan. `seconds` is what it took when it was carried out, None where it is not stored."""

    stage: str
    stored: bool
    seconds: float | None = None


def foresee(plan: Plan, store: Store, root: Path) -> list[Foreseen]:
    """Each stage of the recipe in order. Calls the user's code for the model and reads the data, and makes nothing else.

    Raises what loading them raises, `StageError` mostly.
    """
    with store.workdir() as workdir:
        shop = Workshop(plan.case, store, root, workdir, lambda *_: None, lambda text: None)
        chain = Chain(shop, plan.case.candidate or plan.case.model, plan.stages)
        return [
            _foreseen(str(stage), key, store) for stage, key in zip(plan.stages, chain.keys[1:], strict=True)
        ]


def _foreseen(stage: str, key: str, store: Store) -> Foreseen:
    record, model = store.find(f"record-{key}"), store.find(f"model-{key}")
    seconds = float(record.facts["seconds"]) if record else None
    return Foreseen(stage, record is not None or model is not None, seconds)
