"""Mistakes that people made in their first hour: each is met in pytest's own output, with the sentence that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load, save_file
from tests.projects import CASE, trained, write_project

MORE = """
made = net()


def sized(width): return net()
def smaller(): return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 96), nn.ReLU(), nn.Linear(96, 4))
def number(): return 3
def misspelt(): return {"tset": splits()["test"]}
def from_one(): return {"test": (splits()["test"][0], splits()["test"][1] + 1)}
def cut(): return {"test": (splits()["test"][0][:, :15], splits()["test"][1])}
"""
MISTAKES = {
    "a module and no function": (
        "model.py:net",
        "model.py:made",
        "model.py:made is a module; name a function that builds one",
    ),
    "a function with an argument": (
        "model.py:net",
        "model.py:sized",
        "model.py:sized takes width, and is called without",
    ),
    "what is no module": (
        "model.py:net",
        "model.py:number",
        "model.py:number() gave a int, not a torch.nn.Module",
    ),
    "a misspelt function": ("model.py:net", "model.py:nett", "model.py has no 'nett'; did you mean 'net'?"),
    "code that raises": (
        "model.py:net",
        "model.py:broken",
        "model.py:broken() raised RuntimeError: no such luck",
    ),
    "another network's weights": (
        "model.py:net",
        "model.py:smaller",
        "does not fit the module: 0.weight is [96, 16] there and [32, 16] in the module; 0.bias is [96] there",
    ),
    "weights of a wrapped module": (
        "net.safetensors",
        "ddp.safetensors",
        "does not fit the module: its names begin with 'module.'; DataParallel and DistributedDataParallel put it there",
    ),
    "a misspelt file": (
        "net.safetensors",
        "nett.safetensors",
        "nett.safetensors; did you mean 'net.safetensors'?",
    ),
    "a misspelt split": (
        "model.py:splits",
        "model.py:misspelt",
        "the data has no split 'test'; did you mean 'tset'?",
    ),
    "labels that count from 1": (
        "model.py:splits",
        "model.py:from_one",
        "the targets run from 1 to 4, and the model has 4",
    ),
    "inputs of another shape": (
        "model.py:splits",
        "model.py:cut",
        "does not run on input 0 float32 [64, 15]",
    ),
    "points for a fraction": ("accuracy_drop: 0.02", "accuracy_drop: 2", "did you mean 0.02 (2 %)?"),
    "a quarter of the size for four times smaller": ("size_ratio: 0.9", "size_ratio: 0.25", "did you mean 4"),
    "a misspelt threshold": (
        "size_ratio",
        "size_ration",
        "unknown threshold 'size_ration'; did you mean 'size_ratio'?",
    ),
    "an option that is another step's": ("amount: 0.5", "epochs: 2", "unknown key 'epochs'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_sentence(mistake: str, pytester: pytest.Pytester) -> None:
    before, after, sentence = MISTAKES[mistake]
    assert before in CASE
    cases = write_project(pytester.path)
    (cases / "model.py").write_text((cases / "model.py").read_text() + MORE)
    save_file({f"module.{name}": value for name, value in load(trained()).items()}, cases / "ddp.safetensors")
    (cases / "net.yaml").write_text(CASE.replace(before, after))
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = result.stdout.str().partition("= weighbridge =")[2].partition("= short test summary")[0]
    flat = " ".join(told.split())
    assert flat.count(sentence) == 1, told
    assert "Traceback" not in result.stdout.str()
    assert Path(cases).name in told  # where it stands
