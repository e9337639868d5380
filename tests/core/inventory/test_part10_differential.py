"""The own header reader alone against pydicom: in every encoding, with what real files carry, and on broken ones.

pydicom's help is switched off here, so that it is not compared with itself. `XNATCTL_LAB=full` takes 40 times as many.
"""

from __future__ import annotations

import io
import os
import random
import warnings
from pathlib import Path

import pytest

from xnatctl.inventory import part10
from xnatctl.inventory.part10 import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Header, Unreadable, read_header

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")
MultiValue = pydicom.multival.MultiValue
SAMPLES = sorted(p for p in (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*") if p.is_file())
KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality")
FACTOR = 40 if os.environ.get("XNATCTL_LAB") == "full" else 1


class Fallback(Exception):
    """The own reader would ask pydicom."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_):
        raise Fallback

    monkeypatch.setattr(part10, "ask_pydicom", ask)


def ours(data: bytes) -> tuple[str, ...] | str:
    """The fields, or what became of the file instead."""
    try:
        header = read_header(lambda count, offset=0: data[offset : offset + count], len(data))
    except Unreadable:
        return "unreadable"
    except Fallback:
        return "fallback"
    if not isinstance(header, Header) or header.is_directory:
        return "none"
    return (
        header.sop_class_uid,
        header.sop_instance_uid,
        header.study_instance_uid,
        header.series_instance_uid,
        header.series_number,
        header.modality,
    )


def theirs(data: bytes) -> tuple[str, ...] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
            values = [ds.get(keyword) for keyword in KEYWORDS]
        except Exception:
            return None
    values = [value[0] if isinstance(value, MultiValue) and value else value for value in values]
    return tuple("" if value is None else str(value).strip(" \0") for value in values)


def dataset(dice: random.Random):
    """A data set with what may stand before and between the tags that are read."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    def uid() -> str:
        return "2.25." + str(dice.getrandbits(dice.choice([8, 60, 120])))

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SpecificCharacterSet = dice.choice(["ISO_IR 100", "ISO_IR 192", ["", "ISO 2022 IR 87"]])
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(), uid(), uid()
    ds.Modality = dice.choice(["MR", "CT", "OT"])
    ds.PatientID = dice.choice(["", "A", "Müller^1"])
    ds.SeriesNumber = dice.choice([None, 1, 17, -3])
    if dice.random() < 0.5:
        ds.NumberOfFrames = dice.randint(1, 500)
    ds.Rows = ds.Columns = 4
    for number in range(dice.randint(0, 3)):  # private elements of every kind of length
        block = ds.private_block(dice.choice([0x0009, 0x0011, 0x0019]), f"MAKER {number}", create=True)
        block.add_new(1, "OB", dice.randbytes(2 * dice.randint(0, 40_000)))
        block.add_new(2, "UN", dice.randbytes(2 * dice.randint(0, 20)))
        block.add_new(3, "LT", "x" * dice.randint(0, 300))
    for keyword in dice.sample(["ReferencedStudySequence", "ProcedureCodeSequence", "RequestAttributesSequence"], 2):
        items = []
        for _ in range(dice.randint(0, 3)):
            inner = Dataset()
            inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = "1.2.3", uid()
            inner.StudyInstanceUID = uid()  # the one that must not be taken for the outer
            if dice.random() < 0.5:
                deeper = Dataset()
                deeper.SeriesInstanceUID = uid()
                inner.ReferencedSeriesSequence = Sequence([deeper])
                inner["ReferencedSeriesSequence"].is_undefined_length = dice.random() < 0.5
            inner.is_undefined_length_sequence_item = dice.random() < 0.5
            items.append(inner)
        setattr(ds, keyword, Sequence(items))
        ds[keyword].is_undefined_length = dice.random() < 0.5
    ds.PixelData = dice.randbytes(32)
    ds["PixelData"].VR = "OW"
    return ds


def encoded(ds, syntax: str, *, preamble: bool) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    buffer = DicomBytesIO()
    ds.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if preamble:
            ds.save_as(buffer, enforce_file_format=True)
        else:
            buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG_ENDIAN, syntax == IMPLICIT
            write_dataset(buffer, ds)
    return buffer.getvalue()


@pytest.mark.parametrize("preamble", [True, False], ids=["file", "bare"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_every_encoding_is_read_as_pydicom_reads_it(syntax: str, preamble: bool) -> None:
    if syntax == DEFLATED and not preamble:
        pytest.skip("nothing tells a deflated data set without a meta header")
    dice = random.Random(f"{syntax} {preamble}")
    for _ in range(15 * FACTOR):
        data = encoded(dataset(dice), syntax, preamble=preamble)
        expected = theirs(data)
        assert expected is not None
        assert all(expected[:4])
        assert ours(data) == expected


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_wherever_the_first_read_ends(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that ends between two elements, or within the tag of one, is not the whole of it."""
    dice = random.Random(syntax)
    data = encoded(dataset(dice), syntax, preamble=True)
    expected = theirs(data)
    for first in range(200, 900):
        monkeypatch.setattr(part10, "FIRST", first)
        assert ours(data) == expected, first


def mutate(dice: random.Random, data: bytes) -> bytes:
    mutant = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(max(1, min(len(mutant), 2500)))
        match dice.randrange(6):
            case 0:
                mutant[place : place + 1] = dice.randbytes(1)
            case 1:
                del mutant[place + 300 :]
            case 2:
                mutant[place : place + 4] = b"\xff\xff\xff\xff"
            case 3:
                mutant[place:place] = mutant[place : place + dice.randint(1, 64)]
            case 4:
                mutant[place : place + 2] = dice.choice([b"SQ", b"OB", b"UN", b"UI", b"\0\0"])
            case 5:
                mutant[place : place + 8] = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return bytes(mutant)


def test_of_a_broken_file_nothing_else_is_said_than_pydicom_says() -> None:
    """Refusing or asking is fine; another UID than pydicom's would file an image elsewhere."""
    seeds = [path.read_bytes() for path in SAMPLES if path.stat().st_size < 200_000]
    seeds = [data for data in seeds if isinstance(ours(data), tuple)]
    assert len(seeds) > 80
    dice = random.Random(20260115)
    read = 0
    for number in range(600 * FACTOR):
        data = mutate(dice, dice.choice(seeds))
        mine = ours(data)
        if isinstance(mine, str):
            continue
        other = theirs(data)
        if other is None or not any(other[:4]):
            continue  # it gave up, behind what we read or before
        read += 1
        assert mine[:4] == other[:4], number
        for one, two in zip(mine[4:], other[4:], strict=True):
            assert one in ("", two) or "\ufffd" in one, number  # not ASCII: unreadable to us, which is said
    assert read > 100 * FACTOR  # a mutant that became too short is damaged
