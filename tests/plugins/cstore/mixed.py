"""DICOM in many transfer syntaxes, made quickly: one template for each, in which only the UIDs change."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Sequence
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
#: Those that XNAT's receiver takes (contract xnat-api 5.2).
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
