"""What a case may change in its process: taken down before it, and put back after."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import warnings
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_fresh: dict[str, Any] = {}
"""torch's settings as they were when it had just been imported, where `watch_torch` saw that."""


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
            _threads(),
        )

    def restore(self) -> bool:
        """Put everything back; False where something stays changed, so that the process had better end.

        Where torch was loaded only since, its settings before are those that it comes with; see `watch_torch`.
        """
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.path[:] = self.path
        warnings.filters[:] = self.filters  # type: ignore[index]  # typeshed has a read-only sequence
        settings = {**_fresh, **self.settings}
        if _settings() != settings:
            _put_back(settings)
        _end_progress_monitor()
        return _settings() == settings and _threads() <= self.threads


def watch_torch() -> None:
    """Remember torch's settings as soon as somebody imports it: ONNX Runtime's quantizers do, in the middle of a case."""
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _Watch())


class _Watch(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # some only ask whether there is a torch
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _fresh.update({key: value for key, value in _settings().items() if key.startswith("torch.")})

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _threads() -> int:
    """Those that are alive, but for what fsspec's file systems keep for the whole process to talk to a server."""
    return sum(not thread.name.startswith(("fsspecIO", "asyncio_")) for thread in threading.enumerate())


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
