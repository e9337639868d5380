"""DICOM files as XNAT's library (dcm4che2) reads and writes them; no other reader of this project takes part.

XNAT parses the head of a file and writes that part anew (xnat-import 4.1a). The rules of the library:

- A value that is cut off is an error. An element whose header is cut off is the end of the data set.
- Elements are kept by tag and written in the order of their tags. Those of groups 0000 and 0001 are dropped.
- Group lengths are dropped. Sequences and items get undefined lengths, unless they are empty.
- UN becomes the VR of the dictionary, and its value is taken for implicit little endian.
- File meta information is kept with its length corrected, or made where it names no transfer syntax.
- Without file meta information the first tag decides what the encoding is, but Explicit VR Little Endian is written.
- A deflated data set becomes a deflated head, and behind it the deflated data as they came.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
#: VRs with a length of four bytes in explicit encodings (PS3.5, section 7.1.2).
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
     "UL", "US"}
)  # fmt: skip
_TEXT = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
#: Sizes of the numbers in a value, for a change of the byte order.
_UNITS = {"AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "SL": 4, "SS": 2, "SV": 8, "UL": 4,
          "US": 2, "UV": 8}  # fmt: skip
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
#: dcm4che2 as it names itself in the file meta information that it makes.
_IMPLEMENTATION = (b"1.2.40.0.13.1.1\0", b"dcm4che-2.0 ")
#: Java's stack ends somewhere: deeper sequences are unreadable.
_DEEPEST = 200
#: How much of a deflated data set is looked at; XNAT streams it.
_INFLATED = 256 << 20

Data = bytes | mmap.mmap


class Unreadable(Exception):
    """The library raises an exception here: the object is refused."""


class _End(Exception):
    """The data end in the middle of something."""


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
class _Syntax:
    explicit: bool
    big_endian: bool = False
    deflated: bool = False


_EXPLICIT, _IMPLICIT = _Syntax(explicit=True), _Syntax(explicit=False)
_SYNTAXES = {
    IMPLICIT: _IMPLICIT,
    BIG_ENDIAN: _Syntax(explicit=True, big_endian=True),
    DEFLATED: _Syntax(explicit=True, deflated=True),
    "1.2.840.10008.1.2.4.95": _Syntax(explicit=True, deflated=True),  # JPIP Referenced Deflate
}


@dataclass
class Head:
    """What was parsed. `rest` is where the bytes begin that are copied as they are."""

    meta: DataSet
    data_set: DataSet
    rest: int

    @property
    def transfer_syntax(self) -> str:
        """The UID by which it is written; Explicit VR Little Endian where the file names none."""
        return text_of(self.meta.get(TRANSFER_SYNTAX)) or EXPLICIT


@contextmanager
def opened(path: Path) -> Iterator[Data]:
    """The content of a file, mapped where it is large."""
    with path.open("rb") as stream:
        if path.stat().st_size < 1 << 20:
            yield stream.read()
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def read(data: Data, stop: int | None = None) -> Head:
    """Parse up to the first element whose tag is `stop` or higher; all of it when `stop` is None. Raises Unreadable."""
    parser = _Parser(data, stop)
    found: DataSet = {}
    try:
        parser.parse(found, _UNDEFINED, _ITEM_END)
    except _End:
        raise Unreadable("unexpected end of the data") from None
    meta = {tag: element for tag, element in found.items() if tag >> 16 == 2}
    data_set = {tag: element for tag, element in found.items() if tag >> 16 > 2}
    return Head(meta, data_set, parser.rest)


def write(head: Head, *, sender: str = "") -> bytes:
    """Preamble, file meta information and the data set that was parsed."""
    meta = head.meta if TRANSFER_SYNTAX in head.meta else _new_meta(head.data_set, sender)
    pieces: list[bytes] = []
    _write(pieces, meta.values(), _EXPLICIT)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, sum(map(len, pieces)))
    syntax = _SYNTAXES.get(head.transfer_syntax, _EXPLICIT)
    written: list[bytes] = []
    _write(written, head.data_set.values(), syntax)
    body = b"".join(written)
    if syntax.deflated:  # a stream of its own, which ends here: what follows is not part of it any more
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    return b"".join([bytes(128), b"DICM", length, *pieces, body])


def _new_meta(data_set: DataSet, sender: str) -> DataSet:
    """File meta information for what came without a transfer syntax."""
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


# values


def text_of(element: Element | None, encodings: str = "") -> str:
    """A value as text, several values with a backslash between them; `encodings` is the Specific Character Set."""
    if element is None or element.items or element.fragments:
        return ""
    value, vr = element.value, element.vr
    if vr in _NUMBERS:
        size = _UNITS[vr]
        numbers = struct.unpack(
            f"{'>' if element.big_endian else '<'}{len(value) // size}{_NUMBERS[vr]}",
            value[: len(value) // size * size],
        )
        return "\\".join(map(str, numbers))
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii").strip(" \0")
    return _decoded(value, encodings).strip(" \0")


def _decoded(value: bytes, encodings: str) -> str:
    import warnings

    from pydicom.charset import convert_encodings, decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = convert_encodings(encodings.split("\\"))
            return decode_bytes(value, names, {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D})
        except (LookupError, ValueError):
            return value.decode("latin-1")


def vr_of(tag: int) -> str:
    """The VR by the dictionary; UN for what it does not know, and for private elements."""
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


# reading


def _tag(data: bytes, *, big_endian: bool) -> int:
    group, element = struct.unpack(">HH" if big_endian else "<HH", data[:4])
    return int(group << 16 | element)


class _Parser:
    def __init__(self, data: Data, stop: int | None) -> None:
        self._data = data
        self._stop = stop
        self._at = 0
        self._marked = 0
        self._rest: int | None = None  # set where a deflated stream begins
        self._meta_expected = False
        self._meta_end = -1
        self._sequences: list[Element] = []
        self._depth = 0
        self._syntax = self._guess()
        self._current = (0, "", 0)  # tag, VR and length of the element that is being read

    @property
    def rest(self) -> int:
        """Where the bytes begin that were not parsed: XNAT resets its stream to the last mark."""
        return self._marked if self._rest is None else self._rest

    def _guess(self) -> _Syntax:
        """The encoding of the first element; its tag must be in the dictionary."""
        if self._data[128:132] == b"DICM":
            self._at = 132
        start = self._data[self._at : self._at + 6].ljust(6, b"\0")
        for big_endian in (False, True):
            tag = _tag(start, big_endian=big_endian)
            if (vr := vr_of(tag)) != "UN":
                self._meta_expected = tag >> 16 == 2
                return _Syntax(explicit=start[4:6] == vr.encode(), big_endian=big_endian)
        raise Unreadable("no DICOM stream")

    def parse(self, into: DataSet, length: int, end: int) -> None:
        """Elements until `end`, or for `length` bytes."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too many sequences in each other")
        limit = None if length == _UNDEFINED else self._at + length
        tag, more = 0, True
        while more and tag != end and (limit is None or self._at < limit):
            self._marked = self._at
            try:
                tag, vr, size = self._header(into)
            except _End:
                if limit is not None:
                    raise
                tag, vr, size = _SEQUENCE_END if end == _SEQUENCE_END else _ITEM_END, "", 0
                self._at = len(self._data)
            syntax = self._syntax
            if tag >> 16 != 0xFFFE and vr in ("", "UN"):
                self._syntax = _IMPLICIT  # sequences in a value of UN are encoded so
                vr = vr_of(tag)
            more = self._value(into, tag, vr, size)
            self._syntax = syntax
            if self._meta_expected and self._at == self._meta_end:
                self._meta_expected = False
                if uid := text_of(into.get(TRANSFER_SYNTAX)):
                    self._switch(_SYNTAXES.get(uid, _EXPLICIT))
        self._depth -= 1

    def _switch(self, syntax: _Syntax) -> None:
        self._syntax = syntax
        if not syntax.deflated:
            return
        self._rest = self._at
        raw = self._data[self._at :]
        inflater = zlib.decompressobj(zlib.MAX_WBITS if raw[:2] == b"\x78\x9c" else -zlib.MAX_WBITS)
        try:
            self._data, self._at = inflater.decompress(raw, _INFLATED), 0
        except zlib.error as error:
            raise Unreadable(str(error)) from None

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise _End
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def _header(self, into: DataSet) -> tuple[int, str, int]:
        header = self._take(8)
        tag = _tag(header, big_endian=self._syntax.big_endian)
        if self._meta_expected and tag >> 16 != 2:  # the length of the group is missing, or wrong
            self._meta_expected = False
            if uid := text_of(into.get(TRANSFER_SYNTAX)):
                self._syntax = replace(_SYNTAXES.get(uid, _EXPLICIT), deflated=False)
                tag = _tag(header, big_endian=self._syntax.big_endian)
        order = ">" if self._syntax.big_endian else "<"
        if tag >> 16 == 0xFFFE or not self._syntax.explicit:
            return tag, "", struct.unpack(f"{order}I", header[4:])[0]
        vr = header[4:6].decode("latin-1")
        if vr == "??":  # as Siemens wrote UN once
            return tag, "UN", struct.unpack(f"{order}H", header[6:])[0]
        if vr not in _SHORT and vr not in _LONG:
            vr = vr_of(tag)
        if vr in _SHORT:
            return tag, vr, struct.unpack(f"{order}H", header[6:])[0]
        return tag, vr, struct.unpack(f"{order}I", self._take(4))[0]

    def _value(self, into: DataSet, tag: int, vr: str, size: int) -> bool:
        """One value; False when the stop tag is reached."""
        if self._stop is not None and tag >= self._stop and not self._sequences:
            return False
        if tag == _ITEM:
            self._item(size)
        elif tag in (_ITEM_END, _SEQUENCE_END):
            self._at = min(self._at + (size if size < 1 << 31 else 0), len(self._data))
        elif size == _UNDEFINED or vr == "SQ":
            element = Element(tag, vr, big_endian=self._syntax.big_endian)
            _put(into, element)
            self._sequences.append(element)
            self.parse(into, size, _SEQUENCE_END)
            self._sequences.pop()
        else:
            element = Element(tag, vr, self._take(size), big_endian=self._syntax.big_endian)
            _put(into, element)
            if tag == 0x00020000:
                self._meta_end = self._at + int.from_bytes(element.value[:4], "little")
        return True

    def _item(self, size: int) -> None:
        if not self._sequences:
            raise Unreadable("an item outside of a sequence")
        sequence = self._sequences[-1]
        if size == _UNDEFINED and sequence.vr == "UN":
            sequence.vr = "SQ"
            fragments, sequence.fragments = sequence.fragments, []
            for fragment in fragments:
                sequence.items.append(_implicit_item(fragment))
        if sequence.vr == "SQ":
            item: DataSet = {}
            self.parse(item, size, _ITEM_END)
            sequence.items.append(item)
        elif size == _UNDEFINED:
            raise Unreadable("an item of unknown length in a value that is no sequence")
        else:
            sequence.fragments.append(self._take(size))


