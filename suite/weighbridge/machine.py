"""The machine that a figure was taken on: numbers that depend on it say so."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from weighbridge.requirements import isa

_NOTABLE = ("avx", "amx", "vnni", "fma", "asimd", "sve", "i8mm", "bf16", "fp16")


def describe() -> dict[str, Any]:
    """Processor, instruction sets that matter to inference, cores, memory, system, load."""
    import psutil

    return {
        "cpu": _model(),
        "isa": sorted(flag for flag in isa() if any(part in flag for part in _NOTABLE)),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(terse=True),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
    }


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
