"""`weighbridge sensitivity`: what quantizing or pruning each layer alone costs, and the recipe that spares the worst."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_executor, add_store, add_verb, case_of, say
from weighbridge.cli.writing import refuse_there, write_new

if TYPE_CHECKING:
    from weighbridge.case.model import Case, StepRef
    from weighbridge.core.layer_errors import LayerErrors
    from weighbridge.core.results import CaseResult

_EXAMPLES = (
    "examples: weighbridge sensitivity cases/net.yaml; "
    "weighbridge sensitivity cases/net.yaml::int8 --gain 10 -o mixed.yaml"
)
_ALSO = ("fidelity", "size", "accuracy")


def register(verbs: Any) -> None:
    text = "what quantizing or pruning each layer of a case alone costs, worst first, and what leaving the worst alone brings"
    verb = add_verb(verbs, "sensitivity", run, text, _EXAMPLES)
    verb.add_argument("case", help="a case file with one recipe, or FILE::NAME")
    verb.add_argument(
        "--gain",
        type=float,
        default=6.0,
        metavar="DB",
        help="how much nearer to the original the outputs are to come (default: 6, which one bit more would bring)",
    )
    verb.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the case with the layers left in float; never over a file",
    )
    add_store(verb)
    add_executor(verb)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where the case cannot be carried out, nothing is known of its layers, or no case was written."""
    refuse_there(arguments.output)
    status = _run(arguments)
    if arguments.output is not None and not arguments.output.exists():
        print(f"{arguments.output} was not written")
        return 1
    return status


def _run(arguments: argparse.Namespace) -> int:
    from weighbridge.core.flow import flow
    from weighbridge.core.units import show
    from weighbridge.report.escape import terminal

    case = case_of(arguments.case)
    result = _carry_out(case, arguments)
    errors = result.layer_errors
    if errors is None or not errors.layers:
        why = [result.message, *result.notes] if result.message else [*result.notes]
        print(
            terminal(
                f"nothing is known of single layers: {'; '.join(why) or 'the engine cannot exchange them'}"
            )
        )
        return 1
    print(_table(errors))
    print(
        f"alone leaves: signal to noise of the output where only this layer is as {errors.step or 'the candidate'} makes it, "
        f"of {errors.samples} samples; all together {show(errors.output_db, 'dB')}"
        + ("" if errors.complete else "; there was no time for the other layers")
    )
    step = next((ref for ref in case.recipe if (ref.line, str(ref)) == (errors.line, errors.step)), None)
    spared = _spared(errors, arguments.gain)
    print()
    if not spared:
        print("noise is spread over the layers: no few of them bring so much")
        return 0
    if step is None or "exclude" not in type(step.options).model_fields:
        print(terminal(f"{errors.step or 'a finished file'} takes no `exclude`"))
        return 0
    exclude = [*step.options.exclude, *spared]
    better = _carry_out(_excluding(case, step, exclude), arguments)
    if better.message:
        print(terminal(f"`exclude: {flow(exclude)}` cannot be carried out: {better.message}"))
        return 0
    print(terminal(f"exclude: {flow(exclude)}    # in {step}, line {step.line}"))
    for what, one in (("as it is", result), ("with that", better)):
        print(f"    {what}: {_numbers(one)}")
    if arguments.output is not None:
        write_new({arguments.output: _mixed(case, step, exclude, result.engine, arguments)})
        print(f"wrote {arguments.output}; next: pytest {arguments.output}")
    return 0


def _carry_out(case: Case, arguments: argparse.Namespace) -> CaseResult:
    from weighbridge.core.urls import store_place
    from weighbridge.run.job import RunOptions
    from weighbridge.run.several import carry_out

    root = Path.cwd()
    store, beyond = store_place(arguments.store, root)
    options = RunOptions(root=root, store=store, beyond=beyond, bench=False, seek_layers="always")
    (result,) = carry_out([case], options, say, arguments.executor, also=_ALSO)
    say("")
    return result


def _table(errors: LayerErrors) -> str:
    """A line a layer, with its share of the noise as a bar."""
    from tabulate import tabulate

    from weighbridge.core.units import show
    from weighbridge.report.escape import terminal as clean

    noise = [10 ** (-layer.sqnr_db / 10) for layer in errors.layers]
    room = max(10, min(40, shutil.get_terminal_size((100, 24)).columns - 60))
    rows = [
        {
            "layer": clean(layer.name),
            "kind": clean(layer.kind),
            "alone leaves": show(layer.sqnr_db, "dB"),
            "of the noise": f"{share / sum(noise):.0%}",
            "": "█" * round(room * share / max(noise)),
        }
        for layer, share in zip(errors.layers, noise, strict=True)
    ]
    return tabulate(
        rows, headers="keys", disable_numparse=True, colalign=("left", "left", "right", "right", "left")
    )


def _spared(errors: LayerErrors, gain: float) -> Sequence[str]:
    """Patterns of the fewest layers without whose noise the output gains so many dB: noise of single layers adds up.

    Empty where half of the layers would not do.
    """
    from weighbridge.run.blame import pattern_of

    noise = [10 ** (-layer.sqnr_db / 10) for layer in errors.layers]
    allowed = sum(noise) / 10 ** (gain / 10)
    for number in range(1, len(noise) // 2 + 1):
        if sum(noise[number:]) <= allowed:
            chosen = sorted(errors.layers[:number], key=lambda layer: layer.place)
            return [pattern_of(layer.name) for layer in chosen]
    return []


def _excluding(case: Case, step: StepRef, exclude: Sequence[str]) -> Case:
    options = step.options.model_copy(update={"exclude": list(exclude)})
    recipe = tuple(replace(ref, options=options) if ref is step else ref for ref in case.recipe)
    return replace(case, recipe=recipe)


def _mixed(
    case: Case, step: StepRef, exclude: Sequence[str], engine: str | None, arguments: argparse.Namespace
) -> str:
    """The text of the case, in the output's folder, in which `step` leaves out what `exclude` names."""
    from weighbridge.propose.rewritten import rewritten, stated

    assert engine is not None  # layers were exchanged in one
    data, number = stated(case), case.recipe.index(step)
    recipe = [dict(each) for each in data["recipe"]]
    recipe[number]["exclude"] = list(exclude)
    above = [f"found by: weighbridge sensitivity {arguments.case} --gain {arguments.gain:g}"]
    return rewritten(data, case.folder, recipe, arguments.output.parent, engine, above)


def _numbers(result: CaseResult) -> str:
    from weighbridge.core.units import show

    found = result.measurements
    accuracy, size, fidelity = (found.get(name) for name in ("accuracy", "size", "fidelity"))
    parts = [show(fidelity.candidate, "dB")] if fidelity else []
    if size and size.baseline:
        parts.append(f"{show(size.baseline / size.candidate, 'ratio')} smaller")
    if accuracy and accuracy.baseline is not None:
        parts.append(f"{show(accuracy.baseline, accuracy.unit)} → {show(accuracy.candidate, accuracy.unit)}")
    return ", ".join(parts)
