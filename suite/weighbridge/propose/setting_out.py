"""How a search begins: what the original is, what may be tried, on which samples, and what an earlier call has found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from weighbridge.case.model import Case, StepRef
from weighbridge.contracts import FORMATS, STEPS
from weighbridge.core.data import Data
from weighbridge.core.errors import UsageError
from weighbridge.core.results import to_json
from weighbridge.environment.extras import OPTUNA, load
from weighbridge.propose.rewritten import Step, stated
from weighbridge.propose.search import Search
from weighbridge.propose.space import Space, around, as_stated, resolved, space_of
from weighbridge.propose.study import Study
from weighbridge.propose.trials import original_of
from weighbridge.propose.tuning import Tuning, splits_of, tuning_of
from weighbridge.run.executors.base import Executor, start_executor
from weighbridge.run.job import RunOptions
from weighbridge.run.keys import extension_code, make_key, metric_code, surroundings
from weighbridge.run.plan import make_plan
from weighbridge.run.several import Say, carry_out_one

FOLDER = "search"


@contextmanager
def search_of(
    case: Case, minimize: tuple[str, ...], options: RunOptions, executor: str, say: Say
) -> Iterator[Search]:
    """A search for a recipe of `case`, which goes on with what an earlier call for the same has found.

    Raises `UsageError` where the original cannot be run, there is nothing to choose among, or another process searches for
    the same; `Unavailable` without Optuna.
    """
    from filelock import FileLock, Timeout

    load(OPTUNA)  # what is absent is told before anything is carried out
    data = splits_of(case, options.root)
    standard = _standard(case)
    engine = _engine(case, standard)
    space = space_of(case, engine, data.splits.keys() if data else ())
    if not space.steps:
        raise UsageError(
            f"no step that a search can choose leads from a {case.model.format} model to the engine {engine}"
            + "".join(f"; {text}" for text in space.absent)
        )
    tuning = tuning_of(case, data, space.trains)
    carries_out = start_executor(executor)
    try:
        original = _original(case, options, carries_out, say)
        name = make_key(
            original,
            _data_key(data),
            *_asked(case, minimize, engine, space, tuning),
            *_made_with(case, space, options),
        )[:12]
        folder = options.store / FOLDER / f"{case.path.stem}-{case.name}" / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / ".lock", timeout=0):
                study = Study(folder, name, len(minimize), case.seed)
                if not study.begun:
                    _enqueue(study, space, standard, case)
                yield Search(
                    case,
                    stated(case),
                    engine,
                    space,
                    tuning,
                    study,
                    minimize,
                    folder,
                    options,
                    carries_out,
                    say,
                )
        except Timeout:
            raise UsageError(f"another process searches for this case; its trials are in {folder}") from None
    finally:
        carries_out.close()


def _standard(case: Case) -> list[tuple[StepRef, ...]]:
    """The case's own recipe, and the standard ones of its model's format."""
    import yaml

    recipes = FORMATS.get(case.model.format).recipes(case.data is not None)
    found = [resolved([yaml.safe_load("\n".join(lines))], case.model.format) for lines in recipes]
    return [case.recipe, *found] if case.recipe else found


def _engine(case: Case, standard: Sequence[tuple[StepRef, ...]]) -> str:
    """What serves every trial, so that their speeds compare: the case's engine, its recipe's, or the format's usual one."""
    return make_plan(replace(case, candidate=None, recipe=standard[0] if standard else ())).engine


def _original(case: Case, options: RunOptions, executor: Executor, say: Say) -> str:
    """The key of the case's model, which is opened and run once; raises `UsageError` where it cannot be."""
    result = carry_out_one(
        original_of(case), replace(options, bench=False), say, executor, (), "the original"
    )
    if result.message or result.key is None:
        raise UsageError(f"the original cannot be weighed: {result.message}")
    return result.key


def _data_key(data: Data | None) -> str:
    if data is None:
        return ""
    return data.digest(sorted(name for name in data.splits if data.split(name).steady))


def _asked(case: Case, minimize: tuple[str, ...], engine: str, space: Space, tuning: Tuning) -> list[object]:
    """What a study holds for, beside the model and the data."""
    limits = {ref.name: ref.limit.model_dump(mode="json") for ref in case.thresholds}
    steps = {step.key: to_json(step.options.tunes) for some in space.steps.values() for step in some}
    settings = [
        case.metric,
        case.targets,
        case.groups,
        case.batch,
        case.sequence,
        case.engine_options,
        case.seed,
    ]
    return [minimize, engine, limits, steps, tuning.split, to_json(settings)]


def _made_with(case: Case, space: Space, options: RunOptions) -> list[object]:
    """The code that its trials ran, and how sure they had to be: what another metric or step gave says nothing now."""
    steps = {step.key for some in space.steps.values() for step in some}
    return [
        metric_code(case, options.root),
        [extension_code(STEPS, key, options.root) for key in sorted(steps)],
        surroundings(),
        options.confidence,
    ]


def _enqueue(study: Study, space: Space, standard: Sequence[tuple[StepRef, ...]], case: Case) -> None:
    """What is known to be worth a try comes first: the case's own recipe, the standard ones, the first of these with one
    option changed, which takes seconds and tells what each is worth, and one recipe with everything.
    """
    usable = {step.key for some in space.steps.values() for step in some}
    first = [refs for refs in standard if refs is case.recipe or refs[0].key in usable]
    usual = next((refs for refs in first if refs is not case.recipe), ())
    first += around(usual)
    if before := space.before(usual[0].kind if usual else ""):
        first.append((*resolved(before, case.model.format), *usual))
    done: list[tuple[Step, ...]] = []
    for refs in first:
        recipe = tuple(map(as_stated, refs))
        if recipe not in done:
            done.append(recipe)
            study.enqueue(recipe, space.parameters(refs))
