"""What each release of ONNX Runtime opens: `major.minor` -> the highest opset of ai.onnx, the highest IR version.

Each was asked with files of every opset and IR version (wheels of PyPI for Python 3.11, CPU provider). The oldest opset
that all of them serve is 7.
"""

from __future__ import annotations

LATEST = {
    "1.15": (19, 9),
    "1.16": (19, 9),
    "1.17": (20, 9),
    "1.18": (21, 10),
    "1.19": (21, 10),
    "1.20": (21, 10),
    "1.21": (22, 10),
    "1.22": (22, 10),
    "1.23": (23, 11),
    "1.24": (25, 13),
    "1.25": (26, 13),
    "1.26": (26, 13),
    "1.27": (26, 13),
    "1.28": (26, 13),
    "1.29": (26, 13),
    "1.30": (26, 13),
    "1.31": (26, 13),
    "1.32": (28, 14),
}
