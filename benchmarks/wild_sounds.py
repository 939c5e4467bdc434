"""Samples for audio models and for a classifier of files: synthetic voices and notes, files of this Python."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wild_images import Feed, Samples

Wave = NDArray[np.float32]
"""[length], from -1 to 1."""


def heard(feed: Callable[[Wave], Feed], length: int, rate: int = 16000) -> Samples:
    """`feed` of a voice's wave."""

    def make(site: Path, n: int, seed: int) -> Iterator[Feed]:
        random = np.random.default_rng(seed)
        return (feed(voice(random, length, rate)) for _ in range(n))

    return make


def voice(random: np.random.Generator, length: int, rate: int) -> Wave:
    """Syllables of a gliding pitch through three formants, with pauses between, in noise of some loudness."""
    out, at, pitch = np.zeros(length), 0, random.uniform(80, 240)
    while at < length:
        size = int(rate * random.uniform(0.06, 0.3))
        if random.random() < 0.7:
            end = min(length, at + size)
            out[at:end] += _syllable(random, size, pitch, rate)[: end - at] * random.uniform(0.2, 0.9)
        at += size if random.random() < 0.8 else size * 4
    out += random.choice([0.001, 0.01, 0.05, 0.2]) * random.standard_normal(length)
    return np.clip(out, -1, 1).astype(np.float32)


def _syllable(random: np.random.Generator, size: int, pitch: float, rate: int) -> NDArray[np.float64]:
    """Shape [size], its loudest sample 1."""
    from scipy.signal import lfilter

    time = np.arange(size) / rate
    glide = 1 + 0.15 * np.sin(2 * np.pi * random.uniform(1, 4) * time + random.uniform(0, 6))
    pulses = np.diff(np.floor(np.cumsum(pitch * glide) / rate), prepend=0)
    sound = pulses + 0.02 * random.standard_normal(size)
    for low, high, band in ((300, 850, 80), (900, 2300, 120), (2400, 3200, 160)):
        radius, angle = np.exp(-np.pi * band / rate), 2 * np.pi * random.uniform(low, high) / rate
        sound = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], sound)
    sound *= np.hanning(size)
    return np.asarray(sound / (np.abs(sound).max() + 1e-9))


def notes(name: str, length: int, rate: int = 22050) -> Samples:
    """Two to eleven plucked notes of the tempered scale: float32 [1, length, 1]."""

    def make(site: Path, n: int, seed: int) -> Iterator[Feed]:
        random = np.random.default_rng(seed)
        for _ in range(n):
            out = 0.002 * random.standard_normal(length)
            for _ in range(int(random.integers(2, 12))):
                frequency = 440 * 2 ** ((int(random.integers(30, 90)) - 69) / 12)
                start = int(random.integers(0, length - 1000))
                time = np.arange(length - start) / rate
                audible = [k for k in range(1, 7) if frequency * k < rate / 2]
                tone = sum(0.7**k * np.sin(2 * np.pi * frequency * k * time) for k in audible)
                out[start:] += tone * np.exp(-time * random.uniform(1, 6)) * random.uniform(0.02, 0.12)
            yield {name: np.clip(out, -1, 1).astype(np.float32)[None, :, None]}

    return make


def power(wave: Wave, window: int, size: int, hop: int) -> NDArray[np.float64]:
    """Power of the spectrum, [frames, size // 2 + 1], under the root of Hann's window."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop]
    return np.asarray(np.abs(np.fft.rfft(frames * np.sqrt(np.hanning(window)), size)) ** 2)


def mel_decibels(wave: Wave, bands: int = 120, frames: int = 900, rate: int = 16000) -> Wave:
    """As DNSMOS P.808 is fed: mel bands in decibels below the loudest, plus 40, by 40: [frames, bands]."""
    size, hop = 321, 160
    spectrum = power(np.pad(wave, size // 2), size, size, hop)[:frames]
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, spectrum.shape[1])
    filters = [
        np.interp(frequencies, edges[band : band + 3], [0, 1, 0]) / (edges[band + 2] - edges[band])
        for band in range(bands)
    ]
    heights = np.maximum(spectrum @ np.array(filters).T, 1e-10)
    decibels = np.maximum(10 * np.log10(heights / heights.max()), -80)
    return np.asarray((decibels + 40) / 40, np.float32)


@cache
def _files(site: Path) -> dict[str, list[Path]]:
    """By suffix: the standard library and the packages in `site`. Only suffixes with several files of some length."""
    found: dict[str, list[Path]] = {}
    for root in (Path(sysconfig.get_path("stdlib")), site):
        for path in sorted(root.rglob("*")):
            if "site-packages" not in path.parts and path.is_file() and path.stat().st_size > 64:
                found.setdefault(path.suffix, []).append(path)
    return {suffix: paths for suffix, paths in sorted(found.items()) if len(paths) > 3}


def files(name: str) -> Samples:
    """Beginning and end of files, as Magika reads them: int32 [1, 2048], 256 where there is nothing.

    An even seed reads other files than an odd one: a file has only one beginning.
    """

    def make(site: Path, n: int, seed: int) -> Iterator[Feed]:
        random = np.random.default_rng(seed)
        kinds = [paths[seed % 2 :: 2] for paths in _files(site).values()]
        for _ in range(n):
            paths = kinds[int(random.integers(len(kinds)))]
            data = paths[int(random.integers(len(paths)))].read_bytes()
            both = np.full(2048, 256, np.int32)
            head, tail = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
            both[: len(head)] = np.frombuffer(head, np.uint8)
            both[2048 - len(tail) :] = np.frombuffer(tail, np.uint8)
            yield {name: both[None]}

    return make


def zeros(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """The state before the first step."""
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
