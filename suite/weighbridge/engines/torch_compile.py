"""torch, compiled: serves modules and exported programs as Inductor compiles them, with their weights frozen.

A program is exported once for a batch of any size and compiled ahead of time (AOTInductor). Compiling takes seconds, opening
what was compiled milliseconds: so a speed is measured on many loads, and a batch of another size compiles nothing.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from weighbridge.contracts import ENGINES, FORMATS, EngineOptions, Inputs, Mixed, Requirement
from weighbridge.core.agreement import TOLERANCE, check_agreement
from weighbridge.core.batches import count, items, take
from weighbridge.core.errors import StageError, first_line
from weighbridge.core.results import Artifact
from weighbridge.core.unfinished import clear_abandoned, unfinished
from weighbridge.engines.torch_eager import (
    TorchEager,
    TorchOptions,
    TorchSession,
    float_type,
    run_module,
    served,
)
from weighbridge.engines.torch_export import traced
from weighbridge.environment import machine
from weighbridge.environment.quiet import quiet

if TYPE_CHECKING:
    import torch

_CXX = shlex.split(os.environ.get("CXX", "")) or ["clang++" if sys.platform == "darwin" else "g++"]
COMPILER = Requirement(
    "command", _CXX[0], "xcode-select --install" if sys.platform == "darwin" else "apt-get install g++"
)
AT_LEAST = 2
"""Samples of the batch that is exported: torch takes a size of one for a constant."""
ROUNDED = 0.05
"""Of the largest output, what a program with codes may differ by: a sum on the edge between two codes is rounded either way."""
Signature = tuple[Any, ...]


class CompileOptions(EngineOptions):
    cache: bool = Field(
        True,
        description="Whether a later process uses what was compiled; without it each compiles anew, as an empty container "
        "does, and `cold_start` says what that takes.",
    )


class Program:
    """An artifact, and what was compiled of it so far: a package for each signature."""

    def __init__(self, artifact: Artifact, options: CompileOptions) -> None:
        self._artifact, self._options = artifact, options
        self._value: Any = None
        self.floats = float_type(self._module())
        self._packages: dict[Signature, Path] = {}
        self._own: tempfile.TemporaryDirectory[str] | None = None

    def package(self, inputs: Inputs) -> Path:
        """What takes `inputs`, compiled where there is none yet; raises `StageError` where it cannot be."""
        for signature in (_signature(inputs, free=True), _signature(inputs, free=False)):
            path = self._packages.get(signature)
            if path is not None and path.is_file():
                return path
        try:
            signature, program = self._exported(inputs)
            path = self._folder() / f"{_key(program, signature, self._options.threads)}.pt2"
            if not path.is_file():
                self._compile(program, inputs, path)
        finally:
            self._value = None  # the package has the weights
        self._packages[signature] = path
        return path

    def _module(self) -> torch.nn.Module:
        if self._value is None:
            self._value = FORMATS.get(self._artifact.format).open(self._artifact).value
        return served(self._value.module() if self._artifact.format == "exported" else self._value)

    def _exported(self, inputs: Inputs) -> tuple[Signature, Any]:
        """The program and what it takes: a batch of any size, or of this size alone where the module fixes it."""
        import torch

        module = self._module()
        if self._artifact.format == "exported":
            return _signature(inputs, _is_free(self._value, module, inputs)), self._value
        several = _of_size(inputs, max(count(inputs), AT_LEAST))
        for batch, free in ((several, True), (inputs, False)):
            try:
                with quiet():
                    program = traced(module, batch, self.floats, torch.export.Dim.AUTO if free else None)
            except Exception as error:  # whatever the module's forward, or torch, raises
                if not free:
                    raise _refusal("torch.export cannot trace the module", error) from error
                continue
            if not free or _is_free(program, module, batch):
                break
        return _signature(inputs, free), program

    def _compile(self, program: Any, inputs: Inputs, path: Path) -> None:
        """Write the package, once it answers as the module itself does; what the module does not take is not compiled."""
        import torch
        from torch._inductor import aoti_compile_and_package
        from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

        module = self._module()
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        expected = run_module(module, inputs)
        changed = [name for name, buffer in module.named_buffers() if not _alike(buffer, before.get(name))]
        if changed:
            raise StageError(
                "open",
                f"the module's forward changes {', '.join(changed)}, so what it answers depends on what it was asked before, "
                "which a compiled model cannot be held against; `engine: torch` runs it as it is",
            )
        own = nullcontext() if self._options.cache else temporary_cache_dir(str(path.parent))
        clear_abandoned(path.parent)
        aside = unfinished(path.parent)
        aside.mkdir(parents=True)
        made = aside / path.name
        try:
            try:
                with quiet(), torch.no_grad(), own:
                    aoti_compile_and_package(
                        program, package_path=str(made), inductor_configs={"freezing": True}
                    )
            except Exception as error:  # Inductor's own, and the compiler's
                raise _refusal("torch cannot compile the module", error) from error
            rounds = any("quantize" in str(node.target) for node in program.graph.nodes)
            answers = run_module(_loaded(made), inputs, floats=self.floats)
            check_agreement(answers, expected, "compiled model", "torch", ROUNDED if rounds else TOLERANCE)
            made.replace(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _folder(self) -> Path:
        """Beside what Inductor keeps; of this process alone where nothing is kept."""
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        if self._options.cache:
            return Path(cache_dir()) / "weighbridge"
        self._own = self._own or tempfile.TemporaryDirectory(prefix="weighbridge-")
        return Path(self._own.name)


class CompiledSession(TorchSession):
    """Loads the package that takes a batch when the first such batch comes."""

    def __init__(self, program: Program, threads: int) -> None:
        self.threads, self.device = threads, "cpu"
        self._program = program
        self._loaded: dict[Path, Callable[..., Any]] = {}

    def serving(self, inputs: Inputs) -> tuple[Callable[..., Any], torch.dtype]:
        path = self._program.package(inputs)
        if path not in self._loaded:
            self._loaded[path] = _loaded(path)
        return self._loaded[path], self._program.floats


_programs: dict[Signature, Program] = {}
"""Of this process: a model is opened again for each load, and exported once."""


class TorchCompile(TorchEager):
    name = "torch_compile"
    options: type[EngineOptions] = CompileOptions
    requires = (COMPILER,)

    def open(self, artifact: Artifact, options: Any) -> CompiledSession:
        seen = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in artifact.files]
        known = (*seen, repr(artifact.source), options.threads, options.cache)
        if known not in _programs:
            _programs[known] = Program(artifact, options)
        return CompiledSession(_programs[known], options.threads)

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        """Not compiled: which layer is to blame does not depend on that."""
        return super().mixed(original, candidate, TorchOptions(threads=options.threads))


def _alike(buffer: torch.Tensor, before: torch.Tensor | None) -> bool:
    """Whether a call left it as it was; NaN too."""
    if before is None or buffer.shape != before.shape:
        return False
    return bool(((buffer == before) | (before != before)).all())


def _loaded(path: Path) -> Callable[..., Any]:
    from torch._inductor import aoti_load_package

    with quiet():
        model: Callable[..., Any] = aoti_load_package(str(path), run_single_threaded=True)
    return model


def _signature(inputs: Inputs, free: bool) -> Signature:
    """What a program was made for: each input's name, type and shape; where `free`, without the size of the batch."""
    return (
        isinstance(inputs, dict),
        *(
            (
                name,
                str(array.dtype),
                *(None if free and at == axis else size for at, size in enumerate(array.shape)),
            )
            for name, array, axis in items(inputs)
        ),
    )


