"""Exported programs are run as they were exported, and know what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.contracts import CONVERTERS, ENGINES, FORMATS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError

torch = pytest.importorskip("torch")

OPEN = {0: torch.export.Dim.DYNAMIC}
RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(0, 50, (5, 7))
MASK = (RANDOM.random((5, 7)) > 0.3).astype("float32")


class Words(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 4)

    def forward(self, ids: Any, mask: Any, doubled: bool = False) -> Any:
        answer = self.linear((self.embedding(ids) * mask[..., None]).mean(1))
        return 2 * answer if doubled else answer


class Nested(torch.nn.Module):
    def forward(self, both: Any) -> Any:
        return both["a"] + 2 * both["b"][0]


def program(module: Any, *args: Any, shapes: Any = None, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return torch.export.export(module.eval(), args, kwargs, dynamic_shapes=shapes)


def session(program: Any, folder: Path) -> Any:
    engine = ENGINES.get("torch")
    return engine.open(
        FORMATS.get("exported").save(Model("exported", program), folder, "p"), engine.options()
    )


@pytest.fixture(params=["by place", "by name"])
def words(request: pytest.FixtureRequest) -> Any:
    """The module and its program, exported with both inputs by place, or by name."""
    module, ids, mask = Words(), torch.from_numpy(IDS[:2]), torch.from_numpy(MASK[:2])
    if request.param == "by place":
        return module, program(module, ids, mask, shapes=(OPEN, OPEN))
    return module, program(module, shapes={"ids": OPEN, "mask": OPEN}, ids=ids, mask=mask)


@pytest.mark.parametrize("inputs", [(IDS, MASK), {"ids": IDS, "mask": MASK}], ids=["tuple", "mapping"])
def test_it_takes_its_inputs_whichever_way_they_are_given(words: Any, inputs: Any, tmp_path: Path) -> None:
    module, exported = words
    with torch.inference_mode():
        expected = module(torch.from_numpy(IDS), torch.from_numpy(MASK)).numpy()
    opened = session(exported, tmp_path)
    np.testing.assert_allclose(opened.run(inputs)[0], expected, atol=1e-6)
    np.testing.assert_allclose(opened.bind(inputs)().numpy(), expected, atol=1e-6)


def test_what_is_no_tensor_stays_as_it_was_exported(tmp_path: Path) -> None:
    module, ids, mask = Words(), torch.from_numpy(IDS), torch.from_numpy(MASK)
    exported = program(module, ids, mask, True, shapes=(OPEN, OPEN, None))
    found = session(exported, tmp_path).run((IDS, MASK))[0]
    np.testing.assert_allclose(found, module(ids, mask, True).detach().numpy(), atol=1e-6)


def test_inputs_inside_of_others_have_names_of_their_own(tmp_path: Path) -> None:
    exported = program(Nested(), {"a": torch.ones(2, 3), "b": [torch.ones(2, 3)]})
    opened = session(exported, tmp_path)
    ones = np.ones((2, 3), "float32")
    assert list(opened.inputs) == ["both_a", "both_b_0"]
    np.testing.assert_array_equal(opened.run({"both_a": ones, "both_b_0": 2 * ones})[0], 5 * ones)


@pytest.mark.parametrize("size", [1, 2])
def test_a_fixed_batch_is_kept_call_by_call(size: int, tmp_path: Path) -> None:
    """`torch.export.export(module, (example,))` fixes the example's batch."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    opened = session(program(module, torch.rand(size, 3, 4)), tmp_path)
    x = RANDOM.random((5, 3, 4), dtype="float32")
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(opened.run((x,))[0], expected, atol=1e-6)
    assert opened.filled((x,)) == (0 if size == 1 else 1)


