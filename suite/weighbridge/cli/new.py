"""`weighbridge new`: a first case file for a model."""

from __future__ import annotations

import argparse
from typing import Any

from weighbridge.cli.verbs import add_verb


def register(verbs: Any) -> None:
    text = "print a first case file for a model: weighbridge new model.onnx > cases/mine.yaml"
    verb = add_verb(verbs, "new", run, text)
    verb.add_argument("model", help="a model file, or file.py:callable")
    verb.add_argument("--data", help="file.py:callable that gives the splits")


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.case.scaffold import scaffold

    print(scaffold(arguments.model, arguments.data), end="")
    return 0
