"""A record is what was checked: each kind of tampering with it, its artifact or its budget is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import onnx
import pytest
from audited import LIMITS, Audited, keys

from weighbridge.audit.record import PREDICATE, STATEMENT, recorded_verdicts
from weighbridge.audit.run import OVER, UNREADABLE, WITHIN
from weighbridge.cli.main import main


def test_it_is_an_in_toto_statement_with_all_that_decided(plain: Audited) -> None:
    statement = plain.statement()
    predicate = statement["predicate"]
    assert (statement["_type"], statement["predicateType"]) == (STATEMENT, PREDICATE)
    assert [subject["name"] for subject in statement["subject"]] == ["net.onnx"]
    assert len(statement["subject"][0]["digest"]["sha256"]) == 64
    assert predicate["budget"]["name"] == "budget.yaml"
    assert predicate["versions"]["python"]
    assert predicate["machine"]["cores"]
    (row,) = predicate["results"]
    assert [(one["threshold"], one["status"]) for one in row["verdicts"]] == [
        (name, "pass") for name in LIMITS
    ]
    assert row["measurements"]["size"]["candidate"] == plain.artifact.stat().st_size
    assert str(plain.folder) not in plain.record.read_text()


def test_what_is_untouched_is_good(plain: Audited, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert plain.verify("--budget", plain.budget) == WITHIN
    other = Audited(tmp_path_factory.mktemp("signed"), signed=True)
    assert other.verify("--budget", other.budget, key=True) == WITHIN
    assert other.verify(key=False) == WITHIN


def test_what_was_recorded_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audited = Audited(tmp_path, signed=False, spoil="size")
    assert audited.verify() == OVER  # the record is good; what it records is not
    assert audited.verify("--allow-breach") == WITHIN
    assert "recorded of net.onnx: size fail" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "said"),
    [("error", "error, nothing was decided"), ("pass", "kept all 0 lines of the budget")],
)
def test_a_result_without_verdicts_is_no_kept_budget(status: str, said: str) -> None:
    row = {"name": "model.onnx", "status": status, "verdicts": []}
    assert recorded_verdicts({"predicate": {"results": [row]}}) == [f"recorded of model.onnx: {said}"]


def test_an_altered_artifact_is_refused(plain: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(plain.artifact.read_bytes())
    content[-1] ^= 1
    plain.artifact.write_bytes(content)
    assert plain.verify() == OVER
    assert "refused: net.onnx is not the file that was audited" in capsys.readouterr().err


def test_altered_external_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    audited = Audited(tmp_path, signed=False)
    onnx.save(
        networks.Network().model(),
        audited.artifact,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    main(
        ["audit", str(audited.artifact), "--budget", str(audited.budget), "--out", str(tmp_path / "reports")]
    )
    assert {subject["name"] for subject in audited.statement()["subject"]} == {"net.onnx", "w.bin"}
    assert audited.verify("--allow-breach") == WITHIN
    data = tmp_path / "w.bin"
    data.write_bytes(data.read_bytes()[:-1] + b"\x7f")
    assert audited.verify() == OVER
    data.unlink()
    capsys.readouterr()
    assert audited.verify("--allow-breach") == OVER
    assert "refused: w.bin, which belongs to net.onnx, is missing" in capsys.readouterr().err


def test_the_weights_of_one_audited_file_beside_the_graph_of_another_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of the two files is in the record, and the model that they are together was never looked at."""

    for name, spoil in (("one", ""), ("other", "accuracy"), ("mixed", "")):
        (tmp_path / name).mkdir()
        model = networks.Network(spoil).model()
        model.producer_version = spoil
        place = tmp_path / name / "net.onnx"
        onnx.save(model, place, save_as_external_data=True, location="w.bin", size_threshold=0)
    files = [str(tmp_path / name / "net.onnx") for name in ("one", "other")]
    (tmp_path / "mixed" / "w.bin").write_bytes((tmp_path / "other" / "w.bin").read_bytes())
    budget, record = str(networks.budget(tmp_path, {"size": "20 kB"})), str(tmp_path / "audit.intoto.json")
    assert main(["audit", *files, "--budget", budget, "--record", record, "--out", str(tmp_path)]) == WITHIN
    for several in (files, files[:1], files[1:]):
        assert main(["verify", record, *several]) == WITHIN
    assert main(["verify", record, str(tmp_path / "mixed" / "net.onnx")]) == OVER
    assert "net.onnx and w.bin were each audited, and not together" in capsys.readouterr().err


@pytest.mark.parametrize("put_back", [False, True])
def test_a_file_that_is_exchanged_while_it_is_audited_gets_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], put_back: bool
) -> None:
    from weighbridge.run.weighing import Scales

    measure = Scales.measure

    def exchange(scales: Scales, name: str) -> Any:
        path = tmp_path / "net.onnx"
        kept = path.read_bytes()
        networks.write(tmp_path, "size")
        try:
            return measure(scales, name)
        finally:
            if put_back:
                path.write_bytes(kept)

    monkeypatch.setattr(Scales, "measure", exchange)
    audited = Audited(tmp_path, signed=False)
    assert audited.code == UNREADABLE
    assert not audited.record.exists()
    assert "net.onnx was changed while it was audited" in capsys.readouterr().err


