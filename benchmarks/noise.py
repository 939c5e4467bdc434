"""A bursty neighbour: processes of our own that work and rest by chance, bounded in number and in time."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

WORK_S, REST_S = 0.03, 0.02


def burn(seconds: float, seed: int, parent: int) -> None:
    """Matrix products in bursts of 30 ms with rests of 20 ms, on average; ends with its time or its parent."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported: as many threads as processes
    import numpy as np

    chance, end = random.Random(seed), time.monotonic() + seconds
    matrix = np.random.default_rng(seed).random((200, 200))
    while time.monotonic() < end and os.getppid() == parent:
        burst = time.monotonic() + chance.expovariate(1 / WORK_S)
        while time.monotonic() < burst:
            matrix @ matrix
        time.sleep(chance.expovariate(1 / REST_S))


@contextmanager
def load(processes: int, seconds: float) -> Iterator[None]:
    """`processes` of them, for `seconds` at most; gone at the end whatever happens inside."""
    spawn = multiprocessing.get_context("spawn")
    running = [
        spawn.Process(target=burn, args=(seconds, seed, os.getpid()), daemon=True)
        for seed in range(processes)
    ]
    for process in running:
        process.start()
    try:
        if running:
            time.sleep(3.0)  # the imports of the processes are not the load that is meant
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join(5)
