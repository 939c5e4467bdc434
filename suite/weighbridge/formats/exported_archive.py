"""What a `.pt2` says to torch, looked at before torch reads it.

torch evaluates parts of the archive's text: sizes go to `sympy.sympify`, which is Python's `eval`; guards and the names
of a graph's values are written into source code that is executed; constants may be pickles, enumerations name a module
to import. An exported program needs none of that freedom: names are names, sizes are sums and products, and whatever
else is refused.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weighbridge.core.errors import StageError
from weighbridge.core.trust import refusal
from weighbridge.formats.archive import content, members


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAME = re.compile(r"[\w.+/-]*")
_FREE = _words("stack_trace nn_module_stack source_fn_stack torch_fn from_node custom as_string")
"""Keys of text that torch shows, splits or quotes, and never executes."""
_TREES = frozenset(("in_spec", "out_spec"))
_CALLS = _words(
    "Symbol Integer Float Rational Add Mul Pow Min Max Abs Mod PythonMod FloorDiv CleanDiv CeilDiv ModularIndexing Where "
    "CeilToInt FloorToInt IntTrueDiv FloatTrueDiv LShift RShift TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat "
    "FloatPow PowByNatural Identity IsNonOverlappingAndDenseIndicator Eq Ne Lt Le Gt Ge Equality Unequality LessThan "
    "StrictLessThan GreaterThan StrictGreaterThan And Or Not Piecewise ExprCondPair Tuple floor ceiling sqrt log exp "
    "OpaqueUnaryFn_sqrt OpaqueUnaryFn_log OpaqueUnaryFn_exp OpaqueUnaryFn_log2"
)
_OPERATORS = _words(
    "abs add and_ eq floordiv ge getitem gt index invert is_ is_not le lshift lt mod mul ne neg not_ or_ pos pow rshift "
    "sub truediv xor"
)
_FILES = frozenset(("from_file", "save", "load", "load_library"))
"""Operators of torch that open files: no step of a model does."""
_ARITHMETIC = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)
_DEEP = 60
_DATA = frozenset(("weights", "constants", "sample_inputs"))
"""What a program has under `data/`. Of other places torch loads more than a program: what lies in `data/aotinductor` is a
compiled library, which runs as it is loaded."""


def check_program(path: Path) -> None:
    """Raises `StageError` where the archive holds what could be executed; nothing in it is unpickled or evaluated."""
    for name in members(path):
        check_place(name, path)
        if name.lower().endswith(".json"):
            check_text(content(path, name), name, path)


def check_place(name: str, path: Path) -> None:
    """Raises `StageError` where the entry `name` lies where torch looks for code."""
    places = name.replace("\\", "/").split("/")
    under = [after for place, after in itertools.pairwise(places) if place.lower() == "data"]
    if any(place not in _DATA for place in under):
        raise refusal(path, f"{name} is no part of a program, and torch may load it as compiled code")


def check_text(text: bytes, name: str, path: Path) -> None:
    """The same of one JSON text, the entry `name` of the archive at `path`."""
    try:
        _walk(json.loads(text), "", 0)
    except _Refused as error:
        raise refusal(path, f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise StageError("load", f"{path.name}: {name} is damaged: it is no JSON") from None


class _Refused(Exception):
    """Why, in words."""


def _walk(value: Any, key: str, depth: int) -> None:
    if depth > _DEEP:
        raise _Refused(f"nested more than {_DEEP} levels deep")
    if isinstance(value, dict):
        for name, item in value.items():
            _check_name(name)
            _walk(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _walk(item, key, depth + 1)
    elif isinstance(value, str):
        _CHECKS.get(key, _check_name)(value)


def _check_name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise _Refused(f"{text[:80]!r} is no name, and torch would write it into code")


def _check_target(text: str) -> None:
    _check_name(text)
    room, _, name = text.partition(".")
    if room == "_operator" and name not in _OPERATORS:
        raise _Refused(f"the graph calls {text}, which is no arithmetic")
    if _FILES & set(name.split(".")):
        raise _Refused(f"the graph calls {text}, which opens a file")


def _check_path(text: str) -> None:
    _check_name(text)
    if text.rpartition("/")[2].startswith(("opaque_obj", "custom_obj")):
        raise _Refused(f"the constant '{text}' is a pickle, which can hold code")


def _check_tree(text: str) -> None:
    """How inputs are nested: enumerations and factories name a module that torch would import."""
    if "__enum__" in text or "default_factory" in text:
        raise _Refused("its inputs are nested in a type that names a module to import")


def _check_size(text: str) -> None:
    if not _is_allowed(text, _is_size):
        raise _Refused(f"the size {text[:80]!r} is no arithmetic, and torch would execute it")


def _check_guard(text: str) -> None:
    if not _is_allowed(text, _is_guard):
        raise _Refused(f"the guard {text[:80]!r} is no comparison of sizes, and torch would execute it")


def _free(text: str) -> None:
    pass


_CHECKS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(_FREE, _free),
    **dict.fromkeys(_TREES, _check_tree),
    "target": _check_target,
    "as_operator": _check_target,
    "path_name": _check_path,
    "expr_str": _check_size,
    "guards_code": _check_guard,
}


def _is_allowed(text: str, allowed: Callable[[ast.AST], bool]) -> bool:
    try:
        return all(
            isinstance(node, _ARITHMETIC) or allowed(node) for node in ast.walk(ast.parse(text, mode="eval"))
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_size(node: ast.AST) -> bool:
    """A call of sympy's arithmetic, a symbol or a number; text is the name of a symbol and nothing else."""
    if isinstance(node, ast.Call):
        symbol = isinstance(node.func, ast.Name) and node.func.id == "Symbol"
        return (
            isinstance(node.func, ast.Name)
            and node.func.id in _CALLS
            and all((text := _text(arg)) is None or (symbol and text.isidentifier()) for arg in node.args)
            and all(isinstance(word.value, ast.Constant) for word in node.keywords)
        )
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float | str)
    return isinstance(node, ast.keyword) or (isinstance(node, ast.Name) and not node.id.startswith("_"))


def _is_guard(node: ast.AST) -> bool:
    """`L['x'].size()[0] >= 2`, and what else compares the sizes of inputs."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name | ast.Attribute)
    if isinstance(node, ast.Attribute):
        return node.attr in ("size", "stride", "storage_offset", "dtype", "isnan", "inf")
    if isinstance(node, ast.Name):
        return node.id in ("L", "math", "inf") or node.id in _CALLS
    if isinstance(node, ast.Constant):
        return (text := _text(node)) is None or _NAME.fullmatch(text) is not None
    return isinstance(node, ast.Subscript)


def _text(node: ast.AST) -> str | None:
    """What a constant says where it is text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
