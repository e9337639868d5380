"""A synthetic scanner export: real DICOM, written without pydicom, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
_MR = "1.2.840.10008.5.1.4.1.1.4"
#: Root of UIDs made from UUIDs (PS3.5 B.2); ours are made from the seed so that they repeat.
_ROOT = "2.25"
_LONG = ("OB", "OW", "SQ", "UN", "UT")

#: Ways in which scanners name files.
NAMING = ("uid", "plain", "im", "ima")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as it lies on disk; `size` in bytes."""

    path: Path
    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    size: int


@dataclass
class Exam:
    """What `write_exam` wrote: every instance by SOP Instance UID, and the files that are not DICOM."""

    directory: Path
    study_instance_uid: str
    instances: dict[str, Instance] = field(default_factory=dict)
    clutter: list[Path] = field(default_factory=list)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 by SOP Instance UID."""
        return {uid: instance.sha256 for uid, instance in self.instances.items()}


def write_exam(
    directory: str | os.PathLike[str],
    *,
    series: int = 3,
    instances: int = 100,
    rows: int = 32,
    columns: int = 32,
    transfer_syntaxes: Sequence[str] = (EXPLICIT,),
    naming: Sequence[str] = NAMING,
    seed: int = 0,
    clutter: bool = True,
    patient_id: str = "PHANTOM",
    study_date: str = "20240115",
    device_headers: bool = False,
) -> Exam:
    """Write `series` x `instances` MR images below `directory`.

    Names and transfer syntaxes (explicit or implicit little endian) take turns from series to series. `clutter` adds
    what lies between the images in real exports: texts, a PDF, empty, hidden and Analyze files, links. `device_headers`
    adds what XNAT does not keep when it writes a header anew: a preamble, group lengths, sequences of defined length.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)  # noqa: S311 - a phantom, not a secret
    exam = Exam(root, _uid(seed, "study"))
    for number in range(1, series + 1):
        folder = root / f"series {number}"
        folder.mkdir(exist_ok=True)
        series_uid = _uid(seed, f"series {number}")
        syntax = transfer_syntaxes[(number - 1) % len(transfer_syntaxes)]
        style = naming[(number - 1) % len(naming)]
        noise = dice.randbytes(rows * columns)
        for index in range(1, instances + 1):
            uid = _uid(seed, f"{number} {index}")
            content = _mr(
                exam.study_instance_uid, series_uid, uid, number, index, rows, columns, noise, syntax, patient_id,
                study_date, device_headers=device_headers,
            )  # fmt: skip
            path = folder / _name(style, uid, index)
            path.write_bytes(content)
            exam.instances[uid] = Instance(path, uid, series_uid, hashlib.sha256(content).hexdigest(), len(content))
    if clutter:
        exam.clutter = _clutter(root)
    return exam


def _uid(seed: int, what: str) -> str:
    digest = hashlib.sha256(f"xnatctl {seed} {what}".encode()).digest()
    return f"{_ROOT}.{int.from_bytes(digest[:15])}"


def _name(style: str, uid: str, index: int) -> str:
    return {"uid": uid, "plain": f"{index:08d}", "im": f"IM.{index:04d}", "ima": f"MR{index:05d}.IMA"}[style]


