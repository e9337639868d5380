"""Files that are not as most are, and good all the same: they arrive like any other."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from xnatctl.testing import write_exam

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytestmark = pytest.mark.once

NAMES = ("-P", "DEMO", "-S", "subj", "-E", "e", "-o", "json")


def elements_of(path: Path) -> tuple[bytes, dict[int, bytes]]:
    """What precedes the data set of a file in explicit VR little endian, and its elements by tag."""
    data = path.read_bytes()
    place = 144 + struct.unpack_from("<I", data, 140)[0]
    start, found = data[:place], {}
    ds = pydicom.dcmread(io.BytesIO(data))
    for element in ds:
        one = pydicom.Dataset()
        one.add(element)
        out = pydicom.filebase.DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, False
        pydicom.filewriter.write_dataset(out, one)
        found[int(element.tag)] = out.getvalue()
    assert start + b"".join(found.values()) == data
    return start, found


def long_private(elements: dict[int, bytes]) -> list[bytes]:
    creator = b"\x09\0\x10\0LO\x04\0CASE"
    value = b"\x09\0\x01\x10OB\0\0" + struct.pack("<I", 9 << 20) + bytes(9 << 20)
    before = [data for tag, data in elements.items() if tag < 0x00090000]
    return [*before, creator, value, *(data for tag, data in elements.items() if tag > 0x00090000)]


def out_of_order(elements: dict[int, bytes]) -> list[bytes]:
    """The groups up to 0020 backwards."""
    head = [data for tag, data in elements.items() if tag < 0x00280000]
    return [*head[::-1], *(data for tag, data in elements.items() if tag > 0x00280000)]


def unknown_sequence(elements: dict[int, bytes]) -> list[bytes]:
    """A sequence of VR UN, its items in implicit VR (PS3.5 6.2.2)."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x09\0\x02\x11\x04\0\0\0text" + b"\xfe\xff\x0d\xe0\0\0\0\0"
    sequence = b"\x09\0\x03\x10UN\0\0\xff\xff\xff\xff" + 2 * item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    before = [data for tag, data in elements.items() if tag < 0x00090000]
    return [
        *before, b"\x09\0\x10\0LO\x04\0CASE", sequence, *(data for tag, data in elements.items() if tag > 0x00090000)
    ]  # fmt: skip


@pytest.fixture
def unusual(tmp_path: Path) -> Any:
    exam = write_exam(tmp_path / "exam", series=1, instances=4, seed=21, clutter=False)
    paths = [record.path for record in exam.instances.values()]
    for path, change in zip(paths, (long_private, out_of_order, unknown_sequence), strict=False):
        start, elements = elements_of(path)
        path.write_bytes(start + b"".join(change(elements)))
    return exam


def test_headers_that_are_long_or_in_disorder(xnatctl, sandbox, alice, unusual, digest, assert_exactly):
    done = xnatctl("session", "upload", unusual.directory, *NAMES, env=alice)
    assert done.code == 0, done.err
    expected = {uid: digest(record.path) for uid, record in unusual.instances.items()}
    assert_exactly(sandbox, expected, place="archive", label="e")


def test_times_that_no_64_bit_counter_of_nanoseconds_holds(
    xnatctl, sandbox, alice, tmp_path, assert_exactly, digest, attached
):
    """The years 2477 and -978 as far as the file system keeps them; ext4 has 2446 and 1901. Journals remember them."""
    exam = write_exam(tmp_path / "exam", series=1, instances=3, seed=22, clutter=False)
    (exam.directory / "Physio").mkdir()
    (exam.directory / "Physio" / "resp.log").write_text("1 2 3\n")
    packed = tmp_path / "exam.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for number, record in enumerate(exam.instances.values()):
            archive.write(record.path, f"I{number}")
    for number, path in enumerate(
        (packed, exam.directory / "Physio" / "resp.log", *(each.path for each in exam.instances.values()))
    ):
        os.utime(path, ns=(16 * 10**18, -93 * 10**18 if number % 2 else 16 * 10**18))
    for command in (
        ("session", "upload-exam", exam.directory, *NAMES),
        ("session", "upload", exam.directory, *NAMES),
        ("session", "upload", packed, *NAMES),
        ("session", "verify", exam.directory, *NAMES),
        ("resource", "upload", "-P", "DEMO", "e", "Notes", exam.directory / "Physio", "-o", "json"),
        ("upload", "status", "-o", "json"),
        ("upload", "resume", "DEMO/e", "-o", "json"),
    ):
        for _ in range(2):
            done = xnatctl(*command, env=alice)
            assert done.code == 0, (command, done.err)
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    log = {"resp.log": digest(exam.directory / "Physio" / "resp.log")}
    assert attached(sandbox) == {"Physio": log, "Notes": log}


def test_uids_that_one_session_cannot_take_keep_back_their_files_alone(xnatctl, sandbox, alice, tmp_path):
    """One UID in two series, and one with letters in it; what the report says to do helps."""
    exam = write_exam(tmp_path / "exam", series=2, instances=3, seed=23, naming=("plain",), clutter=False)
    first, letters, *_, twin = exam.instances.values()
    twin.path.write_bytes(twin.path.read_bytes().replace(value(twin.sop_instance_uid), value(first.sop_instance_uid)))
    uid = value(letters.sop_instance_uid)
    letters.path.write_bytes(letters.path.read_bytes().replace(uid, uid[:8] + b"abc" + uid[11:]))
    done = xnatctl("session", "upload", exam.directory, *NAMES, env=alice)
    assert done.code == 5, done.err
    reasons = {item["path"]: item["reason"] for item in done.document["items"] if item["outcome"] == "invalid"}
    twin_path, letters_path = (str(each.path.relative_to(exam.directory)) for each in (twin, letters))
    assert reasons.keys() == {twin_path, letters_path}
    assert "upload its series alone under another label" in reasons[twin_path]
    assert "malformed SOP Instance UID" in reasons[letters_path]
    kept_back = {twin.sop_instance_uid, letters.sop_instance_uid}
    assert {copy["sop_instance_uid"] for copy in sandbox.instances()} == exam.instances.keys() - kept_back
    letters.path.unlink()
    done = xnatctl("session", "upload", twin.path.parent, "-P", "DEMO", "-S", "subj", "-E", "f", env=alice)
    assert done.code == 0, done.err
    arrived = [copy for copy in sandbox.instances() if copy["session"] == "f"]
    assert len(arrived) == 3
    assert first.sop_instance_uid in {copy["sop_instance_uid"] for copy in arrived}


def value(uid: str) -> bytes:
    """As in a file; UIDs of one length stand in for each other."""
    return uid.encode() + b"\0" * (len(uid) % 2)
