"""The report writer, and its signatures by the real ssh-keygen."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess

import pytest
from systems import needs_signals

from xnatctl.api import Refused, ReportWriterContext, Status, UsageError, VerificationFailed
from xnatctl.testing.contracts import ReportWriterContract
from xnatctl.testing.contracts.report_writer import _finished, _request
from xnatctl_receipt.chain import write_chain
from xnatctl_receipt.contents import public_reason
from xnatctl_receipt.file import read_receipt
from xnatctl_receipt.plugin import xnatctl_report_writers
from xnatctl_receipt.saving import save
from xnatctl_receipt.signing import check_signature, sign
from xnatctl_receipt.writer import ReceiptWriter

(SPEC,) = xnatctl_report_writers()


class TestReceipts(ReportWriterContract):
    spec = SPEC
    failing = {"receipt": "/no/such/folder/r.json"}

    def options_for(self, directory):
        return {"receipt": str(directory / "r.html"), "receipt_paths": True}


class TestJson(ReportWriterContract):
    spec = SPEC

    def options_for(self, directory):
        return {"receipt": str(directory / "r.json")}


def writer(path, *, request=None, paths=False, key=None):
    options = {"receipt": None if path is None else str(path), "receipt_paths": paths, "receipt_sign": key}
    return ReceiptWriter(ReportWriterContext(request=request or _request("exam"), options=options))


def write(path, upload, **more):
    made = writer(path, **more)
    made.check()
    return made.write(upload)


@pytest.fixture
def finished(tmp_path):
    def make(status=Status.COMPLETE):
        folder = tmp_path / str(status)
        folder.mkdir(exist_ok=True)
        return _finished(folder, status)

    return make


def test_what_a_receipt_says(tmp_path, finished):
    upload = finished()
    assert write(tmp_path / "r.json", upload) == str(tmp_path / "r.json")
    found = read_receipt(tmp_path / "r.json")
    assert found.problems == []
    header = found.header
    assert (header["status"], header["exit_code"], header["user"]) == ("complete", 0, "alice")
    assert header["asked"]["session"] == "E"
    assert [(row["expected"], row["found"]) for row in header["series"]] == [(2, 2), (2, 2)]
    by_uid = {item.sop_instance_uid: item for item in upload.plans[0].items}
    assert {entry["sop_instance_uid"] for entry in found.entries} == set(by_uid)
    for entry in found.entries:
        assert entry["sha256"] == upload.digest_of(by_uid[entry["sop_instance_uid"]])


def test_no_name_of_a_file_by_default(tmp_path, finished):
    upload = finished(Status.PARTIAL)
    names = {item.path for item in upload.plans[0].items} | {entry.path for entry in upload.report.excluded}
    names |= {name.rpartition("/")[2] for name in names} | {str(tmp_path), upload.plans[0].root}
    for suffix in ("json", "html"):
        write(tmp_path / f"r.{suffix}", upload)
        text = (tmp_path / f"r.{suffix}").read_text()
        # The files of the exam are named by UIDs, which a receipt has.
        shown = [name for name in names if name in text and not name.startswith("2.25.")]
        assert shown == []
    write(tmp_path / "p.json", upload, paths=True)
    found = read_receipt(tmp_path / "p.json")
    assert {entry["path"] for entry in found.entries} == {item.path for item in upload.report.items}


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("duplicate of Doe^John/1.dcm", "duplicate"),
        ("damaged: Doe ends early", "damaged"),
        ("symbolic link to ../Doe", "symbolic link"),
        ("has the SOP Instance UID of Doe/1, in another series; move it", "has the SOP Instance UID"),
        ("not DICOM", "not DICOM"),
        ("Doe.dcm cannot be read", "other"),
    ],
)
def test_reasons_without_names(reason, shown):
    assert public_reason(reason, "a/Doe.dcm") == shown


def test_a_failed_upload_never_looks_complete(tmp_path, finished):
    for status in (Status.PARTIAL, Status.FAILED, Status.INTERRUPTED):
        place = tmp_path / f"{status}.html"
        write(place, finished(status))
        assert 'class="status complete"' not in place.read_text()
        assert "This is no proof that the upload is complete." in place.read_text()
        assert read_receipt(place).header["exit_code"] != 0


def test_a_complete_receipt_is_never_replaced(tmp_path, finished):
    place = tmp_path / "r.json"
    write(place, finished())
    (tmp_path / "r-2.json").touch()
    with pytest.raises(Refused, match="receipt of a complete upload") as refused:
        writer(place).check()
    assert refused.value.hint == f"Use another name: --receipt {tmp_path / 'r-3.json'}"


def test_the_receipt_of_an_unfinished_run_is_replaced_and_remembered(tmp_path, finished):
    place = tmp_path / "r.json"
    write(place, finished(Status.INTERRUPTED))
    first = read_receipt(place)
    write(place, finished(Status.PARTIAL))
    second = read_receipt(place)
    write(place, finished())
    runs = read_receipt(place).header["earlier"]
    assert [(run["head"], run["status"]) for run in runs] == [(first.head, "interrupted"), (second.head, "partial")]


def test_other_files_are_never_replaced(tmp_path, finished):
    place = tmp_path / "r.json"
    write(place, finished(Status.PARTIAL))
    request = _request("exam")
    other = dataclasses.replace(request, destination=dataclasses.replace(request.destination, session="other"))
    with pytest.raises(Refused, match="receipt of another upload"):
        writer(place, request=other).check()
    place.write_bytes(place.read_bytes().replace(b'"partial"', b'"Partial"'))
    with pytest.raises(Refused, match="receipt that was changed"):
        writer(place).check()
    place.write_text("{}")
    with pytest.raises(Refused, match="is not a receipt"):
        writer(place).check()
    place.unlink()
    (tmp_path / "r.json.sig").touch()
    with pytest.raises(Refused, match="would not belong to the new receipt"):
        writer(place).check()


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, finished):
    place = tmp_path / "r.json"
    made = writer(place)
    made.check()
    place.write_text("of somebody else")
    assert made.write(finished()) == str(tmp_path / "r-2.json")
    assert place.read_text() == "of somebody else"
    assert sorted(path.name for path in tmp_path.glob("*r*.json*")) == ["r-2.json", "r.json"]


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.PARTIAL])
def test_a_receipt_that_another_run_writes_meanwhile_is_kept(tmp_path, finished, status):
    """Two runs of one upload replace the same unfinished receipt: the later one takes another name."""
    place = tmp_path / "r.json"
    write(place, finished(Status.INTERRUPTED))
    made = writer(place)
    made.check()
    write(place, finished(status))
    (tmp_path / "r.json.sig").touch()
    kept = place.read_bytes()
    assert made.write(finished()) == str(tmp_path / "r-2.json")
    assert place.read_bytes() == kept
    assert (tmp_path / "r.json.sig").exists()


def test_a_receipt_that_somebody_wrote_by_hand_is_never_replaced(tmp_path, finished):
    place = tmp_path / "r.json"
    write(place, finished(Status.PARTIAL))
    for name in ("status", "earlier", "started", "asked"):
        header = {key: value for key, value in read_receipt(place).header.items() if key != name}
        hand = tmp_path / f"{name}.json"
        hand.write_bytes(write_chain({**header, "entries": 0}, [])[0])
        with pytest.raises(Refused, match="receipt that was changed"):
            writer(hand).check()


def test_what_is_refused_before_the_first_byte(tmp_path):
    for name in ("r.txt", "r", "r.json.gz"):
        with pytest.raises(UsageError, match=r"ends neither in \.json nor in \.html"):
            writer(tmp_path / name).check()
    with pytest.raises(UsageError, match="Cannot write the receipt"):
        writer(tmp_path / "no" / "r.json").check()
    with pytest.raises(UsageError, match="--receipt-paths requires --receipt"):
        writer(None, paths=True)
    with pytest.raises(UsageError, match="--receipt-sign requires --receipt"):
        writer(None, key="k")


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "r.json", b"x", replaces=False)
    assert list(tmp_path.iterdir()) == []


# signatures


@pytest.fixture
def keys(tmp_path):
    if shutil.which("ssh-keygen") is None:
        if os.environ.get("CI"):
            pytest.fail("ssh-keygen is not installed (openssh-client)")
        pytest.skip("ssh-keygen is not installed")
    for name in ("alice", "mallory"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", tmp_path / name]
        subprocess.run(command, check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"alice@lab {(tmp_path / 'alice.pub').read_text()}")
    return tmp_path


def test_a_signature(keys, finished):
    place = keys / "r.json"
    write(place, finished(), key=str(keys / "alice"))
    data, signature, signers = place.read_bytes(), keys / "r.json.sig", str(keys / "signers")
    assert check_signature(data, signature, signers, None) == "alice@lab"
    assert check_signature(data, signature, signers, "alice@lab") == "alice@lab"
    with pytest.raises(VerificationFailed, match="not one of bob@lab"):
        check_signature(data, signature, signers, "bob@lab")
    with pytest.raises(VerificationFailed, match="not one of alice@lab for this receipt"):
        check_signature(data + b" ", signature, signers, None)
    signature.write_bytes(sign(data, str(keys / "mallory")))
    with pytest.raises(VerificationFailed, match="not that of an allowed signer"):
        check_signature(data, signature, signers, None)


@needs_signals
def test_a_key_of_an_agent(keys, monkeypatch):
    agent = subprocess.run(["ssh-agent", "-s", "-a", keys / "agent"], capture_output=True, text=True, check=True)
    pid = agent.stdout.split("SSH_AGENT_PID=")[1].split(";")[0]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(keys / "agent"))
    try:
        subprocess.run(["ssh-add", "-q", keys / "alice"], check=True)
        (keys / "alice").unlink()
        (keys / "x.sig").write_bytes(sign(b"x", str(keys / "alice.pub")))
    finally:
        os.kill(int(pid), 15)
    assert check_signature(b"x", keys / "x.sig", str(keys / "signers"), None) == "alice@lab"


def test_a_replaced_receipt_does_not_keep_the_old_signature(keys, finished):
    write(keys / "r.json", finished(Status.PARTIAL), key=str(keys / "alice"))
    write(keys / "r.json", finished())
    assert not (keys / "r.json.sig").exists()


def test_keys_that_cannot_sign(keys, monkeypatch):
    with pytest.raises(UsageError, match="There is no SSH key"):
        writer(keys / "r.json", key=str(keys / "nobody")).check()
    (keys / "signers").chmod(0o600)
    with pytest.raises(UsageError, match="cannot sign"):
        writer(keys / "r.json", key=str(keys / "signers")).check()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="ssh-keygen is not installed") as missing:
        writer(keys / "r.json", key=str(keys / "alice")).check()
    assert "openssh-client" in missing.value.hint
