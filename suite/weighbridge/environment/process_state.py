"""What a case may change in its process: taken down before it, and put back after."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ProcessState:
    """Environment, working directory, import path, warnings, and torch's and numpy's settings."""

    environment: dict[str, str]
    folder: str
    path: tuple[str, ...]
    filters: tuple[Any, ...]
    settings: dict[str, Any]
    threads: int

    @classmethod
    def capture(cls) -> ProcessState:
        return cls(
            dict(os.environ),
            str(Path.cwd()),
            tuple(sys.path),
            tuple(warnings.filters),
            _settings(),
            threading.active_count(),
        )

    def restore(self) -> bool:
        """Put everything back; False where something stays changed, so that the process had better end.

        Where torch was loaded only since, its settings before are not known.
        """
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.path[:] = self.path
        warnings.filters[:] = self.filters  # type: ignore[index]  # typeshed has a read-only sequence
        if _settings() != self.settings:
            _put_back(self.settings)
        _end_progress_monitor()
        return _settings() == self.settings and threading.active_count() <= self.threads


def _end_progress_monitor() -> None:
    """tqdm leaves a thread that watches its bars, torch's exporter has such bars, and a next bar starts another."""
    tqdm = sys.modules.get("tqdm")
    if (monitor := getattr(getattr(tqdm, "tqdm", None), "monitor", None)) is not None:
        monitor.exit()


def _settings() -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (numpy := sys.modules.get("numpy")) is not None:
        found["numpy.errors"] = numpy.geterr()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_default_dtype"):
        found |= {
            "torch.dtype": torch.get_default_dtype(),
            "torch.threads": torch.get_num_threads(),
            "torch.gradients": torch.is_grad_enabled(),
            "torch.deterministic": torch.are_deterministic_algorithms_enabled(),
            "torch.precision": torch.get_float32_matmul_precision(),
            "torch.engine": torch.backends.quantized.engine,
            "torch.fastpath": torch.backends.mha.get_fastpath_enabled(),
        }
    return found


def _put_back(settings: dict[str, Any]) -> None:
    if "numpy.errors" in settings:
        sys.modules["numpy"].seterr(**settings["numpy.errors"])
    if "torch.dtype" not in settings:
        return
    torch = sys.modules["torch"]
    torch.set_default_dtype(settings["torch.dtype"])
    torch.set_num_threads(settings["torch.threads"])
    torch.set_grad_enabled(settings["torch.gradients"])
    torch.use_deterministic_algorithms(settings["torch.deterministic"])
    torch.set_float32_matmul_precision(settings["torch.precision"])
    if torch.backends.quantized.engine != settings["torch.engine"]:
        torch.backends.quantized.engine = settings["torch.engine"]
    torch.backends.mha.set_fastpath_enabled(settings["torch.fastpath"])
