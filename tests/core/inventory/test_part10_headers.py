"""The own header reader against pydicom: every bundled sample, and thousands of mutants that must harm nobody."""

from __future__ import annotations

import os
import random
import time
import warnings
from pathlib import Path

import pytest

from xnatctl.inventory import part10
from xnatctl.inventory.part10 import Header, Unreadable, read_header

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")
SAMPLES = sorted(p for p in (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*") if p.is_file())
KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality")
MUTANTS = 20_000 if os.environ.get("XNATCTL_LAB") == "full" else 2000


def pydicom_says(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        values = [ds.get(keyword) for keyword in KEYWORDS]
    return tuple("" if value is None else str(value) for value in values), str(
        ds.file_meta.get("TransferSyntaxUID", "")
    )


def header_of_file(path):
    content = Path(path).read_bytes()
    return read_header(lambda count, offset=0: content[offset : offset + count], len(content))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
def test_every_sample_is_read_as_pydicom_reads_it(path):
    try:
        header = header_of_file(path)
    except Unreadable as problem:
        fields, _ = pydicom_says(path)
        if "truncated" in path.name:
            assert "before the end" in str(problem)
            return
        assert not all(fields[:4]), "what pydicom reads whole must not be called unreadable"
        return
    if header is None:
        if path.suffix == "" or path.suffix == ".dcm":
            fields, _ = pydicom_says(path)
            assert not all(fields[:4]), "what pydicom reads whole must not be passed over"
        return
    if header.is_directory:
        assert "DICOMDIR" in path.name
        return
    fields, syntax = pydicom_says(path)
    assert (
        header.sop_class_uid,
        header.sop_instance_uid,
        header.study_instance_uid,
        header.series_instance_uid,
        header.series_number,
        header.modality,
    ) == fields
    assert not syntax or header.transfer_syntax_uid == syntax


def test_enough_samples_were_there_to_mean_something():
    assert len([p for p in SAMPLES if isinstance(_quietly(p), Header)]) > 100


def _quietly(path):
    try:
        return header_of_file(path)
    except Unreadable:
        return None


def mutate(dice: random.Random, data: bytes) -> bytes:
    data = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        if not data:
            break
        place = dice.randrange(min(len(data), 1500))
        match dice.randrange(6):
            case 0:
                data[place] = dice.randrange(256)
            case 1:
                del data[place:]
            case 2:
                data[place : place + 4] = b"\xff\xff\xff\xff"
            case 3:
                data[place:place] = data[place : place + dice.randint(1, 64)]
            case 4:
                data[place : place + 2] = dice.choice([b"SQ", b"OB", b"UN", b"UI", b"\0\0"])
            case 5:
                data[place : place + 8] = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return bytes(data)


def test_mutants_neither_crash_nor_hang():
    """Thousands of mutants with a fixed seed; each is either read, not DICOM, or unreadable with a reason."""
    seeds = [p.read_bytes() for p in SAMPLES if p.stat().st_size < 200_000 and isinstance(_quietly(p), Header)]
    dice = random.Random(20240115)
    slowest = 0.0
    for _ in range(MUTANTS):
        data = mutate(dice, dice.choice(seeds))
        started = time.process_time()  # a busy machine is no hang
        try:
            found = read_header(lambda count, offset=0, data=data: data[offset : offset + count], len(data))
        except Unreadable as problem:
            assert str(problem)
        else:
            assert found is None or isinstance(found, Header)
        slowest = max(slowest, time.process_time() - started)
    assert slowest < 2, "the bound of a hang, not a measure of speed"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr + len(value).to_bytes(2, "little") + value


def test_a_uid_that_is_a_path_is_refused():
    uids = [(8, 0x16, b"1.2"), (8, 0x18, b"../../etc/passwd"), (0x20, 0x0D, b"1.2.3"), (0x20, 0x0E, b"1.2.3.4")]
    data = bytes(128) + b"DICM" + b"".join(element(g, e, b"UI", v + b"\0" * (len(v) % 2)) for g, e, v in uids)
    with pytest.raises(Unreadable, match="malformed SOP Instance UID"):
        read_header(lambda count, offset=0: data[offset : offset + count], len(data))


def test_a_deep_sequence_is_refused_not_followed_for_ever():
    deep = b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = bytes(128) + b"DICM" + deep * 5000
    with pytest.raises(Unreadable):
        read_header(lambda count, offset=0: data[offset : offset + count], len(data))


def test_reading_stops_before_the_pixels(tmp_path):
    from xnatctl.testing import write_exam

    exam = write_exam(tmp_path, series=1, instances=1, rows=512, columns=512, clutter=False)
    (record,) = exam.instances.values()
    asked = []
    data = record.path.read_bytes()
    read_header(lambda count, offset=0: asked.append(offset + count) or data[offset : offset + count], len(data))
    assert max(asked) <= part10.FIRST


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("ExplVR_BigEndNoMeta.dcm", part10.BIG_ENDIAN),
        ("ExplVR_LitEndNoMeta.dcm", part10.EXPLICIT),
        ("rtstruct.dcm", part10.IMPLICIT),
    ],
)
def test_without_a_meta_header_the_transfer_syntax_is_the_one_that_is_found(name, syntax):
    (path,) = [path for path in SAMPLES if path.name == name]
    assert header_of_file(path).transfer_syntax_uid == syntax


@pytest.mark.parametrize(("said", "true"), [(part10.EXPLICIT, part10.IMPLICIT), (part10.IMPLICIT, part10.EXPLICIT)])
def test_a_meta_header_that_mistakes_the_encoding_is_not_believed(tmp_path, said, true):
    """The bytes go out as they are, so the name of their encoding must be the true one."""
    from xnatctl.testing import write_exam

    exam = write_exam(tmp_path, series=1, instances=1, clutter=False, transfer_syntaxes=(true,))
    (record,) = exam.instances.values()
    data = record.path.read_bytes()
    before, after = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (true, said))
    old = b"\x02\x00\x10\x00UI" + len(before).to_bytes(2, "little") + before
    assert old in data
    data = data.replace(old, b"\x02\x00\x10\x00UI" + len(after).to_bytes(2, "little") + after)
    data = data[:140] + (data[140] + len(after) - len(before)).to_bytes(1, "little") + data[141:]
    record.path.write_bytes(data)
    assert header_of_file(record.path).transfer_syntax_uid == true


def test_patient_data_is_kept_as_a_hash_only(tmp_path):
    from xnatctl.testing import write_exam

    exam = write_exam(tmp_path, series=1, instances=1, clutter=False, patient_id="CANARY-4711")
    (record,) = exam.instances.values()
    header = header_of_file(record.path)
    assert "CANARY" not in repr(header)
    assert "Phantom" not in repr(header)
