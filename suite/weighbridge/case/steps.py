"""A recipe's steps, resolved to registered methods while the model's format is followed through them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from weighbridge.case.model import StepRef
from weighbridge.contracts import CONVERTERS, STEPS, Step
from weighbridge.core.errors import did_you_mean

_ORDER = {
    "prune": "prune first, then quantize: pruning ranks float weights, and a quantized tensor has none",
    "cluster": "cluster first, then quantize: centroids are found among float weights",
    "equalize": "equalize first, then quantize: scales move between float weights",
    "finetune": "fine-tune first, then quantize: quantized weights have no gradients",
    "quantize": "the model is already quantized by an earlier step",
}


def kinds() -> list[str]:
    return sorted({step.kind for step in STEPS})


def methods(kind: str) -> list[Step]:
    return [step for step in STEPS if step.kind == kind]


def resolve_step(
    raw: Mapping[str, Any], format_: str | None, served: Collection[str] = ()
) -> tuple[Step, str, dict[str, Any]]:
    """The method that a raw step names, the key that names it, and its options as written.

    `format_` is what the model is by then (None where that is unknown because an earlier step is faulty), `served` what the
    case's engine opens, where it names one. Among methods of one name, one whose result that engine opens goes before the
    others, and then one that takes the model as it is before one that needs a conversion. Raises `ValueError` with
    `(key or None, message)`.
    """
    if not raw:
        raise ValueError(None, f"an empty step; its first key is its kind (valid: {', '.join(kinds())})")
    kind = next(iter(raw))
    if kind not in kinds():
        later = [key for key in raw if key in kinds()]
        hint = f"; put '{later[0]}' first" if later else did_you_mean(kind, kinds())
        raise ValueError(kind, f"unknown kind of step '{kind}'{hint}")
    value, options = raw[kind], {key: item for key, item in raw.items() if key not in (kind, "engine")}
    candidates = methods(kind)
    if isinstance(value, dict):
        options = {**value, **options}
        candidates = [step for step in candidates if format_ is None or format_ in step.accepts] or candidates
        candidates = [step for step in candidates if step.default] or candidates
        if len({step.method for step in candidates}) > 1:
            raise ValueError(
                kind,
                f"'{kind}' has several methods, so name one{did_you_mean('', {step.method for step in candidates})}",
            )
    elif isinstance(value, str):
        if value not in {step.method for step in candidates}:
            raise ValueError(
                kind,
                f"unknown {kind} method '{value}'{did_you_mean(value, {step.method for step in candidates})}",
            )
        candidates = [step for step in candidates if step.method == value]
    else:
        raise ValueError(
            kind,
            f"'{kind}' takes the name of a method{did_you_mean('', {step.method for step in candidates})}",
        )
    engine = raw.get("engine")
    if engine is not None:
        engines = {step.engine for step in candidates if step.engine}
        if engine not in engines:
            what = f"{kind}: {value}" if isinstance(value, str) else kind
            raise ValueError(
                "engine",
                f"'{what}' takes no engine"
                if not engines
                else f"'{what}' has no engine '{engine}'{did_you_mean(str(engine), engines)}",
            )
        candidates = [step for step in candidates if step.engine == engine]
    elif served and format_ is not None:
        candidates = [step for step in candidates if _gives(step, format_) in served] or candidates
    if format_ is None:
        return candidates[0], kind, options
    fitting = [step for step in candidates if format_ in step.accepts] or [
        step for step in candidates if path_between(format_, step.accepts)
    ]
    if not fitting:
        takes = sorted({name for step in candidates for name in step.accepts})
        raise ValueError(
            kind,
            f"'{kind}: {candidates[0].method}' takes {' or '.join(takes)}, and the model is {format_} by then",
        )
    return fitting[0], kind, options


def _gives(step: Step, format_: str) -> str:
    """The format of what the step makes of a model of the format `format_`."""
    return step.returns or (format_ if format_ in step.accepts else step.accepts[0])


def path_between(source: str, targets: Sequence[str]) -> list[str] | None:
    """The shortest chain of formats from `source` to one of `targets`, without `source`; None when there is none."""
    if source in targets:
        return []
    frontier, seen = [[source]], {source}
    while frontier:
        path = frontier.pop(0)
        for converter in CONVERTERS:
            if converter.source == path[-1] and converter.target not in seen:
                if converter.target in targets:
                    return [*path[1:], converter.target]
                seen.add(converter.target)
                frontier.append([*path, converter.target])
    return None


def order_fault(earlier: Sequence[Step], step: Step) -> str | None:
    """Why `step` cannot follow `earlier`, or None. Nothing follows a quantization, and what makes many values no clustering."""
    if any(before.kind == "cluster" for before in earlier):
        if step.kind == "finetune" or (step.kind == "prune" and "train" in step.splits):
            first = "fine-tune" if step.kind == "finetune" else "prune"
            return (
                f"{first} first, then cluster: training moves each weight by itself; the `epochs` of `cluster` train "
                "centroids"
            )
        if step.kind == "equalize":
            return "leave out `equalize` or `cluster`: a scale a channel makes many values of few"
    if any(before.must == "quantize" for before in earlier):
        return _ORDER.get(step.kind, f"'{step.kind}' cannot follow a quantization")
    return None


def promising(recipe: Sequence[StepRef]) -> dict[str, StepRef]:
    """The quantize steps of a recipe that say something about the weights, by the name of their item."""
    steps = [ref for ref in recipe if STEPS.get(ref.key).scheme is not None]
    if len(steps) == 1:
        return {"round_trip": steps[0]}
    return {f"round_trip-{number}": ref for number, ref in enumerate(steps, 1)}
