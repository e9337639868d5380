"""Data elements, and their values as the sandbox reads them."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, field

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
TRANSFER_SYNTAX = 0x00020010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
#: VRs with a length of four bytes in explicit encodings (PS3.5, section 7.1.2).
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
SHORT_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
     "UL", "US"}
)  # fmt: skip
TEXT_VRS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
#: Sizes of the numbers in a value, for a change of the byte order.
UNIT_SIZES = {"AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "SL": 4, "SS": 2, "SV": 8,
              "UL": 4, "US": 2, "UV": 8}  # fmt: skip
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}


class Unreadable(Exception):
    """The library cannot parse the object, and XNAT refuses it."""


@dataclass
class Element:
    """One data element: its value, or its items, or the fragments of a value of undefined length."""

    tag: int
    vr: str
    value: bytes = b""
    items: list[DataSet] = field(default_factory=list)
    fragments: list[bytes] = field(default_factory=list)
    big_endian: bool = False


DataSet = dict[int, Element]


@dataclass(frozen=True)
class Syntax:
    """How a transfer syntax encodes elements."""

    explicit: bool
    big_endian: bool = False
    deflated: bool = False


EXPLICIT_SYNTAX, IMPLICIT_SYNTAX = Syntax(explicit=True), Syntax(explicit=False)
SYNTAXES = {
    IMPLICIT: IMPLICIT_SYNTAX,
    BIG_ENDIAN: Syntax(explicit=True, big_endian=True),
    DEFLATED: Syntax(explicit=True, deflated=True),
    "1.2.840.10008.1.2.4.95": Syntax(explicit=True, deflated=True),  # JPIP Referenced Deflate
}


@dataclass
class Head:
    """The parsed part of a file. `rest` is the offset of the bytes that are copied unchanged."""

    meta: DataSet
    data_set: DataSet
    rest: int

    @property
    def transfer_syntax(self) -> str:
        """The UID of the transfer syntax to write; Explicit VR Little Endian where the file names none."""
        return text_of(self.meta.get(TRANSFER_SYNTAX)) or EXPLICIT


def text_of(element: Element | None, encodings: str = "") -> str:
    """A value as text, several values with a backslash between them; `encodings` is the Specific Character Set."""
    if element is None or element.items or element.fragments:
        return ""
    value, vr = element.value, element.vr
    if vr in _NUMBERS:
        size = UNIT_SIZES[vr]
        numbers = struct.unpack(
            f"{'>' if element.big_endian else '<'}{len(value) // size}{_NUMBERS[vr]}",
            value[: len(value) // size * size],
        )
        return "\\".join(map(str, numbers))
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii").strip(" \0")
    return _decoded(value, encodings).strip(" \0")


def _decoded(value: bytes, encodings: str) -> str:
    from pydicom.charset import convert_encodings, decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = convert_encodings(encodings.split("\\"))
            return decode_bytes(value, names, {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D})
        except (LookupError, ValueError):
            return value.decode("latin-1")


def vr_of(tag: int) -> str:
    """The VR by the dictionary; UN for unknown and private elements."""
    from pydicom.datadict import dictionary_VR

    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return vr.partition(" or ")[0] if not vr.startswith("OB or") else "OW"
