"""Ed25519 signatures in a DSSE envelope. The `cryptography` package does the cryptography.

Sources: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md (the envelope and its
pre-authentication encoding), RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.core.errors import Unavailable, UsageError, WeighbridgeError
from weighbridge.core.files import read_regular

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Refused(WeighbridgeError):
    """A record, an artifact or a budget is not what was signed or recorded."""


def sign(payload: bytes, key: Path) -> dict[str, Any]:
    """The envelope around `payload`, signed with the private key in the PEM file `key`."""
    serialization, ed25519, _ = _cryptography()
    try:
        private = serialization.load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{key} is no unencrypted PEM private key: {error}") from error
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise UsageError(
            f"{key} is no Ed25519 key; make one: openssl genpkey -algorithm ed25519 -out key.pem"
        )
    signature = private.sign(_encoded(PAYLOAD_TYPE, payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(private.public_key()), "sig": base64.b64encode(signature).decode()}],
    }


def open_envelope(envelope: Mapping[str, Any], key: Path) -> bytes:
    """The payload, once a signature by the public key in the PEM file `key` is good; else `Refused`."""
    serialization, ed25519, invalid_signature = _cryptography()
    try:
        public = serialization.load_pem_public_key(_read(key))
    except ValueError as error:
        raise UsageError(f"{key} is no PEM public key: {error}") from error
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise UsageError(f"{key} is no Ed25519 key")
    payload = payload_of(envelope)
    for one in envelope["signatures"]:
        try:
            public.verify(base64.b64decode(one["sig"], validate=True), _encoded(PAYLOAD_TYPE, payload))
            return payload
        except (invalid_signature, binascii.Error):
            continue
    raise Refused(
        f"no signature is by {key} ({key_id(public)}): the record was altered, or signed by somebody else"
    )


def payload_of(envelope: Mapping[str, Any]) -> bytes:
    """The payload of an envelope, not verified; `Refused` where the envelope is not well formed."""
    try:
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise Refused(f"the record's payload is of type {envelope['payloadType']!r}, not {PAYLOAD_TYPE}")
        if not envelope["signatures"] or not all(
            isinstance(one["sig"], str) for one in envelope["signatures"]
        ):
            raise Refused("the record's envelope has no signature")
        return base64.b64decode(envelope["payload"], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise Refused(f"the record's envelope is damaged: {error!r}") from error


def key_id(public: Any) -> str:
    """The SHA-256 of the raw public key, in hexadecimal."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()


def _encoded(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed says its own type and lengths."""
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, 1 << 20)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _cryptography() -> tuple[Any, Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise Unavailable(
            "signatures need the cryptography package: pip install 'weighbridge[sign]'"
        ) from error
    return serialization, ed25519, InvalidSignature
