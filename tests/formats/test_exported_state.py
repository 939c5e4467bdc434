"""A program that keeps a state: right while it is weighed, and anything later."""

from __future__ import annotations

from typing import Any

import pytest

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.errors import StageError

torch = pytest.importorskip("torch")


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(3))

    def forward(self, x: Any) -> Any:
        return self.linear(x)


class Tired(Plain):
    """Right for forty calls."""

    def forward(self, x: Any) -> Any:
        self.calls.add_(1.0)
        return self.linear(x) * (self.calls[0] < 40)


class Cell(Plain):
    """Writes into a part of the buffer."""

    def forward(self, x: Any) -> Any:
        self.calls[1:].copy_(x[0, :2])
        return self.linear(x) + self.calls[2]


class Scratch(Plain):
    """Writes into what it has made of the buffer, which stays as it is."""

    def forward(self, x: Any) -> Any:
        made = self.calls * 2
        made.add_(1.0)
        return self.linear(x).add_(made[0])


def program(kind: type[Plain], functional: bool = False) -> Model:
    exported = torch.export.export(kind().eval(), (torch.ones(2, 4),))
    return Model("exported", exported.run_decompositions({}) if functional else exported)


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("kind", [Tired, Cell])
def test_a_candidate_that_keeps_a_state_is_an_error(kind: type[Plain], functional: bool) -> None:
    with pytest.raises(StageError, match="changes its own calls, and the original keeps no state"):
        FORMATS.get("exported").check_against(program(kind, functional), program(Plain))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(("candidate", "original"), [(Scratch, Plain), (Plain, Plain), (Cell, Tired)])
def test_what_keeps_none_or_does_as_its_original_is_let_through(
    candidate: type[Plain], original: type[Plain], functional: bool
) -> None:
    FORMATS.get("exported").check_against(program(candidate, functional), program(original, functional))
