"""The processes of `duet.py`: two sides at the same time, or both in alternation; and a neighbour to tell siblings by."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from methods import weighbridge
from workloads import Call, bind, products

from weighbridge.measure.timing.clock import warm_up
from weighbridge.measure.timing.cores import FIRST
from weighbridge.measure.timing.gauge import AdditionGauge
from weighbridge.measure.timing.pairs import FASTEST

BLOCK_S, HALF_S = 0.001, 0.5
TOGETHER_S = 0.05
"""From the moment that both are ready to the first block."""
MOST_S = 60.0
"""For a process to get ready."""
MODELS = ("mlp", "convnet")
TWICE = ("against itself", "float:int8")
WORKLOADS = ("products 12:10", *(f"{model} {what}" for what in TWICE for model in MODELS))
TOGETHER, FASTEST_TOGETHER, ALTERNATION = "together, median", "together, fastest tenth", "in alternation"


def side(workload: str, number: int, folder: Path) -> Call:
    """The first or the second call of a workload."""
    if workload.startswith("products"):
        return products(64, 12, 10)[number]
    model, _, what = workload.partition(" ")
    path = folder / f"{model}{'-int8' if number == 1 and what == TWICE[1] else ''}.onnx"
    shape = {"mlp": (1, 256), "convnet": (1, 3, 32, 32)}[model]
    return bind(path, np.random.default_rng(1).standard_normal(shape).astype("float32"))


def one_side(
    workload: str, number: int, folder: Path, seconds: int, both: Any, start: Any, answer: Any
) -> None:
    """Send the seconds a call of each block, shape [halves of a second, blocks], NaN where it came too late."""
    call, cores = side(workload, number, folder), sorted(os.sched_getaffinity(0))[:2]
    with suppress(OSError):  # a right of the superuser; ours takes it too
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    warm_up(call, 0.5)
    both.wait(MOST_S)
    if number == 0:
        start.value = time.perf_counter_ns() + int(TOGETHER_S * 1e9)
    both.wait(MOST_S)
    halves = []
    for half in range(2 * seconds):
        os.sched_setaffinity(0, {cores[(number + half) % 2]})
        halves.append(_blocks(call, start.value + int(half * HALF_S * 1e9)))
    answer.send(halves)


def _blocks(call: Call, start: int) -> list[float]:
    clock, block, seen = time.perf_counter_ns, int(BLOCK_S * 1e9), []
    for begin in range(start, start + int(HALF_S * 1e9), block):
        if clock() >= begin + block // 10:
            seen.append(float("nan"))
            continue
        while clock() < begin:
            pass
        count, began, now = 0, clock(), begin
        while now < begin + 0.8 * block:  # the rest is for the last call to end, and for the caches
            call()
            count, now = count + 1, clock()
        seen.append((now - began) / 1e9 / count)
    return seen


def together(workload: str, folder: Path, seconds: int) -> Iterator[tuple[str, float]]:
    """Two estimates a second."""
    spawn = multiprocessing.get_context("spawn")
    both, start = spawn.Barrier(2), spawn.Value("q", 0)
    pipes = [spawn.Pipe(duplex=False) for _ in range(2)]
    sides = [
        spawn.Process(target=one_side, args=(workload, number, folder, seconds, both, start, sending))
        for number, (_, sending) in enumerate(pipes)
    ]
    for process in sides:
        process.start()
    for _, sending in pipes:
        sending.close()
    a, b = (np.array(receiving.recv()).reshape(seconds, 2, -1) for receiving, _ in pipes)
    for process in sides:
        process.join()
    for first, second in zip(a, b, strict=True):
        halves = [
            (x[kept], y[kept]) for x, y in zip(first, second, strict=True) if (kept := ~np.isnan(x / y)).any()
        ]
        if halves:
            yield TOGETHER, _mean(np.median(x / y) for x, y in halves)
            yield (
                FASTEST_TOGETHER,
                _mean(np.quantile(x, FASTEST) / np.quantile(y, FASTEST) for x, y in halves),
            )


def _mean(ratios: Iterator[Any]) -> float:
    """Geometric: what one core is faster than the other cancels."""
    return float(np.exp(np.mean(np.log(list(ratios)))))


def alternation(workload: str, folder: Path, seconds: int, answer: Any) -> None:
    """Send an estimate a second."""
    calls = side(workload, 0, folder), side(workload, 1, folder)
    answer.send([weighbridge(*calls, (), 1.0, seed).estimate for seed in range(seconds)])


def in_alternation(workload: str, folder: Path, seconds: int) -> Iterator[tuple[str, float]]:
    spawn = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=alternation, args=(workload, folder, seconds, sending))
    process.start()
    sending.close()
    yield from ((ALTERNATION, estimate) for estimate in receiving.recv())
    process.join()


def spin(core: int, seconds: float) -> None:
    os.sched_setaffinity(0, {core})
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def beside_other_core() -> float:
    """How many times as long the gauge takes at best while the other core computes: 1.6 and more where they are siblings."""
    allowed = os.sched_getaffinity(0)
    here, there = sorted(allowed)[:2]
    neighbour = multiprocessing.get_context("spawn").Process(target=spin, args=(there, 4.0))
    os.sched_setaffinity(0, {here})
    alone = AdditionGauge().best
    neighbour.start()
    time.sleep(2.0)  # until it has started
    beside = AdditionGauge().best
    neighbour.join()
    os.sched_setaffinity(0, allowed)
    return beside / alone
