"""What a user may get wrong in calling `weighbridge init` or `try`: one sentence, which says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.projects import samples
from tests.ways.made import in_folder

from weighbridge.cli.main import main


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_folder(pytester.path, monkeypatch)


MISTAKES: dict[str, tuple[Callable[[], Any], list[str], str]] = {
    "no such file": (lambda: None, ["modle.onnx"], "no file modle.onnx; did you mean 'model.onnx'?"),
    "no model": (
        lambda: Path("text.onnx").write_text("hello"),
        ["text.onnx"],
        "load: text.onnx cannot be read, it is truncated or no ONNX file",
    ),
    "no kind of model": (
        lambda: Path("model.h6").write_text("x"),
        ["model.h6"],
        "unknown kind of file '.h6' (valid: ",
    ),
    "no such data": (lambda: None, ["model.onnx", "--data", "sample.npz"], "did you mean 'samples.npz'?"),
    "no npz": (
        lambda: Path("text.npz").write_text("hello"),
        ["model.onnx", "--data", "text.npz"],
        "text.npz is no .npz, or a damaged one; numpy.savez writes them",
    ),
    "a folder of pictures": (
        lambda: Path("pictures").mkdir(),
        ["model.onnx", "--data", "pictures"],
        "--data pictures: expected an .npz; anything else a function of yours reads, which gives {'calibration': (inputs",
    ),
    "another shape": (
        lambda: np.savez("w.npz", x=np.zeros((300, 15), "float32"), y=np.arange(300) % 4),
        ["model.onnx", "--data", "w.npz"],
        "the model's input 'x' float32 [n, 16] does not take the data's float32",
    ),
    "another name": (
        lambda: np.savez("w.npz", pixels=samples(2, 90)[0], y=samples(2, 90)[1]),
        ["model.onnx", "--data", "w.npz"],
        "the model has no input 'pixels' (valid: x)",
    ),
    "no labels": (
        lambda: np.savez("w.npz", x=samples(2, 90)[0]),
        ["model.onnx", "--data", "w.npz"],
        "has no targets, so there is no accuracy to measure; `--metric none` compares outputs only",
    ),
    "labels of another set": (
        lambda: np.savez("w.npz", x=samples(2, 300)[0], y=samples(3, 300)[1]),
        ["model.onnx", "--data", "w.npz"],
        "the baseline is no better than guessing",
    ),
    "a checkpoint": (
        lambda: Path("net.pt").write_bytes(b""),
        ["net.pt", "--data", "samples.npz"],
        "net.pt: a torch checkpoint does not say how its module is built; name the callable that builds it, and the file as "
        "its weights: file.py:callable --weights net.pt",
    ),
    "inputs alone": (
        lambda: np.savez("w.npz", x=samples(2, 90)[0]),
        ["model.onnx", "--data", "w.npz", "--metric", "mse"],
        "so there is no mse to measure; an autoencoder's are its inputs: give (x, x); `--metric none` compares outputs only",
    ),
    "a percentage": (lambda: None, ["model.onnx", "--max-drop", "1"], "did you mean 0.01?"),
    "code without its function": (
        lambda: Path("data.py").write_text("def splits(): ..."),
        ["model.onnx", "--data", "data.py"],
        "--data data.py: name the function in it that gives the splits: data.py:splits",
    ),
    "code in the user's words": (
        lambda: Path("data.py").write_text("def splits(): return [1]"),
        ["model.onnx", "--data", "data.py:splits"],
        "data: data.py:splits() gave a list",
    ),
    "some keys turned round": (
        lambda: np.savez("w.npz", x_train=samples(2, 90)[0], x_test=samples(3, 40)[0], names=np.ones(3)),
        ["model.onnx", "--data", "w.npz"],
        "in an .npz the split comes first: train_x, not x_train",
    ),
    "a metric of nobody's": (
        lambda: None,
        ["model.onnx", "--metric", "{torchmetrics: MulticlassF1Scor}"],
        "did you mean 'MulticlassF1Score'?",
    ),
    "a metric that is no YAML": (lambda: None, ["model.onnx", "--metric", "{torchmetrics: "], "is no YAML: "),
    "a metric by its usual name": (
        lambda: None,
        ["model.onnx", "--metric", "iou"],
        "or file.py:function, or one of torchmetrics, '{torchmetrics: ",
    ),
    "no metric": (lambda: None, ["model.onnx", "--metric", "acuracy"], "did you mean 'accuracy'?"),
    "code without data": (
        lambda: Path("net.py").write_text("def net(): ..."),
        ["net.py:net"],
        "a torch model does not say what inputs it takes, so it needs --data",
    ),
    "code that raises": (
        lambda: Path("net.py").write_text("def net(): return 1 / 0"),
        ["net.py:net", "--data", "samples.npz"],
        "net.py:net() raised ZeroDivisionError: division by zero",
    ),
}


@pytest.mark.parametrize("verb", ["init", "try"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence(
    mistake: str, verb: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, arguments, sentence = MISTAKES[mistake]
    make()
    assert main([verb, *arguments, *(["--no-bench"] if verb == "init" else [])]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert ".weighbridge/" not in said
    assert not Path("cases").exists()
