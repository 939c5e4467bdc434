"""Signatures of artifacts in OpenSSF's format, which its own `model_signing` command and others verify.

Source: https://github.com/ossf/model-signing-spec. The `model-signing` package does the signing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weighbridge.audit.sign import Refused
from weighbridge.core.errors import UsageError
from weighbridge.core.files import file_digest, is_file
from weighbridge.environment.extras import MODEL_SIGNING, load
from weighbridge.report.judged import unjudged
from weighbridge.run.manifest import NAME

SIGNATURE = "model.sig"
BASELINE = "baseline"


def sign_artifact(row: Mapping[str, Any], root: Path, key: Path) -> Path:
    """Sign the artifact of a row with its manifest; gives the signature, which lies beside them.

    `key` is an unencrypted PEM private key on one of NIST's curves. What was judged is signed and nothing else: raises
    `Refused` where the case did not pass, the files are not those that were judged, or others lie beside them; `UsageError`
    for a wrong key and where nothing was laid out; `Unavailable` without the package.
    """
    signing, hashing = (
        load(MODEL_SIGNING, "model_signing.signing"),
        load(MODEL_SIGNING, "model_signing.hashing"),
    )
    folder = _checked(row, root)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key)
    except OSError as error:
        raise UsageError(f"{key} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{key} is no unencrypted private key on NIST's curves ({error}); make one: openssl genpkey -algorithm EC "
            "-pkeyopt ec_paramgen_curve:P-256 -out key.pem"
        ) from error
    path = folder / SIGNATURE
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise Refused(
            f"{row['case']}: {path} is a link or a folder, and no signature is written there; remove it"
        )
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE, BASELINE])).sign(
        folder, path
    )
    return path


def _checked(row: Mapping[str, Any], root: Path) -> Path:
    """The folder of what was judged."""
    case, candidate = row["case"], row["artifacts"]["candidate"]
    if row["status"] != "pass" or candidate is None:
        raise Refused(f"{case}: {row['status']}; only what passed its gate is signed")
    if left := unjudged(row):
        raise Refused(
            f"{case}: the run did not judge {', '.join(left)}; only what passed all of its gate is signed: run it without -k, "
            "and with --bench where a limit is of speed"
        )
    judged: dict[Path, str] = {root / file["path"]: file["sha256"] for file in candidate["files"]}
    folder = next((place for path in judged for place in path.parents if is_file(place / NAME)), None)
    if folder is None:
        raise UsageError(
            f"{case}: no artifact was laid out with a {NAME}; run the case again, where pytest was run"
        )
    for path, digest in judged.items():
        if not is_file(path) or file_digest(path) != digest:
            raise Refused(f"{case}: {path.name} is not the file that was judged; run the case again")
    if file_digest(folder / NAME) != candidate.get("manifest"):
        raise Refused(f"{case}: {folder / NAME} is not the manifest that the run wrote; run the case again")
    if links := sorted(path for path in _signed(folder) if path.is_symlink()):
        raise Refused(f"{case}: {links[0]} is a link, which no signature speaks of; put the file there")
    if stray := sorted(set(_signed(folder)) - {*judged, folder / NAME}):
        raise Refused(f"{case}: {stray[0]} belongs to no artifact that was judged; remove it")
    return folder


def _signed(folder: Path) -> Iterator[Path]:
    """Every file that a signature of the folder speaks of, and every link that lies there."""
    for path in folder.rglob("*"):
        if path.relative_to(folder).parts[0] in (BASELINE, SIGNATURE):
            continue
        if path.is_symlink() or not path.is_dir():
            yield path
