"""Samples for vision models, made on the spot: crops of photographs, printed pages, lines of text, letters on photographs.

Each maker gives `n` samples that follow from `seed`: other seeds are other samples, of the same photographs and words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from measured import ROOT
from numpy.typing import NDArray
from PIL import Image, ImageDraw

sys.path.insert(0, str(ROOT / "cases" / "orientation"))
from model import _degrade, _font, _line, _render

Feed = dict[str, Any]
Samples = Callable[[Path, int, int], Iterator[Feed]]
"""Of the folder with the packages, how many, and a seed: feeds of a session, batch 1."""
Pixels = NDArray[np.float32]
"""[height, width, 3], from 0 to 255."""
Images = Callable[[Path, int, np.random.Generator], Iterator[Pixels]]
Scale = tuple[Any, Any]
"""What is taken from a pixel and what it is divided by then, the same for all channels or channel by channel."""

BYTES: Scale = (0.0, 1.0)
SHARE: Scale = (0.0, 255.0)
HALF: Scale = (127.5, 127.5)
IMAGENET: Scale = (255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225]))

DRAWINGS = {"phantom", "logo", "clock_motion", "chessboard_GRAY", "chessboard_RGB"}


def fed(name: str, images: Images, scale: Scale = SHARE, channels: slice = slice(None)) -> Samples:
    """`images` as float32 [1, channels, height, width]; `channels` picks or reverses them."""

    def make(site: Path, n: int, seed: int) -> Iterator[Feed]:
        less, by = scale
        for pixels in images(site, n, np.random.default_rng(seed)):
            scaled = ((pixels - less) / by)[..., channels]
            yield {name: np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)}

    return make


@cache
def photographs(site: Path) -> list[Image.Image]:
    files = sorted(path for path in (site / "skimage" / "data").glob("*.[jp][pn]g"))
    return [Image.open(path).convert("RGB") for path in files if path.stem not in DRAWINGS]


@cache
def faces(site: Path) -> list[Image.Image]:
    """Grey faces of 25 x 25 pixels; the second half of the file are none."""
    return [
        Image.fromarray((255 * face).astype(np.uint8))
        for face in np.load(site / "skimage" / "data" / "lfw_subset.npy")[:100]
    ]


def crops(height: int, width: int) -> Images:
    """Squares of photographs at random scale, flipped and lit at random."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        every = photographs(site)
        for index in range(n):
            photo = every[index % len(every)]
            side = int(min(photo.size) * random.uniform(0.4, 1))
            left, top = (int(random.integers(0, whole - side + 1)) for whole in photo.size)
            crop = photo.crop((left, top, left + side, top + side)).resize((width, height))
            pixels = np.asarray(crop, np.float32)
            pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
            yield np.clip(pixels * random.uniform(0.6, 1.2), 0, 255)

    return draw


def with_faces(height: int, width: int) -> Images:
    """Crops with some faces on them, since few photographs show any."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        every = faces(site)
        for pixels in crops(height, width)(site, n, random):
            image = Image.fromarray(pixels.astype(np.uint8))
            for _ in range(int(random.integers(1, 4))):
                side = int(random.uniform(0.2, 0.5) * height)
                face = every[int(random.integers(len(every)))].resize((side, side))
                image.paste(face, (int(random.integers(width - side)), int(random.integers(height - side))))
            yield np.asarray(image, np.float32)

    return draw


def with_letters(height: int, width: int) -> Images:
    """Crops with coloured letters on them, as captchas have."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        for pixels in crops(height, width)(site, n, random):
            image = Image.fromarray(pixels.astype(np.uint8))
            pen = ImageDraw.Draw(image)
            for _ in range(int(random.integers(2, 6))):
                at = tuple(int(random.integers(10, 0.8 * side)) for side in (width, height))
                ink = tuple(int(value) for value in random.integers(0, 255, 3))
                letter = chr(int(random.integers(ord("A"), ord("Z") + 1)))
                pen.text(at, letter, fill=ink, font=_font(int(random.integers(40, 90))))
            yield np.asarray(image, np.float32)

    return draw


def with_hole(height: int, width: int) -> Images:
    """Crops with a darkened square, as slider captchas have."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        for pixels in crops(height, width)(site, n, random):
            side = int(random.uniform(0.12, 0.2) * height)
            y, x = (int(random.integers(whole - side)) for whole in (height, width))
            pixels[y : y + side, x : x + side] *= random.uniform(0.3, 0.6)
            yield pixels

    return draw


def pages(height: int, width: int, turned: bool = False) -> Images:
    """The pages of `cases/orientation`, as from a camera; `turned`: by a quarter more each time."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        for index in range(n):
            page = _render(random).rotate(90 * (index % 4) if turned else 0, expand=True)
            image = Image.fromarray(_degrade(page, random)).convert("RGB")
            yield np.asarray(image.resize((width, height)), np.float32)

    return draw


def with_figures(height: int, width: int) -> Images:
    """Pages with one or two crops on them, as figures."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        figures = crops(height // 3, width // 3)(site, 2 * n, random)
        for pixels in pages(height, width)(site, n, random):
            page = pixels.copy()
            for _ in range(int(random.integers(1, 3))):
                y, x = (int(random.integers(whole - whole // 3)) for whole in (height, width))
                page[y : y + height // 3, x : x + width // 3] = next(figures)
            yield page

    return draw


def lines(height: int, width: int, turned: bool = False) -> Images:
    """One line of words, noisy; `turned`: every second one upside down."""

    def draw(site: Path, n: int, random: np.random.Generator) -> Iterator[Pixels]:
        for index in range(n):
            paper, ink = int(random.integers(180, 256)), int(random.integers(0, 100))
            image = Image.new("L", (width, height), paper)
            size = int(height * random.uniform(0.45, 0.8))
            at = (int(random.integers(2, 12)), int(random.integers(0, height - size)))
            text = _line(random, size, width * 1.1)
            ImageDraw.Draw(image).text(at, text, fill=ink, font=_font(size))
            if turned and index % 2:
                image = image.rotate(180)
            noise = random.uniform(0, 18) * random.standard_normal((height, width))
            grey = np.clip(np.asarray(image, np.float32) + noise, 0, 255)
            yield np.repeat(grey[..., None], 3, -1).astype(np.float32)

    return draw
