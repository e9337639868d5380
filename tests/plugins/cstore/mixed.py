"""DICOM in many transfer syntaxes, made quickly: one template for each, in which only the UIDs change."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, JPEG, JPEG_LOSSLESS, JPEG_2000, RLE)
#: Those that XNAT's receiver takes (xnat-api 5.2).
OF_XNAT = (IMPLICIT, EXPLICIT, BIG_ENDIAN, JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, RLE)
CT, MR, SC = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "7"))

_ROOT = "1.2.826.0.1.3680043.8.498."
_WIDTH = 44


def uid(*parts: object) -> str:
    """A UID of a fixed length, the same for the same parts."""
    number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:12], "big") % 10**17 + 10**17
    return f"{_ROOT}{number}"


@dataclass(frozen=True)
class Template:
    """The data set of one syntax, with UIDs that are replaced."""

    syntax: str
    sop_class: str
    data: bytes

    def data_set(self, instance: str, series: str, study: str) -> bytes:
        data = self.data
        for old, new in (("instance", instance), ("series", series), ("study", study)):
            placeholder = uid("placeholder", old).encode()
            assert data.count(placeholder) == 1
            assert len(new) == len(placeholder)
            data = data.replace(placeholder, new.encode())
        return deflated(data) if self.syntax == DEFLATED else data


def template(syntax: str, sop_class: str = CT, *, size: int = 16, comments: str = "") -> Template:
    """A small image."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid("placeholder", "instance")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("placeholder", "study"), uid("placeholder", "series")
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "OT", 1, 1
    ds.PatientName, ds.PatientID = "Phantom^Synthetic", "PHANTOM"
    if comments:
        ds.PatientComments = comments
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    pixels = bytes(index * 7 % 256 for index in range(size * size))
    native = syntax in (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
    ds.PixelData = pixels if native else encapsulate([b"\xff\xd8" + pixels + b"\xff\xd9"])
    ds["PixelData"].VR = "OW" if syntax in (IMPLICIT, BIG_ENDIAN) else "OB"
    if not native:
        ds["PixelData"].is_undefined_length = True
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = syntax != BIG_ENDIAN, syntax == IMPLICIT
    write_dataset(out, ds)
    return Template(syntax, sop_class, out.getvalue())


def deflated(data: bytes) -> bytes:
    """PS3.5 A.5: no header, and of even length."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def part10(data_set: bytes, syntax: str, sop_class: str, instance: str) -> bytes:
    """A file around a data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID, meta.ImplementationClassUID = syntax, f"{_ROOT}1"
    meta.FileMetaInformationVersion = b"\0\1"
    out = io.BytesIO()
    write_file_meta_info(out, meta)
    return bytes(128) + b"DICM" + out.getvalue() + data_set


def write(
    directory: Path,
    count: int,
    *,
    syntaxes: Sequence[str] = SYNTAXES,
    classes: Sequence[str] = (CT,),
    studies: int = 1,
    size: int = 16,
    seed: int = 0,
    comments: str = "",
) -> dict[str, str]:
    """Write `count` instances that take turns over syntaxes and classes; SHA-256 of the data set by SOP Instance UID."""
    directory.mkdir(parents=True, exist_ok=True)
    pairs = [(syntax, sop_class) for sop_class in classes for syntax in syntaxes]
    templates = [template(*pair, size=size, comments=comments) for pair in pairs]
    expected: dict[str, str] = {}
    heads: dict[int, bytes] = {}
    for number in range(count):
        kind = number % len(templates)
        chosen = templates[kind]
        instance = uid(seed, "instance", number)
        data = chosen.data_set(
            instance, uid(seed, "series", kind, number % studies), uid(seed, "study", number % studies)
        )
        if kind not in heads:
            heads[kind] = part10(b"", chosen.syntax, chosen.sop_class, uid("placeholder", "meta"))
        head = heads[kind].replace(uid("placeholder", "meta").encode(), instance.encode())
        (directory / f"{number:06d}").write_bytes(head + data)
        expected[instance] = hashlib.sha256(data).hexdigest()
    return expected


def write_odd(directory: Path, *, syntaxes: Sequence[str] = SYNTAXES, comments: str = "") -> dict[str, str]:
    """Instances whose data sets are odd in length; SHA-256 of what must be sent, by SOP Instance UID."""
    directory.mkdir(parents=True)
    expected: dict[str, str] = {}

    def add(name: str, syntax: str, make: Callable[[bytes], tuple[bytes, bytes]]) -> None:
        if syntax not in syntaxes:
            return
        instance = uid("odd", name)
        data, sent = make(
            template(syntax, comments=comments).data_set(instance, uid("odd", "series"), uid("odd", "study"))
        )
        assert len(data) % 2 == 1
        assert len(sent) == len(data) + 1
        (directory / name).write_bytes(part10(data, syntax, CT, instance))
        expected[instance] = hashlib.sha256(sent).hexdigest()

    def last_value(order: str, *, cut: int) -> Callable[[bytes], tuple[bytes, bytes]]:
        """With pixels that are one byte short, `cut` bytes at least."""

        def make(data: bytes) -> tuple[bytes, bytes]:
            field = len(data) - 256 - 4
            assert struct.unpack_from(f"{order}I", data, field)[0] == 256
            head, pixels = data[:field], data[field + 4 : len(data) - cut]
            return (
                head + struct.pack(f"{order}I", len(pixels)) + pixels,
                head + struct.pack(f"{order}I", len(pixels) + 1) + pixels + b"\0",
            )

        return make

    def in_the_middle(order: str, form: str) -> Callable[[bytes], tuple[bytes, bytes]]:
        def make(data: bytes) -> tuple[bytes, bytes]:
            begin = data.index(b"Phantom^Synthetic ")
            field = begin - struct.calcsize(form)
            assert struct.unpack_from(order + form, data, field)[0] == 18
            odd = data[:field] + struct.pack(order + form, 17) + data[begin : begin + 17] + data[begin + 18 :]
            return odd, odd + b"\0"

        return make

    def text_at_the_end(data: bytes) -> tuple[bytes, bytes]:
        """In place of the pixels; behind a sequence of undefined length, which holds an item of undefined length."""
        inner = struct.pack("<HH2sH", 0x0008, 0x0100, b"SH", 2) + b"AB"
        undefined = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        defined = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        head = data[: len(data) - 256 - 12] + struct.pack("<HH2sxxI", 0x0040, 0x0275, b"SQ", 0xFFFFFFFF)
        head += undefined + defined + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        tag = struct.pack("<HH2s", 0x4008, 0x0300, b"ST")
        return head + tag + b"\5\0ABCDE", head + tag + b"\6\0ABCDE "

    def one_letter_at_the_end(data: bytes) -> tuple[bytes, bytes]:
        head, tag = data[: len(data) - 256 - 12], struct.pack("<HH2s", 0x4008, 0x0300, b"ST")
        return head + tag + b"\1\0A", head + tag + b"\2\0A "

    def full(data: bytes) -> tuple[bytes, bytes]:
        """The length of the last value cannot grow."""
        head, tag = data[: len(data) - 256 - 12], struct.pack("<HH2s", 0x4008, 0x0300, b"ST")
        odd = head + tag + b"\xff\xff" + b"A" * 65535
        return odd, odd + b"\0"

    def behind(data: bytes) -> tuple[bytes, bytes]:
        return data + b"\x2a", data + b"\x2a\0"

    for name, syntax in (("implicit", IMPLICIT), ("explicit", EXPLICIT), ("big endian", BIG_ENDIAN)):
        order = ">" if syntax == BIG_ENDIAN else "<"
        add(f"last value {name}", syntax, last_value(order, cut=1))
        add(f"in the middle {name}", syntax, in_the_middle(order, "I" if syntax == IMPLICIT else "H"))
        add(f"behind {name}", syntax, behind)
    add("a single byte", EXPLICIT, last_value("<", cut=255))
    add("text", EXPLICIT, text_at_the_end)
    add("one letter", EXPLICIT, one_letter_at_the_end)
    add("full", EXPLICIT, full)
    add("deflated", DEFLATED, behind)
    add("fragments", JPEG, behind)
    return expected


def split(content: bytes) -> tuple[bytes, bytes]:
    """Meta header and data set of a file, found without our own code: by the group length (PS3.10 7.1)."""
    if content[128:132] != b"DICM":
        return b"", content
    assert content[132:138] == b"\x02\x00\x00\x00UL", "the meta header has no group length"
    end = 144 + struct.unpack_from("<I", content, 140)[0]
    return content[:end], content[end:]


def stored(content: bytes) -> tuple[str, str]:
    """SOP Instance UID and SHA-256 of the data set, of a file that a receiver wrote."""
    meta, data = split(content)
    position = 144
    while position < len(meta):
        group, element = struct.unpack_from("<HH", meta, position)
        vr = meta[position + 4 : position + 6]
        long = vr in (b"OB", b"UN")
        length = (
            struct.unpack_from("<I", meta, position + 8)[0] if long else struct.unpack_from("<H", meta, position + 6)[0]
        )
        position += 12 if long else 8
        if (group, element) == (2, 3):
            return meta[position : position + length].strip(b"\0 ").decode(), hashlib.sha256(data).hexdigest()
        position += length
    raise AssertionError("no SOP Instance UID")
