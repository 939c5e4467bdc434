"""A split run through one or several models in one pass, and what is kept of it: little, as far as the metric allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.contracts import Additive, Array, Classifier, Inputs, Metric, Session
from weighbridge.core.batches import Fingerprint, answers, count, not_finite, samples_first
from weighbridge.core.errors import StageError
from weighbridge.core.flow import flow
from weighbridge.core.ragged import from_plain, join_outputs, to_plain
from weighbridge.core.splits import Split
from weighbridge.measure.asked_again import answers_otherwise
from weighbridge.measure.pairing import check_pairing

_ARRAYS = ("scores", "parts", "targets", "answers", "labels", "groups")
_PLAIN = ("n", "digest", "chance", "classes", "not_finite", "blind", "blind_inputs", "otherwise")


@dataclass(frozen=True)
class Evaluation:
    """One model on one split. `scores` for a metric that is a mean over samples, `parts` for one that is made of sums
    over them, else `outputs` and `targets`.

    `scores` has shape [n], `parts` [n, d]; `outputs` are shape [n, ...] each, `targets` [n, ...]. `chance` is the score
    of the best model that ignores its inputs, None where unknown. A `Classifier` leaves `answers` and `labels`, shape
    [n], int64: a model may name its classes by numbers of any size.
    """

    n: int
    digest: str
    """SHA-256 of the samples and targets that were fed, in their order."""
    scores: Array | None = None
    parts: Array | None = None
    outputs: tuple[Array, ...] | None = None
    targets: Array | None = None
    answers: Array | None = None
    labels: Array | None = None
    groups: Array | None = None
    """Which samples belong together, shape [n], where the case says so."""
    chance: float | None = None
    classes: int | None = None
    """How many different answers the targets hold, where the metric has classes."""
    not_finite: int = 0
    """Samples with NaN or infinity in an output."""
    blind: int = 0
    """Of these, the samples that held NaN or infinity already."""
    blind_inputs: int = 0
    """Samples of the split that hold NaN or infinity."""
    otherwise: bool = False
    """Whether the same samples were answered otherwise when asked again."""

    def value(self, metric: Metric) -> float:
        """The metric over all samples; raises `StageError` where it is not finite."""
        return float(self.scores.mean()) if self.scores is not None else self.over(metric, None)

    def over(self, metric: Metric, rows: Array | None) -> float:
        """A metric that is no mean over samples, over the samples `rows`, of which some may come twice; None: all."""
        with named(metric):
            if self.parts is not None:
                assert isinstance(metric, Additive)  # only such a metric has parts
                times = np.ones(self.n) if rows is None else np.bincount(rows, minlength=self.n)
                return metric.of_sum(times @ self.parts)
            assert self.outputs is not None  # one of the three is kept
            assert self.targets is not None
            # a copy, which the metric may write into
            chosen: Any = np.arange(self.n) if rows is None else rows
            return metric.whole(tuple(output[chosen] for output in self.outputs), self.targets[chosen])

    def save(self, folder: Path) -> None:
        """Write `evaluation.json` and `evaluation.npz` under `folder`."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        columns |= {f"output_{index}": output for index, output in enumerate(self.outputs or ())}
        arrays: dict[str, Any] = {}
        for name, column in columns.items():
            arrays |= {} if column is None else to_plain(name, column)
        plain = {name: getattr(self, name) for name in _PLAIN}
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "evaluation.npz", **arrays)
        (folder / "evaluation.json").write_text(json.dumps(plain), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """What `save` wrote; raises `OSError` or `ValueError` where it is damaged."""
        plain: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        with np.load(folder / "evaluation.npz", allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        names = {key.partition(".")[0] for key in held}
        arrays: dict[str, Any] = {name: from_plain(name, held) for name in _ARRAYS if name in names}
        outputs = (from_plain(f"output_{index}", held) for index in range(sum("output_" in n for n in names)))
        return cls(**plain, **arrays, outputs=tuple(outputs) or None)


def evaluate(
    sessions: Mapping[str, Session],
    split: Split,
    metric: Metric,
    say: Callable[[str], None] = lambda text: None,
) -> Mapping[str, Evaluation]:
    """Each session on the same batches of `split`, read once; raises `StageError`.

    Where the metric is a mean over samples, a batch's outputs are let go when they are scored.
    """
    fingerprint, tally = Fingerprint(), metric.tally()
    runs = {who: _Run(who, session, metric) for who, session in sessions.items()}
    labels: list[Array] = []
    n = blind_inputs = 0
    parts: list[Array | None] = []
    for inputs, targets, groups in split.whole():
        if targets is None:
            raise StageError(
                "measure",
                f"the {split.name} split has no targets, so there is no {metric.name} to measure"
                + (
                    f"; of {', '.join(inputs)} none is called y or labels, so name them: `targets: {list(inputs)[-1]}`"
                    if isinstance(inputs, dict) and len(inputs) > 1
                    else ""
                )
                + (
                    "" if isinstance(metric, Classifier) else "; an autoencoder's are its inputs: give (x, x)"
                ),
            )
        fingerprint.add(inputs, targets, groups)
        parts.append(groups)
        blind = not_finite(inputs)
        for run in runs.values():
            run.add(inputs, targets, blind)
        with named(metric):  # only now: whether targets fit is best told beside an output
            tally.add(targets)
            if isinstance(metric, Classifier):
                labels.append(metric.labels(targets).astype(np.int64))
        n += count(inputs)
        blind_inputs += int(blind.sum())
        say(f"{metric.name}: {n} samples")
    shared = Evaluation(
        n=n,
        digest=fingerprint.hexdigest(),
        labels=np.concatenate(labels) if labels else None,
        chance=tally.chance(),
        classes=tally.classes,
        blind_inputs=blind_inputs,
        groups=_groups(parts, split),
    )
    return {who: run.result(shared) for who, run in runs.items()}


def _groups(parts: Sequence[Array | None], split: Split) -> Array | None:
    """The group of each sample, where the case speaks of groups; raises `StageError` where the split has none."""
    found = [part for part in parts if part is not None]
    if split.grouped_by is None:
        return None
    if len(found) < len(parts):
        raise StageError(
            "data",
            f"`groups: {split.grouped_by}`, and the split {split.name} has no such "
            f"{'key' if isinstance(split.grouped_by, str) else 'position in its tuples, counted from 0'}",
        )
    return np.concatenate(found)


class _Run:
    """One session's way through the split."""

    def __init__(self, who: str, session: Session, metric: Metric) -> None:
        self._who, self._session, self._metric = who, session, metric
        self._scores: list[Array] = []
        self._answers: list[Array] = []
        self._parts: list[Array] = []
        self._kept: list[tuple[tuple[Array, ...], Array]] = []
        self._not_finite = self._blind = 0
        self._otherwise = False

    def add(self, inputs: Inputs, targets: Array, blind: Array) -> None:
        names: Sequence[str] = getattr(self._session, "outputs", ())
        found, n = samples_first(self._session.run(inputs), names, inputs), len(targets)
        outputs = answers(found, n)
        if not answers(found[:1], n):
            what = f"its first output has shape {list(found[0].shape)}" if found else "it has no output"
            helps = ""
            if found and names and n in found[0].shape:
                axis = flow({names[0]: found[0].shape.index(n)})
                helps = f"; where its batch is another axis, say `batch: {axis}` and give the inputs by name"
            raise StageError("measure", f"the {self._who} was given {n} samples, and {what}{helps}")
        broken = _not_finite(outputs, n)
        self._not_finite += int(broken.sum())
        self._blind += int((broken & blind).sum())
        if not (self._kept or self._parts or self._scores):
            self._otherwise = answers_otherwise(self._session, inputs)
            with named(self._metric):
                check_pairing(self._metric, outputs, targets)
        if not (self._kept or self._parts) and (scores := self._score(outputs, targets)) is not None:
            self._scores.append(scores)
        elif not self._kept and (parts := self._part(outputs, targets)) is not None:
            self._parts.append(parts)
        else:
            self._kept.append((outputs, targets))
        if isinstance(self._metric, Classifier):
            with named(self._metric):
                self._answers.append(self._metric.answers(outputs).astype(np.int64))

    def _score(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        """A score a sample, or None where the metric does not decompose.

        A metric that gives as many numbers as there happen to be samples, one a class for instance, gives it away: the
        scores of a part are not the part of the scores.
        """
        with named(self._metric):
            scores = self._metric.per_sample(outputs, targets)
            if scores is None or self._scores:
                if scores is None and self._scores:
                    raise StageError(
                        "measure",
                        f"metric {self._metric.name} gives a score a sample, but not for every batch",
                    )
                return scores
            half = (len(targets) + 1) // 2
            part = self._metric.per_sample(tuple(output[:half] for output in outputs), targets[:half])
        alike = part is not None and np.allclose(part, scores[:half], rtol=1e-5, atol=1e-8, equal_nan=True)
        return scores if alike else None

    def _part(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        """What each sample adds to the metric's sums; None where it has none, or where outputs take no more memory."""
        if not isinstance(self._metric, Additive):
            return None
        with named(self._metric):
            parts = self._metric.parts(outputs, targets)
            if parts is None or self._parts:
                return parts
            same = np.isclose(
                self._metric.of_sum(parts.sum(0)), self._metric.whole(outputs, targets), rtol=1e-4
            )
        smaller = parts.nbytes < targets.nbytes + sum(output.nbytes for output in outputs)
        return parts if same and smaller else None

    def result(self, shared: Evaluation) -> Evaluation:
        answers = np.concatenate(self._answers) if self._answers else None
        counted = replace(
            shared,
            answers=answers,
            not_finite=self._not_finite,
            blind=self._blind,
            otherwise=self._otherwise,
        )
        if self._parts:
            return replace(counted, parts=np.concatenate(self._parts))
        if not self._kept:
            return replace(counted, scores=np.concatenate(self._scores))
        outputs, targets = join_outputs(self._kept)
        return replace(counted, outputs=outputs, targets=targets)


def _not_finite(outputs: tuple[Array, ...], n: int) -> Array:
    """Which of the `n` samples have an output that is not finite."""
    found = np.zeros(n, dtype=bool)
    for output in outputs:
        if output.dtype.kind == "f":
            found |= ~np.isfinite(output.reshape(n, -1)).all(1)
    return found


@contextmanager
def named(metric: Metric) -> Iterator[None]:
    """What a metric raises names the metric."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:
        raise StageError("measure", f"metric {metric.name} raised {type(error).__name__}: {error}") from error
