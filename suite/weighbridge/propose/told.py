"""What a search tells at its end: its trials, how many of them came to what, and what no trial reached."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.results import Status, Verdict
from weighbridge.core.units import compared, show
from weighbridge.propose.front import quality_of, speed_of, weigh
from weighbridge.propose.rewritten import lines_of
from weighbridge.propose.search import LATENCY, SIZE, Search, distance, holds, missed
from weighbridge.propose.study import Tried
from weighbridge.propose.trials import Trial
from weighbridge.propose.winner import Verified

MOST = 60
"""Trials that are shown; of more, those that hold or come near to it."""
REASON = 90
"""Characters of a line's reason."""


def trials_table(tried: Sequence[Tried]) -> str:
    """A line a trial, with the reason of what does not hold."""
    from tabulate import tabulate

    nearest = sorted(tried, key=lambda one: (_broken(one), one.early is not None, missed(one.result)))[:MOST]
    rows = [_row(one) for one in tried if one in nearest]
    told = tabulate(
        rows,
        ["trial", "size", "", "speed", "answers", ""],
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right", "left"),
    )
    return told + (f"\n… {len(tried) - MOST} more" if len(tried) > MOST else "")


def _row(one: Tried) -> list[str]:
    trouble = Trial((), one.result).trouble
    if trouble is not None:
        return [one.result.name, "", "", "", "", _cut(" ".join(trouble.split()))]
    (weighed,) = weigh([Trial(lines_of(one.recipe), one.result)])
    judged = one.early is None
    return [
        one.result.name,
        show(weighed.bytes, "bytes"),
        show(weighed.size_ratio, "ratio"),
        speed_of(weighed) if weighed.speedup is not None else "",
        quality_of(weighed) if judged else "",
        "" if holds(one) else _cut(missing_of(one)),
    ]


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON else reason[: REASON - 1] + "…"


def missing_of(one: Tried) -> str:
    """`speedup 0.8x, needs 1x`, for each limit that is missed; of a trial that was ended early, on how few samples."""
    said = "; ".join(said_of(verdict) for verdict in one.result.verdicts if distance(verdict))
    return said if one.early is None else f"ended early, on {one.early} samples: {said}"


def said_of(verdict: Verdict) -> str:
    """`size_ratio 2.46x, needs 3x`."""
    if verdict.measured is None:
        return verdict.message or f"{verdict.threshold} is missed"
    return compared(verdict.threshold, verdict.measured, verdict.limit, verdict.unit)


def counted(search: Search, before: int, seconds: float) -> str:
    """`34 trials, 30 of them now, in 598 s: 20 meet the limits, 9 miss one, ...; chosen on ...`"""
    tried = search.tried
    held, early, broken = (
        sum(map(holds, tried)),
        sum(one.early is not None for one in tried),
        sum(map(_broken, tried)),
    )
    kinds = [
        f"{held} meet the limits",
        f"{len(tried) - held - early - broken} miss one",
        f"{early} were ended early on {search.tuning.few} samples" if early else "",
        f"{broken} could not be carried out" if broken else "",
    ]
    now = f", {len(tried) - before} of them now" if before else ""
    ended = "; Ctrl-C ended it" if search.interrupted else ""
    ended = "; nothing else was found to try" if search.exhausted else ended
    return f"{len(tried)} trials{now}, in {seconds:.0f} s: {', '.join(filter(None, kinds))}{ended}; {search.tuning}"


def out_of_reach(tried: Sequence[Tried], minimize: Sequence[str]) -> list[str]:
    """Why nothing is found, a sentence a line: the limits that no trial met, and the trial that missed least."""
    carried = [one for one in tried if not _broken(one)]
    if not carried:
        reasons = [str(Trial((), one.result).trouble) for one in tried]
        return [
            f"no trial could be carried out: {reasons[0]}" if reasons else "there was no time for a trial"
        ]
    lines = []
    for name in dict.fromkeys(verdict.threshold for one in carried for verdict in one.result.verdicts):
        judged = [
            (distance(verdict), one.result.name, verdict)
            for one in carried
            for verdict in [one.result.verdict(name)]
            if verdict is not None and verdict.status is not Status.SKIP
        ]
        if judged and all(short for short, *_ in judged):
            _, who, verdict = min(judged, key=lambda one: one[0])
            lines.append(
                f"out of reach of all {len(judged)} trials that were judged by it: {said_of(verdict)} ({who})"
            )
    nearest = min(carried, key=lambda one: (missed(one.result), one.early is not None))
    if not missed(nearest.result):
        better = " and ".join({SIZE: "smaller", LATENCY: "faster"}[one] for one in minimize)
        return [f"of the trials that meet the limits, none is {better} than the original"]
    if not lines:
        lines.append("every limit is met by some trial, and all of them by none")
    return [*lines, f"the nearest miss: {nearest.result.name}, {missing_of(nearest)}"]


def judged(look: Verified) -> str:
    """What was measured for each limit on the test split; of a case that does not hold, what it misses."""
    if look.result.message:
        return look.result.message
    wrong = [said_of(one) for one in look.result.verdicts if one.status is not Status.PASS]
    told = [
        f"{one.threshold} {show(one.measured, one.unit)}"
        for one in look.result.verdicts
        if one.measured is not None
    ]
    return "; ".join(wrong) or ", ".join(told)


def _broken(one: Tried) -> bool:
    return Trial((), one.result).trouble is not None
