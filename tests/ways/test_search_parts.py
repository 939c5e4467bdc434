"""What a search is made of: the recipes that it may choose, the case that it writes, the order of what holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.ways.made import trial

from weighbridge.case.load import load_cases
from weighbridge.contracts import STEPS
from weighbridge.core.layer_errors import LayerError, LayerErrors
from weighbridge.core.results import CaseResult, Census, Status, StepRecord, Verdict
from weighbridge.propose.front import Weighed, weigh
from weighbridge.propose.rewritten import rewritten
from weighbridge.propose.search import Search
from weighbridge.propose.space import Space, around, as_stated, resolved, space_of
from weighbridge.propose.study import Tried
from weighbridge.propose.trials import Trial
from weighbridge.propose.winner import Verified, _no_better, in_order

STATIC, DYNAMIC = (STEPS.get(f"quantize:{name}@onnxruntime") for name in ("static", "dynamic"))
TUNED = [step for step in STEPS if step.options.tunes]


class Chosen:
    """Chooses what it was told, and the first of everything else."""

    def __init__(self, **chosen: Any) -> None:
        self.chosen, self.asked = chosen, dict[str, Any]()

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked[name] = choices
        return self.chosen.get(name, choices[0])

    def suggest_int(self, name: str, low: int, high: int) -> int:
        self.asked[name] = (low, high)
        found: int = self.chosen.get(name, low)
        return found


@pytest.mark.parametrize("step", TUNED, ids=lambda step: step.key)
def test_what_a_step_offers_is_what_it_takes(step: Any) -> None:
    """Together with the first values of what it needs; not all options go with each other."""
    fields = step.options.model_fields
    needed = {name: step.options.tunes[name][0] for name in fields if fields[name].is_required()}
    for name, values in step.options.tunes.items():
        taken = [value for value in values if takes(step, {**needed, name: value})]
        assert taken, name
        assert len(taken) > 1 or len(needed) > 0, name


def takes(step: Any, options: Mapping[str, Any]) -> bool:
    try:
        step.options.model_validate(options)
    except ValueError:
        return False
    return True


def test_a_recipe_says_what_is_not_by_default() -> None:
    space = Space({"quantize": (STATIC, DYNAMIC)})
    chosen = Chosen(quantize=DYNAMIC.key, **{f"{DYNAMIC.key}.weights": "uint8"})
    assert space.choose(chosen, {}) == ({"quantize": "dynamic", "engine": "onnxruntime", "weights": "uint8"},)


def test_the_layers_that_cost_most_may_be_spared() -> None:
    space, worst = Space({"quantize": (STATIC,)}), {STATIC.key: ["b", "a", "d", "c"]}
    chosen = Chosen(**{f"{STATIC.key}.exclude": 2, f"{STATIC.key}.float_share": 1})
    assert space.choose(chosen, worst) == (
        {"quantize": "static", "engine": "onnxruntime", "calibration": "percentile", "exclude": ["b", "a"]},
    )
    assert chosen.asked[f"{STATIC.key}.exclude"] == (0, 2), "half of the layers at most"


def test_a_layer_that_is_float_anyway_is_not_spared() -> None:
    """Of 200 dB: nothing of it is lost, so that leaving it alone brings nothing, and may leave nothing to quantize."""
    kept: dict[str, Sequence[str]] = {}
    layers = tuple(
        LayerError(name, "Conv", db, place) for place, (name, db) in enumerate([("a*", 20.0), ("b", 200.0)])
    )
    errors = LayerErrors("quantize: static", 1, 8, "data", 20.0, layers)
    census = Census(1, 1, 1, 1, "")
    step = StepRecord(STATIC.key, "quantize: static", {}, 0.0, census, census)
    result = replace(trial("one", 1, None, 0.0).result, layer_errors=errors, steps=(step,))
    study = SimpleNamespace(remember_worst=lambda key, patterns: kept.update({key: patterns}))
    Search._learn(SimpleNamespace(study=study), result)  # type: ignore[arg-type]
    assert kept == {STATIC.key: ["a[*]"]}


def test_training_follows_pruning_only() -> None:
    steps = [STEPS.get(key) for key in ("prune:l1_unstructured", "finetune:supervised")]
    space = Space({"prune": (steps[0],), "finetune": (steps[1],), "quantize": (STATIC,)}, format="torch")
    assert space.choose(Chosen(), {}) is None
    chosen = Chosen(prune=steps[0].key, finetune=steps[1].key)
    recipe = space.choose(chosen, {})
    assert recipe is not None
    assert [next(iter(step)) for step in recipe] == ["prune", "finetune"]
    nothing = Chosen(finetune=steps[1].key)
    assert space.choose(nothing, {}) is None
    assert "finetune" not in nothing.asked


def test_what_takes_another_format_is_not_followed_by_training() -> None:
    """Channels taken out of the exported graph: torch cannot train it any more."""
    keys = ("prune:neurons", "finetune:supervised", STATIC.key)
    kinds = ("prune", "finetune", "quantize")
    space = Space({kind: (STEPS.get(key),) for kind, key in zip(kinds, keys, strict=True)}, format="torch")
    chosen = Chosen(prune=keys[0], finetune=keys[1], quantize=keys[2])
    recipe = space.choose(chosen, {})
    assert recipe is not None
    assert [next(iter(step)) for step in recipe] == ["prune", "quantize"]


def test_a_standard_recipe_is_one_that_could_be_chosen() -> None:
    """So that what it came to says something of those like it."""
    space = Space({"quantize": (STATIC, DYNAMIC)})
    refs = resolved([{"quantize": "static", "calibration": "minmax"}], "onnx")
    parameters = space.parameters(refs)
    assert parameters is not None
    assert space.choose(Chosen(**parameters), {}) == tuple(map(as_stated, refs))
    other = resolved([{"quantize": "static", "samples": 7}], "onnx")
    assert space.parameters(other) is None


def test_one_option_at_a_time() -> None:
    refs = resolved([{"quantize": "static", "engine": "onnxruntime", "calibration": "minmax"}], "onnx")
    changed = [as_stated(ref) for (ref,) in around(refs)]
    same = {"quantize": "static", "engine": "onnxruntime"}
    minmax = {**same, "calibration": "minmax"}
    assert changed == [
        {**minmax, "per_channel": False},
        {**minmax, "weights": "uint8"},
        {**same, "calibration": "percentile"},
        same,
        {**minmax, "float_share": 0.0},
        {**minmax, "float_share": 0.05},
    ]
    static = resolved([{"quantize": "litert", "mode": "static"}], "tflite")
    assert [ref.options.mode for (ref,) in around(static)] == ["dynamic", "weight_only"], "no 4 bits"


def test_zeros_are_chosen_where_a_limit_counts_them(tmp_path: Path) -> None:
    def methods(thresholds: str, splits: Sequence[str]) -> Mapping[str, list[str]]:
        (tmp_path / "net.yaml").write_text(
            f"model: {{torch: model.py:net}}\ndata: data.npz\nthresholds: {{{thresholds}}}\n"
        )
        (case,) = load_cases(tmp_path / "net.yaml", recipe_to_come=True)
        found = space_of(case, "onnxruntime", splits)
        return {kind: [step.method for step in steps] for kind, steps in found.steps.items()}

    everything = ("test", "train", "calibration")
    assert methods("size_ratio: 2", everything)["prune"][-1] == "neurons", (
        "after those that training can follow"
    )
    assert "l1_unstructured" not in methods("size_ratio: 2", everything).get("prune", [])
    assert "l1_unstructured" in methods("gzip_ratio: 2", everything)["prune"]
    assert "finetune" not in methods("gzip_ratio: 2", ("test", "calibration"))
    assert methods("size_ratio: 2", ("test",))["quantize"] == ["dynamic"], "nothing to calibrate on"


def test_what_was_imported_first_orders_no_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that goes on in another process must find the choices that it knows."""
    (tmp_path / "net.yaml").write_text(
        "model: {torch: model.py:net}\ndata: data.npz\nthresholds: {size_ratio: 2}\n"
    )
    (case,) = load_cases(tmp_path / "net.yaml", recipe_to_come=True)
    splits = ("test", "train", "calibration")
    one = space_of(case, "onnxruntime", splits)
    monkeypatch.setattr(STEPS, "_entries", dict(reversed(STEPS._entries.items())))
    assert space_of(case, "onnxruntime", splits).steps == one.steps
    assert len(one.steps["quantize"]) > 2


