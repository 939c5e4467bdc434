"""Cases in this very process: for a debugger, and where a worker cannot import what was registered."""

from __future__ import annotations

from collections.abc import Iterable

from weighbridge.core.results import CaseResult
from weighbridge.environment.process_state import ProcessState
from weighbridge.run.events import Listener
from weighbridge.run.executors.base import EXECUTORS, without_address
from weighbridge.run.job import Job
from weighbridge.run.pipeline import run_case
from weighbridge.run.recent import forget_data


class Inline:
    """Nothing protects the run from a case that ends or hangs its process."""

    def __init__(self) -> None:
        forget_data()  # a run before in this process

    def expect(self, jobs: Iterable[Job]) -> None:
        pass

    def run(self, job: Job, listen: Listener) -> CaseResult:
        state = ProcessState.capture()
        try:
            return run_case(job, listen)
        finally:
            state.restore()

    def close(self) -> None:
        pass


EXECUTORS.add("inline", without_address(Inline))
