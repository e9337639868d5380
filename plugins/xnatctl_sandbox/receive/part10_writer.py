"""Writing DICOM files as XNAT's library (dcm4che2) does; `part10_reader` states its rules."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from xnatctl_sandbox.receive.dicom_elements import (
    EXPLICIT,
    EXPLICIT_SYNTAX,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    SYNTAXES,
    TEXT_VRS,
    TRANSFER_SYNTAX,
    UNDEFINED,
    UNIT_SIZES,
    DataSet,
    Element,
    Head,
    Syntax,
    text_of,
)

#: dcm4che2 as it names itself in the file meta information that it makes.
_IMPLEMENTATION = (b"1.2.40.0.13.1.1\0", b"dcm4che-2.0 ")


def write(head: Head, *, sender: str = "") -> bytes:
    """Preamble, file meta information and the parsed part of the data set."""
    meta = head.meta if TRANSFER_SYNTAX in head.meta else _new_meta(head.data_set, sender)
    pieces: list[bytes] = []
    _write(pieces, meta.values(), EXPLICIT_SYNTAX)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, sum(map(len, pieces)))
    syntax = SYNTAXES.get(head.transfer_syntax, EXPLICIT_SYNTAX)
    written: list[bytes] = []
    _write(written, head.data_set.values(), syntax)
    body = b"".join(written)
    if syntax.deflated:  # a stream of its own, which ends here: what follows is not part of it any more
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    return b"".join([bytes(128), b"DICM", length, *pieces, body])


def _new_meta(data_set: DataSet, sender: str) -> DataSet:
    """File meta information for a file that names no transfer syntax."""
    uids = [(text_of(data_set.get(tag)) + "\0").encode("ascii", "replace") for tag in (0x00080016, 0x00080018)]
    values: list[tuple[int, str, bytes]] = [
        (0x00020001, "OB", b"\0\1"),
        *((tag, "UI", uid[: len(uid) & ~1]) for tag, uid in zip((0x00020002, 0x00020003), uids, strict=True)),
        (TRANSFER_SYNTAX, "UI", EXPLICIT.encode() + b"\0"),
        (0x00020012, "UI", _IMPLEMENTATION[0]),
        (0x00020013, "SH", _IMPLEMENTATION[1]),
    ]
    if sender:
        values.append((0x00020016, "AE", sender.encode("ascii", "replace")))
    return {tag: Element(tag, vr, value) for tag, vr, value in values}


def _write(out: list[bytes], elements: Iterable[Element], syntax: Syntax) -> None:
    for element in sorted(elements, key=lambda element: element.tag):
        if element.items or element.fragments:
            out.append(_element_header(element.tag, element.vr, UNDEFINED, syntax))
            for item in element.items:
                # An empty item says that it is empty; all others end with a delimiter.
                out.append(_element_header(ITEM, "", UNDEFINED if item else 0, syntax))
                _write(out, item.values(), syntax)
                if item:
                    out.append(_element_header(ITEM_END, "", 0, syntax))
            for fragment in element.fragments:
                padded = fragment + bytes(len(fragment) % 2)
                out += [_element_header(ITEM, "", len(padded), syntax), padded]
            out.append(_element_header(SEQUENCE_END, "", 0, syntax))
            continue
        value = element.value
        if len(value) % 2:
            value += b" " if element.vr in TEXT_VRS and element.vr != "UI" else b"\0"
        if element.big_endian != syntax.big_endian and (unit := UNIT_SIZES.get(element.vr)):
            value = b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit))
        out += [_element_header(element.tag, element.vr, len(value), syntax), value]


def _element_header(tag: int, vr: str, length: int, syntax: Syntax) -> bytes:
    order = ">" if syntax.big_endian else "<"
    if not vr or not syntax.explicit:
        return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, length)
    if vr in LONG_VRS:
        return struct.pack(f"{order}HH2s2xI", tag >> 16, tag & 0xFFFF, vr.encode(), length)
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length & 0xFFFF)
