"""What ARCHITECTURE.md promises of the imports: one way through the layers, and nothing heavy at start."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "suite" / "weighbridge"
DOORS = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path not in DOORS)
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "tensorflow",
    "tf_keras",
    "torchao",
    "ai_edge_litert",
    "hypothesis",
    "scipy",
)


def layers() -> list[list[str]]:
    """The fenced list of ARCHITECTURE.md, lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return [line.split() for line in text.split("```layers\n")[1].split("```")[0].splitlines()]


def room(module: str) -> str:
    """`weighbridge.case.text` -> `case`."""
    return module.split(".")[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EXCEPTIONS = {
    # A stored tensor knows its own numbers; the arithmetic of codes is the reference's.
    ("weighbridge.core.stored", "weighbridge.numerics.codes"),
}
"""(module, what it imports from a layer above its own), each with its reason."""


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            if node.module == "weighbridge":
                yield from (f"weighbridge.{alias.name}" for alias in node.names)


def test_every_module_has_one_layer() -> None:
    listed = [name for layer in layers() for name in layer]
    assert sorted(listed) == sorted(set(listed))
    assert sorted({room(name_of(path)) for path in MODULES}) == sorted(listed)


def test_every_file_of_the_engine_room_is_listed_once() -> None:
    table = (
        (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("| file of `run/` |")[1].split("\n\n")[0]
    )
    listed = [name for row in table.splitlines() for name in re.findall(r"`(\w+\.py)`", row.split("|")[1])]
    assert sorted(listed) == sorted(path.name for path in (PACKAGE / "run").glob("[!_]*.py"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    height = {name: index for index, layer in enumerate(layers()) for name in layer}
    here = room(name_of(path))
    upward = [
        module
        for module in imports(path)
        if module.startswith("weighbridge.")
        and height[room(module)] > height[here]
        and (name_of(path), module) not in EXCEPTIONS
    ]
    assert upward == [], f"{name_of(path)} stands below what it imports"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_stays_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def loaded_by(code: str) -> set[str]:
    """The top-level packages that `code` loads in a fresh interpreter."""
    tail = "; import sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_plugin_starts_light() -> None:
    found = loaded_by("import weighbridge.plugin.hooks")
    assert found & {*HEAVY, "numpy", "pydantic", "yaml", "tabulate", "psutil", "pytest_benchmark"} == set()


def test_discovery_imports_nothing_heavy() -> None:
    found = loaded_by("from weighbridge.contracts import STEPS; assert len(STEPS.names()) > 5")
    assert found & set(HEAVY) == set()


def test_the_command_starts_light() -> None:
    found = loaded_by("import weighbridge.cli.main")
    assert found & {*HEAVY, "numpy", "pydantic"} == set()


def test_this_test_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "from weighbridge import run\n"
        "if TYPE_CHECKING:\n    import weighbridge.report\n"
        "try:\n    import weighbridge.cli\nexcept ImportError:\n    pass\n"
        "class A:\n    import weighbridge.audit\n"
        "def f():\n    import weighbridge.plugin\n"
    )
    found = {name for name in imports(wrong) if name.startswith("weighbridge.")}
    assert found == {f"weighbridge.{name}" for name in ("run", "report", "cli", "audit", "plugin")}