def _implicit_item(data: bytes) -> DataSet:
    """A fragment that turns out to be an item."""
    parser, item = _Parser(b"\x08\0\x05\0\0\0" + data, None), DataSet()
    parser._at, parser._syntax = 6, _IMPLICIT  # noqa: SLF001 - nothing is to be guessed
    parser.parse(item, len(data), _ITEM_END)
    return item


def _put(into: DataSet, element: Element) -> None:
    """Group lengths are never kept (library)."""
    if element.tag & 0xFFFF:
        into[element.tag] = element


# writing


def _write(out: list[bytes], elements: Iterable[Element], syntax: _Syntax) -> None:
    for element in sorted(elements, key=lambda element: element.tag):
        if element.items or element.fragments:
            out.append(_element_header(element.tag, element.vr, _UNDEFINED, syntax))
            for item in element.items:
                # An empty item says that it is empty; all others end with a delimiter.
                out.append(_element_header(_ITEM, "", _UNDEFINED if item else 0, syntax))
                _write(out, item.values(), syntax)
                if item:
                    out.append(_element_header(_ITEM_END, "", 0, syntax))
            for fragment in element.fragments:
                padded = fragment + bytes(len(fragment) % 2)
                out += [_element_header(_ITEM, "", len(padded), syntax), padded]
            out.append(_element_header(_SEQUENCE_END, "", 0, syntax))
            continue
        value = element.value
        if len(value) % 2:
            value += b" " if element.vr in _TEXT and element.vr != "UI" else b"\0"
        if element.big_endian != syntax.big_endian and (unit := _UNITS.get(element.vr)):
            value = b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit))
        out += [_element_header(element.tag, element.vr, len(value), syntax), value]


def _element_header(tag: int, vr: str, length: int, syntax: _Syntax) -> bytes:
    order = ">" if syntax.big_endian else "<"
    if not vr or not syntax.explicit:
        return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, length)
    if vr in _LONG:
        return struct.pack(f"{order}HH2s2xI", tag >> 16, tag & 0xFFFF, vr.encode(), length)
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length & 0xFFFF)
