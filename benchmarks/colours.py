"""Does the number of a physical page tell where the second cache keeps it? Needs root, Linux and a C compiler.

    python benchmarks/colours.py    # seconds

Pages whose numbers agree in the bits that choose a set of the cache, a colour, share few of its lines. So a chain of pointers
through pages of one colour should be as slow as the third cache, once they are more than the cache's ways, where one through as
many pages of all colours is as fast as the second. In a virtual machine the numbers are the guest's, and where the host maps
small pages they say nothing: then nobody inside can choose or see colours.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import when_and_where
from tabulate import tabulate

from weighbridge.environment import machine

PAGE, LINE, NUMBER = 4096, 64, (1 << 55) - 1
POOL, TRIALS = 16384, 3
SIZES = (32, 64, 128, 192, 256, 512)
CHASE = """
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
double chase(void **chain, long steps) {
    double best = 1e18;
    for (int round = 0; round < 20; round++) {
        double start = now();
        for (long i = 0; i < steps; i++) chain = *chain;
        double spent = now() - start;
        if (spent < best && chain) best = spent;
    }
    return best / steps;
}
"""


def main() -> None:
    chase = _compiled()
    cache = Path("/sys/devices/system/cpu/cpu0/cache/index2")
    sets, ways = (int((cache / name).read_text()) for name in ("number_of_sets", "ways_of_associativity"))
    colours = max(1, sets * LINE // PAGE)
    pool = np.frombuffer(mmap.mmap(-1, POOL * PAGE), np.uint8)
    pool[::PAGE] = 1
    numbers = _physical(pool)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    random, rows = np.random.default_rng(), []

    def ns(pages: Any) -> float:
        """A step from line to line of these pages, in an order by chance."""
        lines = random.permutation((pages[:, None] * PAGE + np.arange(0, PAGE, LINE)).ravel())
        pool.view(np.uint64)[lines // 8] = pool.ctypes.data + np.roll(lines, -1)
        return float(chase(pool.ctypes.data + int(lines[0]), lines.size))

    for size in SIZES:
        of_one = [np.flatnonzero(numbers % colours == one) for one in random.permutation(colours)[:TRIALS]]
        one = [ns(random.permutation(pages)[:size]) for pages in of_one]
        any_ = [ns(random.permutation(POOL)[:size]) for _ in range(TRIALS)]
        rows.append([size, size * PAGE // 1024, f"{np.median(one):.1f}", f"{np.median(any_):.1f}"])
    print(f"{when_and_where()}, load average")
    print(f"{machine.load_average()}: {colours} colours of {ways} ways.\n")
    print(tabulate(rows, ["pages", "kB", "ns a step, one colour", "ns a step, any"], tablefmt="github"))


def _compiled() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "chase.so"
        command = ["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        subprocess.run(command, input=CHASE, text=True, check=True)
        chase = ctypes.CDLL(str(library)).chase
    chase.restype, chase.argtypes = ctypes.c_double, [ctypes.c_void_p, ctypes.c_long]
    return chase


def _physical(pool: Any) -> Any:
    """The number of each page, as /proc/self/pagemap shows it to root alone."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(pool.ctypes.data // PAGE * 8)
        numbers = (np.frombuffer(pagemap.read(POOL * 8), np.uint64) & np.uint64(NUMBER)).astype(np.int64)
    if not numbers.all():
        raise SystemExit("the numbers of physical pages are hidden: run it as root")
    return numbers


if __name__ == "__main__":
    main()
