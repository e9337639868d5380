"""Finds where the data set of a file begins, and pads one of odd length; changes nothing else."""

from __future__ import annotations

import struct
from typing import Literal

from xnatctl.api import Reader

_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
#: VRs of text, which a space makes even (PS3.5 6.2); any other takes a NUL.
_TEXT = frozenset(
    (b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM", b"UC", b"UR", b"UT")
)
_UNDEFINED, _FULL = 0xFFFFFFFF, 0xFFFF
#: The group of items, and the elements in it that end an item or a sequence.
_ITEM, _DELIMITERS = 0xFFFE, frozenset((0xE00D, 0xE0DD))
_Order = Literal["little", "big"]
_U16, _U32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from


def offset_of(head: bytes) -> int:
    """Where the data set begins in a file that begins with `head`: behind preamble and group 0002 (PS3.10 7.1).

    Both may be absent. The elements are walked, because the group length is wrong in some files and absent in others.
    """
    position = 132 if head[128:132] == b"DICM" else 0
    while head[position : position + 2] == b"\x02\x00" and position + 12 <= len(head):
        vr = head[position + 4 : position + 6]
        if vr in _LONG:
            position += 12 + _U32(head, position + 8)[0]
        elif vr.isalpha():
            position += 8 + _U16(head, position + 6)[0]
        else:  # implicit, which the standard does not allow here and some writers do
            position += 8 + _U32(head, position + 4)[0]
    return min(position, len(head))


def padded(data: bytes, length: int, syntax: str) -> tuple[bytes, bytes]:
    """Make a data set of odd `length` even: its beginning `data`, as it is to be sent, and the byte that ends it.

    When the last value is odd in length and its header is in `data`, the byte belongs to that value (PS3.5 7.1.1).
    Otherwise, and in a deflated data set (PS3.5 A.5), it is a NUL behind everything.
    """
    order: _Order = "big" if syntax == _BIG_ENDIAN else "little"
    found = None if syntax == _DEFLATED else _last_value(data, length, order, implicit=syntax == _IMPLICIT)
    if found is None:
        return data, b"\0"
    field, width, vr = found
    longer = int.from_bytes(data[field : field + width], order) + 1
    return data[:field] + longer.to_bytes(width, order) + data[field + width :], b" " if vr in _TEXT else b"\0"


def _last_value(data: bytes, length: int, order: _Order, *, implicit: bool) -> tuple[int, int, bytes] | None:
    """Of the element that ends the data set, if its value is odd in length: where its length field is and how wide; VR.

    None when no such element begins in `data`, when it is inside a sequence, or when its length field is full.
    """
    position = depth = 0
    while position + 8 <= len(data):
        group, element = (int.from_bytes(data[at : at + 2], order) for at in (position, position + 2))
        vr = b"" if implicit or group == _ITEM else data[position + 4 : position + 6]
        width = 4 if not vr or vr in _LONG else 2
        field = position + (8 if vr in _LONG else 8 - width)
        size = int.from_bytes(data[field : field + width], order)
        position = field + width
        if size == _UNDEFINED:
            depth += 1  # its items follow
        elif group == _ITEM and element in _DELIMITERS:
            depth -= 1
        else:
            position += size
            if position == length and size % 2 and size != _FULL and not depth:
                return field, width, vr or _vr(group << 16 | element)
    return None


def _vr(tag: int) -> bytes:
    """The VR of a tag in implicit VR; empty where the dictionary does not know it."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return dictionary_VR(tag).encode() if dictionary_has_tag(tag) else b""


def read_fully(reader: Reader, size: int) -> bytes:
    """Exactly `size` bytes, or what is left."""
    data = reader.read(size)
    if len(data) == size or not data:
        return data
    pieces = [data]
    missing = size - len(data)
    while missing and (data := reader.read(missing)):
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)