def test_bfloat16_is_handed_over_as_such(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")  # once it is imported, numpy knows a bfloat16 that it cannot cast to
    module = torch.nn.Linear(4, 2).to(torch.bfloat16)
    opened = session(program(module, torch.ones(3, 4, dtype=torch.bfloat16)), tmp_path)
    x = np.ones((3, 4), "float32")
    expected = module(torch.ones(3, 4, dtype=torch.bfloat16)).float().detach().numpy()
    np.testing.assert_array_equal(opened.run((x,))[0], expected)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ((IDS,), r"takes 2 inputs \(ids, mask\), the data gives 1"),
        ({"ids": IDS, "masks": MASK}, r"no input 'masks'; did you mean 'mask'\?"),
        ({"ids": IDS}, r"input 'mask' float32 \[s\d+, 7\] is missing"),
        ((IDS, MASK[:, :4]), r"'mask' float32 \[s\d+, 7\] does not take the data's float32 \[5, 4\]"),
    ],
)
def test_what_it_does_not_take_is_named(inputs: Any, sentence: str, tmp_path: Path) -> None:
    exported = program(Words(), torch.from_numpy(IDS), torch.from_numpy(MASK), shapes=(OPEN, OPEN))
    with pytest.raises(StageError, match=sentence):
        session(exported, tmp_path).run(inputs)


def test_it_says_what_it_takes(words: Any) -> None:
    format_, (_, exported) = FORMATS.get("exported"), words
    shapes, dtypes = format_.inputs(Model("exported", exported))
    assert (shapes, dtypes) == ({"ids": (7,), "mask": (7,)}, {"ids": "int64", "mask": "float32"})


def test_an_open_length_is_left_to_the_case() -> None:
    both = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exported = program(Words(), torch.from_numpy(IDS), torch.from_numpy(MASK), shapes=(both, both))
    assert FORMATS.get("exported").inputs(Model("exported", exported))[0] is None


class Turned(Words):
    def forward(self, mask: Any, ids: Any) -> Any:  # type: ignore[override]
        return super().forward(ids, mask)


def test_a_candidate_with_its_inputs_in_another_order_is_asked_in_the_originals(tmp_path: Path) -> None:
    """Data comes by place, in the original's order."""
    module, turned = Words(), Turned()
    turned.load_state_dict(module.state_dict())
    ids, mask = torch.from_numpy(IDS[:2]), torch.from_numpy(MASK[:2])
    format_, engine = FORMATS.get("exported"), ENGINES.get("torch")
    original, candidate = (
        format_.save(Model("exported", one), tmp_path, name)
        for name, one in (
            ("original", program(module, ids, mask, shapes=(OPEN, OPEN))),
            ("candidate", program(turned, mask, ids, shapes=(OPEN, OPEN))),
        )
    )
    called = format_.called_as(candidate, original)
    ours, theirs = (engine.open(one, engine.options()).run((IDS, MASK))[0] for one in (called, original))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert format_.called_as(original, original) == original


class Sides(torch.nn.Module):
    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned, self.left, self.right = turned, torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        if self.turned:
            right = self.right(x)
            return self.left(x), right
        return self.left(x), self.right(x)


def test_outputs_stay_in_their_own_order_since_each_export_names_them_anew(tmp_path: Path) -> None:
    """The same two answers, called `linear` and `linear_1`, or the other way round where the right one was computed first."""
    format_, sides = FORMATS.get("exported"), [Sides(False), Sides(True)]
    sides[1].load_state_dict(sides[0].state_dict())
    original, candidate = (
        format_.save(Model("exported", program(one, torch.ones(1, 4))), tmp_path, str(one.turned))
        for one in sides
    )
    names = [[port["name"] for port in format_.ports(format_.open(one))[1]] for one in (original, candidate)]
    assert names[0] == names[1][::-1]
    assert format_.called_as(candidate, original) == candidate


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_its_onnx_twin_answers_alike(named: bool, fixed: bool, tmp_path: Path) -> None:
    module, ids, mask = Words(), torch.from_numpy(IDS[:2]), torch.from_numpy(MASK[:2])
    exported = program(module, ids, mask, shapes=None if fixed else (OPEN, OPEN))
    inputs: Any = {"ids": IDS, "mask": MASK} if named else (IDS, MASK)
    data = Data(splits={"test": (inputs, np.zeros(5, "int64"))})
    context = Context(tmp_path, tmp_path, 0, data)
    made = CONVERTERS.get("exported->onnx").convert(Model("exported", exported), context)
    engine = ENGINES.get("onnxruntime")
    twin = engine.open(FORMATS.get("onnx").save(made, tmp_path, "twin"), engine.options())
    with torch.inference_mode():
        expected = module(torch.from_numpy(IDS), torch.from_numpy(MASK)).numpy()
    np.testing.assert_allclose(twin.run(inputs)[0], expected, atol=1e-5)