def test_a_budget_that_is_exchanged_once_it_was_read_gets_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from weighbridge.audit import budget

    read = budget.read_budget

    def exchange(path: Path, *rest: Any) -> Any:
        cases = read(path, *rest)
        path.write_text("thresholds: {size: 1 B}\n")
        return cases

    monkeypatch.setattr(budget, "read_budget", exchange)
    audited = Audited(tmp_path, signed=False)
    assert audited.code == UNREADABLE
    assert not audited.record.exists()
    assert "was changed while it was audited" in capsys.readouterr().err


def test_another_artifact_or_budget_is_refused(plain: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    other = networks.write(plain.folder, name="other.onnx")
    assert main(["verify", str(plain.record), str(other)]) == OVER
    assert "is not in the record" in capsys.readouterr().err
    plain.budget.write_text(plain.budget.read_text().replace("13 kB", "14 kB"))
    assert plain.verify("--budget", plain.budget) == OVER
    assert "is not the budget of the record" in capsys.readouterr().err


def pretend_smaller(statement: dict[str, Any]) -> None:
    statement["predicate"]["results"][0]["measurements"]["size"]["candidate"] = 1


def pretend_kept(statement: dict[str, Any]) -> None:
    statement["predicate"]["results"][0]["verdicts"][0]["status"] = "pass"


def pretend_machine(statement: dict[str, Any]) -> None:
    statement["predicate"]["machine"]["cpu"] = "another"


def pretend_budget(statement: dict[str, Any]) -> None:
    statement["predicate"]["budget"]["digest"]["sha256"] = "0" * 64


def pretend_subject(statement: dict[str, Any]) -> None:
    statement["subject"][0]["name"] = "other.onnx"


ALTERATIONS = (pretend_smaller, pretend_kept, pretend_machine, pretend_budget, pretend_subject)


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_an_altered_record_is_refused(tmp_path: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    audited = Audited(tmp_path, signed=False, spoil="size")
    assert audited.code == OVER
    statement = audited.statement()
    alter(statement)
    audited.replace(statement, mended=False)
    assert audited.verify() == OVER


@pytest.mark.parametrize(
    "alter", [*ALTERATIONS, lambda statement: statement["subject"][0].update(name="net.onnx ")]
)
def test_a_signed_record_is_refused_even_with_its_checksum_mended(
    tmp_path: Path, alter: Callable[[dict[str, Any]], None]
) -> None:
    audited = Audited(tmp_path, signed=True, spoil="size")
    statement = audited.statement()
    alter(statement)
    audited.replace(statement)
    assert audited.verify(key=True) == OVER


def test_a_key_that_did_not_sign_is_refused(signed: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    _, stranger = keys(signed.folder, "stranger")
    assert signed.verify("--key", stranger) == OVER
    assert "signed by somebody else" in capsys.readouterr().err


def test_a_signature_that_was_taken_off_or_broken_is_refused(signed: Audited) -> None:
    whole = signed.envelope
    for broken in (
        signed.statement(),
        {**whole, "signatures": []},
        {**whole, "signatures": [{**whole["signatures"][0], "sig": "AAAA"}]},
        {**whole, "signatures": [{**whole["signatures"][0], "sig": "no base64"}]},
        {**whole, "payloadType": "text/plain"},
        {**whole, "payload": "no base64"},
        {key: value for key, value in whole.items() if key != "payload"},
    ):
        signed.record.write_text(json.dumps(broken))
        assert signed.verify(key=True) == OVER


def test_the_signature_covers_the_type_of_the_payload(signed: Audited) -> None:
    """DSSE signs type and lengths with the payload, so that a signature on other data cannot be moved here."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    envelope = signed.envelope
    bare = load_pem_private_key(signed.private.read_bytes(), None).sign(base64.b64decode(envelope["payload"]))  # type: ignore[union-attr,call-arg]
    envelope["signatures"][0]["sig"] = base64.b64encode(bare).decode()
    signed.record.write_text(json.dumps(envelope))
    assert signed.verify(key=True) == OVER


@pytest.mark.parametrize(
    "path",
    [
        "subject",
        "subject.0.name",
        "subject.0.digest",
        "predicate.budget",
        "predicate.results.0.verdicts",
        "predicate",
    ],
)
def test_a_record_that_lacks_a_part_is_refused(plain: Audited, path: str) -> None:
    """Unsigned, with a checksum that fits: it must still not pass, nor end in a traceback."""
    statement = plain.statement()
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner: Any = statement
    for part in parents:
        inner = inner[part]
    del inner[last]
    plain.replace(statement, mended=path != "predicate")
    assert plain.verify("--budget", plain.budget) == OVER


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"_type": 1}', b'{"payload": 1}', b"null"]
)
def test_what_is_no_record_is_never_good(plain: Audited, content: bytes) -> None:
    plain.record.write_bytes(content)
    assert plain.verify() in (OVER, UNREADABLE)


def test_wrong_use(signed: Audited) -> None:
    assert signed.verify("--rerun") == UNREADABLE
    assert signed.verify("--key", signed.budget) == UNREADABLE
    assert signed.verify("--key", signed.folder / "gone.pem") == UNREADABLE
    assert (
        main(["audit", str(signed.artifact), "--budget", str(signed.budget), "--key", str(signed.budget)])
        == UNREADABLE
    )
