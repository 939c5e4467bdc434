"""`weighbridge new`: a first case file for a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb


def register(verbs: Any) -> None:
    text = "write a first case file for a model, with limits that are usual: weighbridge new model.onnx -o cases/mine.yaml"
    verb = add_verb(verbs, "new", run, text, "`weighbridge init` measures the limits from the model.")
    verb.add_argument("model", help="a model file, or file.py:callable")
    verb.add_argument("--weights", help="the checkpoint of file.py:callable")
    verb.add_argument("--data", help="an .npz, or file.py:callable that gives the splits")
    verb.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write it there, with paths that hold from there"
    )


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.case.scaffold import Subject, scaffold
    from weighbridge.cli.writing import write_new

    subject = Subject(arguments.model, arguments.weights, arguments.data)
    if arguments.output is None:
        print(scaffold(subject), end="")
        return 0
    write_new({arguments.output: scaffold(subject, arguments.output.parent)})
    print(f"wrote {arguments.output}; next: weighbridge check {arguments.output}")
    return 0