def test_the_case_is_what_it_was_from_another_folder(tmp_path: Path) -> None:
    stated = {
        "name": "mine",
        "model": {"torch": "code/model.py:net", "weights": "../net.safetensors"},
        "data": "package.module:splits",
        "metric": "metrics.py:score",
        "seed": 3,
        "xfail": "slow",
        "recipe": [{"quantize": "static", "engine": "onnxruntime"}],
        "thresholds": {"accuracy": {"min": 0.5}, "size": "5 MB"},
    }
    recipe = [
        {"prune": "l1_unstructured", "amount": 0.5},
        {"finetune": "supervised", "lr": 1e-05, "loss": "losses.py:focal"},
    ]
    text = rewritten(stated, tmp_path / "a", recipe, tmp_path / "b" / "c", "onnxruntime", ["found"])
    (tmp_path / "best.yaml").write_text(text)
    (case,) = load_cases(tmp_path / "best.yaml")
    assert text.startswith("# found\n")
    assert case.model.reference == "../../a/code/model.py:net"
    assert case.model.weights == "../../net.safetensors"
    assert case.data == "package.module:splits"
    assert case.metric == "../../a/metrics.py:score"
    assert (case.name, case.seed, case.engine, case.xfail) == ("best", 3, "onnxruntime", {})
    assert [ref.kind for ref in case.recipe] == ["prune", "finetune"]
    assert case.recipe[1].options.loss == "../../a/losses.py:focal"
    assert [(ref.name, ref.limit.min or ref.limit.max) for ref in case.thresholds] == [
        ("accuracy", 0.5),
        ("size", 5e6),
    ]


