"""What a case can name, as tables: from the registries, so that the manual cannot fall behind."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import ENGINES, FORMATS, METRICS, REPORTS, STEPS, THRESHOLDS
from weighbridge.core.registry import Registry

_SIGNS = {"max": "at most", "min": "at least"}


def catalogue(style: str = "simple") -> str:
    """Tables of steps, thresholds and names, in a style of tabulate's (`github` for Markdown)."""
    from tabulate import tabulate

    steps = [
        [
            f"{step.kind}: {step.method}",
            step.engine or "",
            ", ".join(step.accepts),
            ", ".join(step.options.model_fields),
        ]
        for step in sorted(
            STEPS, key=lambda step: (step.kind != "prune", step.kind, step.method, step.engine or "")
        )
    ]
    thresholds = [
        [item.name, _SIGNS[item.side], item.unit, item.doc]
        for item in sorted(THRESHOLDS, key=lambda item: (item.measure, item.name))
    ]
    parts = [
        tabulate(steps, headers=["step", "engine", "takes", "options"], tablefmt=style),
        tabulate(
            thresholds, headers=["threshold", "a bare number is", "in", "what it limits"], tablefmt=style
        ),
    ]
    registries: dict[str, Registry[Any]] = {
        "models": FORMATS,
        "engines": ENGINES,
        "metrics": METRICS,
        "reports": REPORTS,
    }
    parts += [f"{what}: {', '.join(sorted(registry.names()))}" for what, registry in registries.items()]
    return "\n\n".join(parts) + "\n"
