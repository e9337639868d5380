"""Where the data set of a file begins; from there on not a byte is touched (PS3.10 7.1)."""

from __future__ import annotations

import struct

from xnatctl.api import Reader

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_U16, _U32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from


def offset_of(head: bytes) -> int:
    """Where the data set begins in a file that begins with `head`: behind preamble and group 0002, if there are any.

    The elements are walked, because the group length is wrong in some files and absent in others.
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