def held(*trials: Any) -> list[Weighed]:
    return weigh(trials, lambda result: "")


def names(weighed: Sequence[Weighed]) -> list[str]:
    return [one.trial.result.name for one in weighed]


def test_speeds_that_cannot_be_told_apart_are_not_ranked() -> None:
    """The intervals of `trial` are 0.02 to each side."""
    found = held(trial("fast", 300, 2.01, 0.0), trial("small", 200, 2.0, 0.0), trial("slow", 100, 1.5, 0.0))
    ordered, told = in_order(found, ["latency"])
    assert names(ordered) == ["small", "fast", "slow"]
    assert told.startswith("2 recipes are too near to each other in speed to be told apart")
    ordered, told = in_order(found[1:], ["latency"])
    assert (names(ordered), told) == (["small", "slow"], "")
    noisy = trial("noisy", 50, 1.8, 0.0).result
    speed = replace(noisy.measurements["speed"], details={"ratio": 1.8, "interval": [1.6, 1.99]})
    unsure = held(Trial((), replace(noisy, measurements={**noisy.measurements, "speed": speed})))
    assert names(in_order([*found, *unsure], ["latency"])[0]) == ["noisy", "small", "fast", "slow"]


def test_what_gains_nothing_wins_nothing() -> None:
    found = held(trial("larger", 1100, 0.9, 0.0))
    assert in_order(found, ["size"])[0] == []
    assert in_order(found, ["latency"])[0] == []
    assert in_order(found, ["size", "latency"])[0] == []


def test_two_goals_count_as_one_product() -> None:
    found = held(trial("small", 100, 1.0, 0.0), trial("both", 150, 2.0, 0.0), trial("fast", 900, 2.2, 0.0))
    assert names(in_order(found, ["size", "latency"])[0]) == ["both", "small", "fast"]
    assert names(in_order(found, ["size"])[0]) == ["small", "both", "fast"]


def test_of_two_goals_what_another_beats_comes_after_it() -> None:
    """They gain the same within the noise of loads, and `beaten` has the better outputs."""
    found = held(trial("better", 290, 2.01, 0.0), trial("beaten", 295, 2.0, 0.0))
    beaten = found[1].trial.result
    fidelity = replace(beaten.measurements["fidelity"], candidate=90.0)
    nearer = replace(beaten, measurements={**beaten.measurements, "fidelity": fidelity})
    ordered, told = in_order([found[0], *held(Trial((), nearer))], ["size", "latency"])
    assert names(ordered) == ["better", "beaten"]
    assert told == ""
    _, told = in_order(
        held(trial("one", 299, 2.0, 0.001), trial("other", 300, 2.02, 0.0)), ["size", "latency"]
    )
    assert told == "2 recipes gain the same within 5%; the one that loses least is taken"


def test_what_was_no_better_is_not_looked_at() -> None:
    """On the tuning samples the first lost 0.9 points, which was too much on the test split; it would be for the second."""

    def drop(lost: float, status: Status = Status.PASS) -> CaseResult:
        verdict = Verdict("accuracy_drop", status, {"max": 0.01}, lost, margin=0.01 - lost)
        return replace(trial("one", 1, None, 0.0).result, verdicts=(verdict,))

    first = Tried(0, (), drop(0.009), None)
    look = Verified(first, held(trial("one", 1, None, 0.0))[0], drop(0.02, Status.FAIL))
    assert _no_better(drop(0.0095), look)
    assert _no_better(drop(0.009), look)
    assert not _no_better(drop(0.002), look)


def test_what_misses_a_limit_does_not_win() -> None:
    def misses(result: CaseResult) -> str:
        return "misses something" if result.name == "small" else ""

    found = weigh([trial("small", 100, 1.0, 0.0), trial("other", 200, 1.0, 0.0)], misses)
    assert names(in_order(found, ["size"])[0]) == ["other"]
