"""The skips that `--no-skips` lets through: a part of the test's name, a part of its reason, and why it may be."""

from __future__ import annotations

from typing import NamedTuple


class Allowed(NamedTuple):
    test: str
    reason: str
    why: str


ALLOWED = (
    Allowed(
        "tests/case/test_faults.py::test_a_file_that_may_not_be_read",
        "root reads every file",
        "a container runs its tests as root",
    ),
    Allowed(
        "tests/litert/test_without_extras.py::",
        "TensorFlow is installed here",
        "`make test` runs it; beside TensorFlow there is nothing to miss",
    ),
    Allowed(
        "tests/litert/test_torch_to_tflite.py",
        "weighbridge[litert-torch]",
        "`make test` runs it; litert-torch and TensorFlow want different versions of their parts",
    ),
    Allowed(
        "tests/audit/test_model_signature.py",
        "weighbridge[model-signing]",
        "`make test-signing` runs it, in an environment of its own: sigstore wants other versions than litert-torch",
    ),
)


def is_allowed(test: str, reason: str, more: list[str]) -> bool:
    """Whether a skip of `test` for `reason` is in the list, or the reason holds one of the texts in `more`."""
    return any(entry.test in test and entry.reason in reason for entry in ALLOWED) or any(
        text in reason for text in more
    )
