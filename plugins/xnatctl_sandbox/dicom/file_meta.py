"""The head of a DICOM file for a data set that came by C-STORE."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any


class Part10Stream:
    """File meta information and data set as one stream; the data set is not copied as a whole."""

    def __init__(self, head: bytes, data: memoryview) -> None:
        self._parts = [memoryview(head), data]

    def read(self, size: int = -1, /) -> bytes:
        while self._parts and not self._parts[0]:
            del self._parts[0]
        if not self._parts:
            return b""
        part = self._parts[0]
        taken = len(part) if size < 0 else size
        self._parts[0] = part[taken:]
        return bytes(part[:taken])


def file_meta(entry: Mapping[str, Any], calling: str, implementation: tuple[str, str]) -> bytes:
    """Preamble, prefix and file meta information (PS3.10, section 7.1); invalid UIDs are written as they are.

    `implementation` is class UID and version name.
    """
    elements = b"".join(
        _element(number, vr, value)
        for number, vr, value in (
            (0x02, b"UI", entry["sop_class_uid"]),
            (0x03, b"UI", entry["sop_instance_uid"]),
            (0x10, b"UI", entry["transfer_syntax"]),
            (0x12, b"UI", implementation[0]),
            (0x13, b"SH", implementation[1]),
            (0x16, b"AE", calling),
        )
    )
    version = struct.pack("<HH2s2xI2s", 2, 1, b"OB", 2, b"\0\1")
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(version) + len(elements))
    return b"\0" * 128 + b"DICM" + length + version + elements


def _element(number: int, vr: bytes, value: str) -> bytes:
    """One element of group 2, explicit little endian, of even length (PS3.5, sections 6.2 and 7.1)."""
    data = value.encode("ascii", "replace")
    data += (b"\0" if vr == b"UI" else b" ") * (len(data) % 2)
    return struct.pack("<HH2sH", 2, number, vr, len(data)) + data
