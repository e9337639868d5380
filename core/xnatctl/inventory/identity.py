"""Values in a DICOM file that identify a patient: read in order to mask them in messages, and never stored.

They are found by their tags in the first bytes, at any depth and in both little-endian encodings (PS3.5 7.1). A false
match is masked too, which does no harm; a reader that parses the file could miss a value.
"""

from __future__ import annotations

import re
import zlib

from xnatctl.inventory.character_sets import codec_of

#: Bytes of a file that are searched.
FIRST = 1 << 16
_LONGEST = 10_240

#: PatientName, PatientBirthName, PatientMotherBirthName, OtherPatientNames, ReferringPhysicianName: names of parts.
_NAMES = (b"\x10\x00\x10\x00", b"\x10\x00\x05\x10", b"\x10\x00\x60\x10", b"\x10\x00\x01\x10", b"\x08\x00\x90\x00")
#: PatientID, OtherPatientIDs, PatientAddress, PatientTelephoneNumbers, PatientComments, AccessionNumber.
_TEXTS = (
    b"\x10\x00\x20\x00", b"\x10\x00\x00\x10", b"\x10\x00\x40\x10", b"\x10\x00\x54\x21", b"\x10\x00\x00\x40",
    b"\x08\x00\x50\x00",
)  # fmt: skip
_BIRTH_DATE = b"\x10\x00\x30\x00"
_CHARACTERS = b"\x08\x00\x05\x00"
_ELEMENT = re.compile(
    b"(" + b"|".join(re.escape(tag) for tag in (*_NAMES, *_TEXTS, _BIRTH_DATE, _CHARACTERS)) + b")"
    b"(?:(?:PN|LO|SH|LT|DA|CS)(..)|(..\0\0))",
    re.DOTALL,
)


def identifying(head: bytes) -> frozenset[str]:
    """The values and parts of names in the beginning of a file, without those shorter than three characters."""
    found: set[str] = set()
    elements = [*_elements(head), *_elements(inflated_head(head))]
    codecs = ["utf-8", "latin-1"]
    for tag, value in elements:
        if tag == _CHARACTERS:
            declared = value.decode("ascii", "replace").split("\\")
            codecs += [codec for term in declared if (codec := codec_of(term)) is not None]
    for tag, value in elements:
        if tag != _CHARACTERS:
            for codec in dict.fromkeys(codecs):
                found.update(_words(tag, value, codec))
    return frozenset(word for word in found if len(word) >= 3)


def _elements(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    for match in _ELEMENT.finditer(data):
        length = int.from_bytes(match[2] if match[2] is not None else match[3], "little")
        if 0 < length <= _LONGEST:
            found.append((match[1], data[match.end() : match.end() + length]))
    return found


def inflated_head(head: bytes) -> bytes:
    """The beginning of a deflated data set (PS3.5 A.5), inflated; empty for other files."""
    start = head.find(b"1.2.840.10008.1.2.1.99")
    if start < 0 or len(head) < 152:
        return b""
    length = int.from_bytes(head[140:144], "little")  # of the meta header, in its first element (PS3.10 7.1)
    try:
        return zlib.decompressobj(-15).decompress(head[144 + length :], FIRST)
    except zlib.error:
        return b""


def _words(tag: bytes, value: bytes, codec: str) -> set[str]:
    try:
        text = value.decode(codec)
    except UnicodeDecodeError:
        return set()
    whole = {part.strip(" \0") for part in text.split("\\")} | {text.strip(" \0")}
    if tag in _NAMES:
        parts = [part for part in re.split(r"[\^=\s\\\0]+", text) if part]
        whole |= {*parts, " ".join(parts), " ".join(reversed(parts)), ", ".join(parts)}
    if tag == _BIRTH_DATE and len(day := text.strip(" \0")) == 8:
        whole.add(f"{day[:4]}-{day[4:6]}-{day[6:]}")
    return whole
