"""What was made on a GPU, as its twin on the CPU: it is trained where there is one, and gated where there may be none."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CPU = "cpu"
_STAYS = frozenset((CPU, "meta"))
_HINT = (
    "; its weights are on the CPU, where it is judged: make such tensors on the device of an input (`device=x.device`), or hide "
    "the GPU from the run: `CUDA_VISIBLE_DEVICES= pytest`"
)


def module_on_cpu(module: torch.nn.Module) -> torch.nn.Module:
    """The module itself, moved where its own code has put it on a GPU."""
    held = (*module.parameters(), *module.buffers())
    return module if all(tensor.device.type in _STAYS for tensor in held) else module.to(CPU)


def program_on_cpu(program: Any) -> Any:
    """An exported program whose weights, and whose calls that make tensors, are on the CPU."""
    from torch.export.passes import move_to_device_pass

    held = (*program.state_dict.values(), *program.constants.values())
    devices = {tensor.device.type for tensor in held if hasattr(tensor, "device")}
    return program if devices <= _STAYS else move_to_device_pass(program, CPU)


def archive_on_cpu(path: Path, trusted: bool) -> Path | IO[bytes]:
    """What `torch.export.load` takes for a `.pt2`: the file itself, or its twin where it was exported on a GPU.

    torch would read it onto that GPU again, and not at all on a machine without one. The archive's texts name the device of
    each tensor and of each call that makes one; its sample inputs, and in older archives its weights, are tensors that torch
    has saved.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        texts = {
            name: json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")
        }
        places = [place for text in texts.values() for place in _devices(text)]
        if all(place["type"] in _STAYS for place in places):
            return path
        for place in places:
            if place["type"] not in _STAYS:
                place.update(type=CPU, index=None)
        twin = io.BytesIO()
        with zipfile.ZipFile(twin, "w") as copy:
            for name in archive.namelist():
                content = json.dumps(texts[name]).encode() if name in texts else archive.read(name)
                if name.endswith(".pt"):
                    tensors = torch.load(io.BytesIO(content), map_location=CPU, weights_only=not trusted)
                    saved = io.BytesIO()
                    torch.save(tensors, saved)
                    content = saved.getvalue()
                copy.writestr(name, content)
    twin.seek(0)
    return twin


def _devices(value: Any) -> Iterator[dict[str, Any]]:
    """Every `{"type": "cuda", "index": 0}` of a JSON text."""
    if isinstance(value, dict):
        if value.keys() == {"type", "index"}:
            yield value
        for item in value.values():
            yield from _devices(item)
    elif isinstance(value, list):
        for item in value:
            yield from _devices(item)


def two_devices(error: BaseException) -> str:
    """What to do where tensors of two devices met; empty of any other error."""
    text = str(error).lower()
    return _HINT if "same device" in text or ("cuda" in text and "cpu" in text) else ""
