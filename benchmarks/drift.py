"""How often does a history call a change that is none, and after how many runs does it find one that is?

    OMP_NUM_THREADS=1 python benchmarks/drift.py

prints two Markdown tables: false alarms of 1,000 flat histories, read once at the end and after every run, and the runs
that it takes to find steps and drifts that begin after 30 flat runs. Sizes are in standard deviations of the noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from weighbridge.history.changes import change_points

Noise = Callable[[np.random.Generator, int], np.ndarray]
NOISES: dict[str, Noise] = {
    "normal": lambda random, n: random.normal(size=n),
    "heavy tails (Student's t, 3 degrees)": lambda random, n: random.standard_t(3, size=n),
    "skewed (a busy machine now and then)": lambda random, n: random.gamma(1.5, size=n),
    "accuracy on 1,000 samples, trained anew": lambda random, n: random.binomial(1000, 0.97, size=n) / 1000,
}
FLAT, MOST = 30, 40
"""Runs before a change begins, and after which it counts as not found."""
STEPS, SLOPES = (1.0, 2.0, 3.0, 5.0), (0.05, 0.1, 0.2)


def false_alarms(histories: int) -> list[list[str]]:
    rows = []
    for name, noise in NOISES.items():
        cells = [name]
        for n in (20, 50, 100):
            found = sum(
                bool(change_points(list(noise(np.random.default_rng(seed), n)))) for seed in range(histories)
            )
            cells.append(f"{found / histories:.1%}")
        rows.append(cells)
    return rows


def alarms_on_the_way(histories: int, n: int = 100) -> float:
    """The share of flat histories that show a change at any time, where they are read after each of `n` runs."""
    found = 0
    for seed in range(histories):
        values = list(NOISES["normal"](np.random.default_rng(seed), n))
        found += any(change_points(values[:end]) for end in range(8, n + 1))
    return found / histories


def delays(change: Callable[[np.ndarray], np.ndarray], histories: int) -> list[str]:
    """Median and ninth decile of the runs after which the change is shown, and the share that is within `MOST`."""
    found = []
    for seed in range(histories):
        noise = NOISES["normal"](np.random.default_rng(10_000 + seed), FLAT + MOST)
        noise[FLAT:] -= change(np.arange(1, MOST + 1))
        ends = (end for end in range(1, MOST + 1) if change_points(list(noise[: FLAT + end])))
        found.append(next(ends, MOST + 1))
    median, late = np.quantile(found, [0.5, 0.9], method="higher")
    within = np.mean(np.array(found) <= MOST)
    return [*(str(one) if one <= MOST else f"over {MOST}" for one in (median, late)), f"{within:.0%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    many = parser.parse_args().histories
    print(tabulate(false_alarms(many), ["noise", "20 runs", "50 runs", "100 runs"], tablefmt="github"))
    few = max(many // 20, 1)
    print(
        f"\nread after each of 100 runs: {alarms_on_the_way(5 * few):.1%} of {5 * few} show a change at some time\n"
    )
    rows = [[f"step of {size:g}", *delays(lambda run, size=size: size + 0 * run, few)] for size in STEPS]
    rows += [[f"{slope:g} a run", *delays(lambda run, slope=slope: slope * run, few)] for slope in SLOPES]
    print(
        tabulate(
            rows,
            ["change", "half found after", "nine of ten after", f"within {MOST} runs"],
            tablefmt="github",
        )
    )


if __name__ == "__main__":
    main()
