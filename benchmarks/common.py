"""What the scripts here share: a session as each of them opens it, when and where a table was measured, and peak memory.

Scripts in the environments of other quantizers import it too, so it brings nothing but the standard library by itself.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def open_session(path: str | Path, settings: Mapping[str, Any] = {}, entries: Mapping[str, str] = {}) -> Any:
    """A fresh `InferenceSession` on one thread of the processor. `settings` are attributes of its SessionOptions, `entries`
    of its configuration.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for name, value in settings.items():
        setattr(options, name, value)
    for name, entry in entries.items():
        options.add_session_config_entry(name, entry)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def when_and_where() -> str:
    """Now, and this machine."""
    from weighbridge.environment import machine

    facts = machine.describe()
    return f"{time.strftime('%Y-%m-%d %H:%M')}, {facts['cpu']}, {facts['cores']} cores, {facts['os']}"


def peak() -> int:
    """Bytes that were resident at most in this process. `ru_maxrss` would count the parent's too, from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
