"""Reading DICOM files as XNAT's library (dcm4che2) does, without the reader of core.

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from xnatctl_sandbox.receive.dicom_elements import (
    EXPLICIT_SYNTAX,
    IMPLICIT_SYNTAX,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    SYNTAXES,
    TRANSFER_SYNTAX,
    UNDEFINED,
    DataSet,
    Element,
    Head,
    Syntax,
    Unreadable,
    text_of,
    vr_of,
)

#: Java's stack ends somewhere: deeper sequences are unreadable.
_DEEPEST = 200
#: How much of a deflated data set is looked at; XNAT streams it.
_INFLATED = 256 << 20

Data = bytes | mmap.mmap


class _End(Exception):
    """The data end in the middle of something."""


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
        parser.parse(found, UNDEFINED, ITEM_END)
    except _End:
        raise Unreadable("unexpected end of the data") from None
    meta = {tag: element for tag, element in found.items() if tag >> 16 == 2}
    data_set = {tag: element for tag, element in found.items() if tag >> 16 > 2}
    return Head(meta, data_set, parser.rest)


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

    def _guess(self) -> Syntax:
        """The encoding of the first element; its tag must be in the dictionary."""
        if self._data[128:132] == b"DICM":
            self._at = 132
        start = self._data[self._at : self._at + 6].ljust(6, b"\0")
        for big_endian in (False, True):
            tag = _tag(start, big_endian=big_endian)
            if (vr := vr_of(tag)) != "UN":
                self._meta_expected = tag >> 16 == 2
                return Syntax(explicit=start[4:6] == vr.encode(), big_endian=big_endian)
        raise Unreadable("no DICOM stream")

    def parse(self, into: DataSet, length: int, end: int) -> None:
        """Elements until `end`, or for `length` bytes."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too many sequences in each other")
        limit = None if length == UNDEFINED else self._at + length
        tag, more = 0, True
        while more and tag != end and (limit is None or self._at < limit):
            self._marked = self._at
            try:
                tag, vr, size = self._header(into)
            except _End:
                if limit is not None:
                    raise
                tag, vr, size = SEQUENCE_END if end == SEQUENCE_END else ITEM_END, "", 0
                self._at = len(self._data)
            syntax = self._syntax
            if tag >> 16 != 0xFFFE and vr in ("", "UN"):
                self._syntax = IMPLICIT_SYNTAX  # sequences in a value of UN are encoded so
                vr = vr_of(tag)
            more = self._value(into, tag, vr, size)
            self._syntax = syntax
            if self._meta_expected and self._at == self._meta_end:
                self._meta_expected = False
                if uid := text_of(into.get(TRANSFER_SYNTAX)):
                    self._switch(SYNTAXES.get(uid, EXPLICIT_SYNTAX))
        self._depth -= 1

    def _switch(self, syntax: Syntax) -> None:
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
                self._syntax = replace(SYNTAXES.get(uid, EXPLICIT_SYNTAX), deflated=False)
                tag = _tag(header, big_endian=self._syntax.big_endian)
        order = ">" if self._syntax.big_endian else "<"
        if tag >> 16 == 0xFFFE or not self._syntax.explicit:
            return tag, "", struct.unpack(f"{order}I", header[4:])[0]
        vr = header[4:6].decode("latin-1")
        if vr == "??":  # as Siemens wrote UN once
            return tag, "UN", struct.unpack(f"{order}H", header[6:])[0]
        if vr not in SHORT_VRS and vr not in LONG_VRS:
            vr = vr_of(tag)
        if vr in SHORT_VRS:
            return tag, vr, struct.unpack(f"{order}H", header[6:])[0]
        return tag, vr, struct.unpack(f"{order}I", self._take(4))[0]

    def _value(self, into: DataSet, tag: int, vr: str, size: int) -> bool:
        """One value; False when the stop tag is reached."""
        if self._stop is not None and tag >= self._stop and not self._sequences:
            return False
        if tag == ITEM:
            self._item(size)
        elif tag in (ITEM_END, SEQUENCE_END):
            self._at = min(self._at + (size if size < 1 << 31 else 0), len(self._data))
        elif size == UNDEFINED or vr == "SQ":
            element = Element(tag, vr, big_endian=self._syntax.big_endian)
            _put(into, element)
            self._sequences.append(element)
            self.parse(into, size, SEQUENCE_END)
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
        if size == UNDEFINED and sequence.vr == "UN":
            sequence.vr = "SQ"
            fragments, sequence.fragments = sequence.fragments, []
            for fragment in fragments:
                sequence.items.append(_implicit_item(fragment))
        if sequence.vr == "SQ":
            item: DataSet = {}
            self.parse(item, size, ITEM_END)
            sequence.items.append(item)
        elif size == UNDEFINED:
            raise Unreadable("an item of unknown length in a value that is no sequence")
        else:
            sequence.fragments.append(self._take(size))


def _implicit_item(data: bytes) -> DataSet:
    """A fragment that turns out to be an item."""
    parser, item = _Parser(b"\x08\0\x05\0\0\0" + data, None), DataSet()
    parser._at, parser._syntax = 6, IMPLICIT_SYNTAX  # noqa: SLF001 - nothing is to be guessed
    parser.parse(item, len(data), ITEM_END)
    return item


def _put(into: DataSet, element: Element) -> None:
    """Add an element, except group lengths, which the library drops."""
    if element.tag & 0xFFFF:
        into[element.tag] = element