def _is_free(program: Any, module: Any, inputs: Inputs) -> bool:
    """Whether batches of every size go through it.

    torch closes an axis silently where the module's code fixes its size, and bounds it where the code compares it with a
    number. What it assumed beside that, of a batch of one as well, is seen in the answers. Compiled code checks none of it, and
    reads beyond the end of what is too short.
    """
    from torch.fx.experimental.symbolic_shapes import free_symbols

    names = set(program.graph_signature.user_inputs)
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in names]
    sizes = program.range_constraints.values()
    if sum(bool(free_symbols(shape)) for shape in shapes) < sum(
        axis is not None for _, _, axis in items(inputs)
    ):
        return False
    if not all(size.lower <= AT_LEAST and size.upper >= sys.maxsize - 1 for size in sizes):
        return False
    try:
        for batch in (_of_size(inputs, 1), _of_size(inputs, count(inputs) + 1)):
            traced = run_module(program.module(), batch, floats=float_type(module))
            check_agreement(traced, run_module(module, batch), "program", "torch")
    except StageError:
        return False
    return True


def _of_size(inputs: Inputs, size: int) -> Inputs:
    """So many samples, repeated where there are fewer."""
    return take(inputs, np.arange(size) % count(inputs))


def _key(program: Any, signature: Signature, threads: int) -> str:
    """Of all that the compiled code depends on: operators, weights, shapes, the number of threads, torch, the processor."""
    import torch

    sha = hashlib.sha256(program.graph_module.print_readable(print_output=False).encode())
    torch.save({**program.state_dict, **program.constants}, _Into(sha))  # type: ignore[arg-type]  # torch only writes and flushes
    sha.update(repr((signature, threads, torch.__version__, machine.instruction_sets())).encode())
    return sha.hexdigest()[:32]


class _Into:
    """A file that only counts as a hash."""

    def __init__(self, sha: Any) -> None:
        self._sha = sha

    def write(self, data: Any) -> int:
        self._sha.update(data)
        return len(data)

    def flush(self) -> None:
        pass


def _refusal(what: str, error: Exception) -> StageError:
    return StageError(
        "open",
        f"{what} ({type(error).__name__}: {first_line(error)}); `engine: torch` runs it as it is",
    )


ENGINES.add(TorchCompile.name, TorchCompile())
