"""A network that was audited, its record, and how to alter that."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import networks

from weighbridge.audit.record import checksum
from weighbridge.cli.main import main

LIMITS: dict[str, object] = {"size": "13 kB", "nonzero": 1400, "parameters": 2460}


class Audited:
    """A network, a budget, keys, and the record of the audit."""

    def __init__(self, folder: Path, signed: bool, spoil: str = "") -> None:
        self.folder = folder
        self.artifact = networks.write(folder, spoil)
        self.budget = networks.budget(folder, LIMITS)
        self.private, self.public = keys(folder, "release")
        self.record = folder / "reports" / "audit.intoto.json"
        self.code = main(["audit", str(self.artifact), "--budget", str(self.budget), "--out", str(folder / "reports"),
                          *(["--key", str(self.private)] if signed else [])])  # fmt: skip

    def verify(self, *arguments: object, key: bool = False) -> int:
        chosen = ["--key", str(self.public)] if key else []
        return main(["verify", str(self.record), str(self.artifact), *chosen, *map(str, arguments)])

    @property
    def envelope(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.record.read_text())
        return found

    def statement(self) -> dict[str, Any]:
        outer = self.envelope
        found: dict[str, Any] = (
            json.loads(base64.b64decode(outer["payload"])) if "payload" in outer else outer
        )
        return found

    def replace(self, statement: dict[str, Any], mended: bool = True) -> None:
        """Put another statement into the record, with a checksum that fits it where `mended`."""
        if mended:
            statement["predicate"]["checksum"] = checksum(statement)
        outer = self.envelope
        if "payload" in outer:
            outer["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        self.record.write_text(json.dumps(outer if "payload" in outer else statement))


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A fresh pair, as openssl would write it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    public.write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))  # fmt: skip
    return private, public