def _mr(
    study: str,
    series: str,
    uid: str,
    number: int,
    index: int,
    rows: int,
    columns: int,
    noise: bytes,
    syntax: str,
    patient_id: str,
    study_date: str,
    *,
    device_headers: bool,
) -> bytes:
    """One MR image (PS3.3 A.4) with preamble and file meta information (PS3.10 7.1)."""
    pixels = bytearray(2 * rows * columns)
    for position in range(rows * columns):
        pixels[2 * position] = noise[(position + index) % len(noise)]
    elements: list[tuple[int, int, str, str | int | bytes]] = [
        (0x0008, 0x0005, "CS", "ISO_IR 192"),
        (0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY\\OTHER"),
        (0x0008, 0x0016, "UI", _MR),
        (0x0008, 0x0018, "UI", uid),
        (0x0008, 0x0020, "DA", study_date),
        (0x0008, 0x0030, "TM", "120000"),
        (0x0008, 0x0050, "SH", ""),
        (0x0008, 0x0060, "CS", "MR"),
        (0x0008, 0x0070, "LO", "xnatctl"),
        (0x0008, 0x0090, "PN", ""),
        (0x0008, 0x1030, "LO", "Synthetic exam"),
        (0x0008, 0x103E, "LO", f"Phantom {number}"),
        (0x0010, 0x0010, "PN", "Phantom^Synthetic"),
        (0x0010, 0x0020, "LO", patient_id),
        (0x0010, 0x0030, "DA", ""),
        (0x0010, 0x0040, "CS", "O"),
        (0x0018, 0x0020, "CS", "GR"),
        (0x0018, 0x0021, "CS", "NONE"),
        (0x0018, 0x0022, "CS", ""),
        (0x0018, 0x0023, "CS", "2D"),
        (0x0020, 0x000D, "UI", study),
        (0x0020, 0x000E, "UI", series),
        (0x0020, 0x0010, "SH", "1"),
        (0x0020, 0x0011, "IS", str(number)),
        (0x0020, 0x0013, "IS", str(index)),
        (0x0028, 0x0002, "US", 1),
        (0x0028, 0x0004, "CS", "MONOCHROME2"),
        (0x0028, 0x0010, "US", rows),
        (0x0028, 0x0011, "US", columns),
        (0x0028, 0x0100, "US", 16),
        (0x0028, 0x0101, "US", 16),
        (0x0028, 0x0102, "US", 15),
        (0x0028, 0x0103, "US", 0),
        (0x7FE0, 0x0010, "OW", bytes(pixels)),
    ]
    meta = b"".join(
        _element(group, element, vr, value, implicit=False)
        for group, element, vr, value in (
            (0x0002, 0x0001, "OB", b"\x00\x01"),
            (0x0002, 0x0002, "UI", _MR),
            (0x0002, 0x0003, "UI", uid),
            (0x0002, 0x0010, "UI", syntax),
            (0x0002, 0x0012, "UI", f"{_ROOT}.1"),
        )
    )
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    implicit = syntax == IMPLICIT
    if device_headers:
        elements = _as_devices_write(elements, uid, implicit=implicit)
    data = b"".join(_element(*element, implicit=implicit) for element in elements)
    preamble = b"II*\0" * 32 if device_headers else bytes(128)
    return preamble + b"DICM" + length + meta + data


def _as_devices_write(
    elements: list[tuple[int, int, str, str | int | bytes]], uid: str, *, implicit: bool
) -> list[tuple[int, int, str, str | int | bytes]]:
    """The same with a sequence, an empty one and the length of each group in front of it (PS3.5 7.2, 7.5)."""
    reference = _element(8, 0x1150, "UI", _MR, implicit=implicit) + _element(8, 0x1155, "UI", uid, implicit=implicit)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(reference)) + reference
    more: list[tuple[int, int, str, str | int | bytes]] = [(0x0008, 0x1110, "SQ", b""), (0x0008, 0x1140, "SQ", item)]
    written = sorted([*elements, *more], key=lambda element: element[:2])
    sizes: dict[int, int] = {}
    for element in written:
        sizes[element[0]] = sizes.get(element[0], 0) + len(_element(*element, implicit=implicit))
    lengths = [(group, 0, "UL", struct.pack("<I", size)) for group, size in sizes.items()]
    return sorted([*written, *lengths], key=lambda element: element[:2])


def _element(group: int, element: int, vr: str, value: str | int | bytes, *, implicit: bool) -> bytes:
    """One data element, little endian (PS3.5 7.1.2, 7.1.3)."""
    if isinstance(value, str):
        value = value.encode()
    data = struct.pack("<H", value) if isinstance(value, int) else value
    if len(data) % 2:
        data += b"\0" if vr in ("UI", "OB") else b" "
    if implicit:
        return struct.pack("<HHI", group, element, len(data)) + data
    if vr in _LONG:
        return struct.pack("<HH2sHI", group, element, vr.encode(), 0, len(data)) + data
    return struct.pack("<HH2sH", group, element, vr.encode(), len(data)) + data


def _clutter(root: Path) -> list[Path]:
    """What is not DICOM, whatever it is called."""
    files = {
        "readme.txt": b"exported by hand\n",
        "report.pdf": b"%PDF-1.4\n%%EOF\n",
        "series 1/scan.img": bytes(range(256)) * 8,
        "series 1/scan.hdr": bytes(348),
        "series 1/empty.dcm": b"",
        "series 1/text.dcm": b"this is not an image, whatever its name says\n" * 5,
        "série ü 日本.txt": "Ünïcode\n".encode(),
        ".DS_Store": b"\0\0\0\1Bud1",
        ".hidden/image.dcm": b"x" * 200,
        "__MACOSX/._scan.dcm": b"\0\5\26\7",
    }
    written = []
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    with suppress(OSError, UnicodeError):  # a file system whose names are Unicode
        odd = os.fsencode(root) + b"/not-utf8-\xff\xfe.txt"
        with open(odd, "wb") as file:
            file.write(b"odd name\n")
        written.append(Path(os.fsdecode(odd)))
    for name, target in (("loop", "."), ("dangling", "nowhere"), ("outside", "/etc/hostname")):
        path = root / name
        with suppress(OSError):  # a user of Windows who may not make links
            path.symlink_to(target)
            written.append(path)
    return written
