"""The machine a number was measured on: what the report records of it, and when it is too busy to judge."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from weighbridge.environment.requirements import isa

NOTABLE = ("avx", "amx", "vnni", "fma", "asimd", "sve", "i8mm", "bf16", "fp16")
"""Parts of the names of the instruction sets that decide which kernels an engine picks."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCHINDUCTOR_FREEZING")


def describe() -> dict[str, Any]:
    """Processor, instruction set, cores, load, clock governor, limits of the container; JSON values."""
    return {
        "cpu": _cpu_name(),
        "isa": instruction_sets(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "load_average": load_average(),
        "governor": governor(),
        "memory_bytes": memory_limit(),
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "os": platform.platform(terse=True),
    }


def machine_class(machine: Mapping[str, Any]) -> str:
    """What a speed may be compared within, of what `describe` gave: processor, usable cores, and its instruction sets.

    Empty where the processor is not known. The sets are a hash: they are many, and only their sameness counts.
    """
    if not machine.get("cpu"):
        return ""
    cores = machine.get("usable_cores") or machine.get("cores") or 0
    sets = hashlib.sha256(" ".join(machine.get("isa") or ()).encode()).hexdigest()[:6]
    return f"{machine['cpu']}, {cores:g} cores, isa {sets}"


def instruction_sets() -> list[str]:
    """The notable ones, in order."""
    return list(_notable(isa()))


@lru_cache(maxsize=2)
def _notable(flags: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(flag for flag in flags if any(part in flag for part in NOTABLE)))


def usable_cores() -> float:
    """Cores this process may use at once: its affinity, cut by the container's CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota = cpu_quota()
    return cores if quota is None else min(cores, quota)


def load_average() -> float | None:
    """Runnable processes over the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def governor() -> str | None:
    """The clock governor of the first core (`powersave`, `performance`); None where there is none to see."""
    return _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))


def cpu_quota(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float | None:
    """Cores that the container is limited to, by cgroup v2 or v1; None without a limit."""
    quotas = []
    for folder in _cgroups("cpu", root, membership):
        if text := _read(folder / "cpu.max"):
            limit, _, period = text.partition(" ")
            quotas.append(float(limit) / float(period) if limit != "max" else 0.0)
        elif text := _read(folder / "cpu.cfs_quota_us"):
            period = _read(folder / "cpu.cfs_period_us") or "100000"
            quotas.append(float(text) / float(period))
    return min((quota for quota in quotas if quota > 0), default=None)


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Bytes: the container's limit, or the machine's memory where that is less."""
    import psutil

    total = int(psutil.virtual_memory().total)
    texts = [
        _read(folder / name)
        for folder in _cgroups("memory", root, membership)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return min([total, *(int(text) for text in texts if text and text.isdigit())])


def complaints(threads: int = 1) -> list[str]:
    """What about this machine makes a measured time doubtful just now, and what to do about it."""
    lines = []
    cores, load = usable_cores(), load_average()
    if threads > cores:
        lines.append(f"{threads} threads share {cores:g} usable cores: set `threads: {max(1, int(cores))}`")
    if load is not None and load - threads >= cores:
        lines.append(f"the machine is busy: load average {load:g} on {cores:g} usable cores")
    if governor() == "powersave":
        lines.append("the clock governor is 'powersave': 'performance' gives steadier times")
    return lines


def _cgroups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """The cgroup folders that bind this process, its own and those above: version 2, then version 1."""
    for line in (_read(membership) or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        folder = base / path.strip("/")
        yield from (
            parent for parent in (folder, *folder.parents) if parent == base or base in parent.parents
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cpu_name() -> str:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Processor"):
            return value.strip()
    return platform.processor() or platform.machine()
