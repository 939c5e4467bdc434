"""An item for each quantizer that is registered outside of Weighbridge: held to every property, case or no case."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from weighbridge.core.errors import StageError
from weighbridge.environment.requirements import missing

if TYPE_CHECKING:
    from weighbridge.numerics.quantizer import Quantizer


class QuantizerItem(pytest.Item):
    """`quantizer-NAME`: all properties, on tensors drawn from every scheme that the quantizer supports."""

    def __init__(self, *, quantizer: Quantizer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantizer = quantizer

    def runtest(self) -> None:
        from weighbridge.numerics.hunt import hunt

        if (why := missing(*self.quantizer.requires)) is not None:
            if self.config.getoption("weighbridge_strict_requirements"):
                raise StageError("requires", why)
            pytest.skip(why)
        hunt(self.quantizer)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from weighbridge.numerics.violation import Violation

        if isinstance(excinfo.value, Violation):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        source = type(self.quantizer)
        with contextlib.suppress(OSError):  # a class that was made at run time has no lines
            return Path(inspect.getfile(source)), inspect.getsourcelines(source)[1] - 1, self.name
        return Path(inspect.getfile(source)), 0, self.name


def collect_quantizers(session: pytest.Session) -> list[QuantizerItem]:
    """An item each, announced as collected: no file stands for them that pytest would have come upon."""
    from weighbridge.numerics.quantizer import QUANTIZERS

    items = [
        QuantizerItem.from_parent(session, name=f"quantizer-{quantizer.name}", quantizer=quantizer)
        for quantizer in QUANTIZERS
        if not type(quantizer).__module__.startswith("weighbridge.")
    ]
    report = pytest.CollectReport(nodeid="", outcome="passed", longrepr=None, result=[*items])
    session.config.hook.pytest_collectreport(report=report)
    return items
