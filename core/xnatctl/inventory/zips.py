"""Zip files (PKWARE APPNOTE): reads the central directory, and checks that the file contains nothing else.

Concatenated zip files are all read. Every byte must belong to an entry, to the program of a self-extracting file, or
to a run of zeros; a file with other bytes is damaged. The directory is read in pieces, so memory does not grow with it.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from xnatctl.inventory.gzips import Damaged

STORED: Final = 0
DEFLATED: Final = 8

_LOCAL: Final = b"PK\x03\x04"
_CENTRAL: Final = b"PK\x01\x02"
_END: Final = b"PK\x05\x06"
_END64: Final = b"PK\x06\x06"
_LOCATOR64: Final = b"PK\x06\x07"
#: The beginnings of a zip file, including one that was split, or could have been.
_SPLIT: Final = b"PK\x07\x08"
_NOT_SPLIT: Final = b"PK00"
BEGINNINGS: Final = (_LOCAL, _END, _SPLIT, _NOT_SPLIT, _END64)
#: The beginnings of programs.
PROGRAMS: Final = (b"MZ", b"\x7fELF", b"#!", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa")

_END_SIZE: Final = 22
_LONGEST_COMMENT: Final = 0xFFFF
_CENTRAL_SIZE: Final = 46
_LOCAL_SIZE: Final = 30
#: Maximum size of a data descriptor: signature, checksum and two sizes of 8 bytes (APPNOTE 4.3.9).
_DESCRIPTOR: Final = 24
_BLOCK: Final = 1 << 18
#: Limit for zip files in one file.
_MOST_FILES: Final = 1000

#: `pread(count, offset)` of a file.
Pread = Callable[[int, int], bytes]


class Overlap(Exception):
    """Entries share bytes, as in zip bombs (CVE-2024-0450)."""


class TooMany(Exception):
    """There are more entries than the limit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a central directory. `offset` is where its local header begins; sizes in bytes.

    `name_length` is the length of the stored name.
    """

    name: str
    name_length: int
    size: int
    packed_size: int
    offset: int
    method: int
    crc: int
    is_encrypted: bool
    is_link: bool
    is_directory: bool


@dataclass(frozen=True, slots=True)
class _Directory:
    """A central directory. `start` is the beginning of its zip file, `shift` is added to its offsets.

    `count` is exact, or the lower 16 bits.
    """

    start: int
    shift: int
    offset: int
    size: int
    count: int
    exact: bool

    @property
    def behind(self) -> int:
        """The end of its last entry."""
        return self.offset + self.size


def ends_as_zip(tail: bytes, size: int) -> bool:
    """True if a file ends as a zip file; `tail` is its last `TAIL` bytes."""
    place = _find_end(tail)
    if place is None:
        return False
    disk, first, here, count, length, offset = struct.unpack_from("<HHHHII", tail, place + 4)
    if 0 < disk < 0xFFFF and first <= disk and here <= count:
        return True  # the last part of one that was split
    if 0xFFFFFFFF in (length, offset):
        return tail[place - 20 : place - 16] == _LOCATOR64
    position = size - len(tail) + place
    return bool(count) and length >= _CENTRAL_SIZE * count and length + offset <= position


#: Bytes that `ends_as_zip` needs.
TAIL: Final = _END_SIZE + _LONGEST_COMMENT


def entries(pread: Pread, size: int, most: int) -> Iterator[Entry]:
    """The entries of all zip files in a file of `size` bytes, first file first.

    Raises Damaged, Overlap, and TooMany for more than `most` entries, usually before the first entry.
    """
    directories = _directories(pread, size, most)
    for directory in directories:
        most -= _account(pread, directory, most)
    for directory in directories:
        yield from _read_directory(pread, directory)


# locating directories and entries


def _directories(pread: Pread, size: int, most: int) -> list[_Directory]:
    """The central directories, in the order of the file. Raises Damaged, and TooMany for one of more entries."""
    found: list[_Directory] = []
    end = size
    while True:
        directory = _directory(pread, end, last=not found)
        if directory is None:
            break
        if directory.count > most:
            raise TooMany
        if len(found) == _MOST_FILES:
            raise Damaged(f"more than {_MOST_FILES} zip files are joined in it")
        found.append(directory)
        end = _start(pread, directory)
        found[-1] = replace(directory, start=end)
        if end == 0:
            return found[::-1]
    if not found:
        raise Damaged("the end of a zip file is missing: it is cut off, or something else follows it")
    head = pread(8, 0)
    if head.startswith(PROGRAMS) or (end == 4 and head.startswith((_SPLIT, _NOT_SPLIT))) or _zeros(pread, 0, end):
        return found[::-1]
    raise Damaged(f"its first {end} bytes belong to none of its entries")


def _find_end(tail: bytes) -> int | None:
    """The offset of the end record in the last bytes of a zip file. Zeros may follow it."""
    place, content = len(tail), len(tail.rstrip(b"\0"))
    while (place := tail.rfind(_END, 0, place)) >= 0:
        if len(tail) - place < _END_SIZE:
            continue
        comment = struct.unpack_from("<H", tail, place + 20)[0]
        if content <= place + _END_SIZE + comment <= len(tail):
            return place
    return None


def _directory(pread: Pread, end: int, *, last: bool) -> _Directory | None:
    """The central directory of the zip file that ends at `end`; None if there is none."""
    base = max(0, end - TAIL)
    tail = pread(end - base, base)
    place = _find_end(tail)
    if place is None:
        if last:
            _refuse_trailing(tail, base)
        return None
    disk, first, here, count, size, offset = struct.unpack_from("<HHHHII", tail, place + 4)
    record, exact = base + place, False
    locator = pread(20, record - 20) if record >= 20 else b""
    if locator.startswith(_LOCATOR64):
        record, wide = _end64(pread, record, struct.unpack_from("<Q", locator, 8)[0])
        disk, first, here, count, size, offset = wide
        exact = True
    if disk != first or here != count or (disk and not (exact and disk == 0xFFFF)):
        raise Damaged("it is one part of a split zip file")
    shift = record - size - offset
    if shift < 0 or (size and pread(4, record - size) != _CENTRAL):
        raise Damaged("its central directory is not where it belongs")
    return _Directory(shift, shift, record - size, size, count, exact)


def _start(pread: Pread, directory: _Directory) -> int:
    """The beginning of a zip file; offsets in self-extracting files often count from the program."""
    if directory.shift:
        return directory.shift
    begins = (entry.offset for entry in _read_directory(pread, directory))
    first = next(begins, directory.offset)
    return min(chain((first,), begins)) if first else 0  # usually the first entry is at the beginning


def _refuse_trailing(tail: bytes, base: int) -> None:
    """Raise Damaged if data follow the end record of a zip file; `tail` begins at byte `base`."""
    place = tail.rfind(_END)
    if place >= 0 and len(tail) - place >= _END_SIZE:
        behind = place + _END_SIZE + int(struct.unpack_from("<H", tail, place + 20)[0])
        if behind < len(tail):
            raise Damaged(f"{len(tail) - behind:,} bytes follow its end, from byte {base + behind} on")


def _end64(pread: Pread, locator_end: int, offset: int) -> tuple[int, tuple[int, ...]]:
    """The offset of the zip64 end record, and its fields (APPNOTE 4.3.14)."""
    for place in (offset, locator_end - 20 - 56):
        record = pread(56, place) if 0 <= place < locator_end else b""
        if record.startswith(_END64) and len(record) == 56:
            length = struct.unpack_from("<Q", record, 4)[0]
            if place + 12 + length == locator_end - 20:
                return place, struct.unpack_from("<IIQQQQ", record, 16)
    raise Damaged("its central directory is not where it belongs")


def _zeros(pread: Pread, start: int, end: int) -> bool:
    while start < end:
        block = pread(min(_BLOCK, end - start), start)
        if not block or block.strip(b"\0"):
            return False
        start += len(block)
    return True


def _account(pread: Pread, directory: _Directory, most: int) -> int:
    """Check that the entries fill their zip file; returns their number. Raises Damaged, Overlap, TooMany."""
    starts, ends = array("Q"), array("Q")
    for entry in _read_directory(pread, directory):
        if len(starts) >= most:
            raise TooMany
        starts.append(entry.offset)
        ends.append(data_offset(pread, entry) + entry.packed_size)
    if not all(map(int.__le__, starts, starts[1:])):
        starts, ends = array("Q", sorted(starts)), array("Q", sorted(ends))
    count = len(starts)
    starts.append(directory.offset)
    ends.insert(0, directory.start)
    for end, start in zip(ends, starts, strict=True):
        if end > start:
            if start == directory.offset:
                raise Damaged(f"the entry that ends at byte {end} reaches into the central directory")
            raise Overlap
        if end < start and not _is_nothing(pread, end, start):
            raise Damaged(f"{start - end} bytes from byte {end} on belong to none of its entries")
    return count


def _is_nothing(pread: Pread, start: int, end: int) -> bool:
    """True for bytes that may be between entries: a data descriptor and zeros."""
    return end - start <= _DESCRIPTOR or _zeros(pread, start + _DESCRIPTOR, end)


def data_offset(pread: Pread, entry: Entry) -> int:
    """The offset of the data of an entry. Raises Damaged.

    Only the lengths of name and extra field are taken from the local header; if they are zero, from the central
    directory.
    """
    local = pread(_LOCAL_SIZE, entry.offset)
    if len(local) < _LOCAL_SIZE or not (local.startswith(_LOCAL) or local == bytes(_LOCAL_SIZE)):
        raise Damaged(f"there is no entry at byte {entry.offset}, where one belongs")
    name, extra = struct.unpack_from("<HH", local, 26)
    return entry.offset + _LOCAL_SIZE + (int(name) or entry.name_length) + int(extra)


# the central directory


_FIELDS: Final = struct.Struct("<4sBBHHHHHIIIHHHHHII")


def _read_directory(pread: Pread, directory: _Directory) -> Iterator[Entry]:
    """The entries of one central directory. Raises Damaged if it disagrees with its end record."""
    data, place, position, count = b"", 0, directory.offset, 0
    while place < len(data) or position < directory.behind:
        length = _record_length(data, place)
        if len(data) - place < length:
            block = pread(min(_BLOCK, directory.behind - position), position)
            if not block:
                raise Damaged("its central directory is cut off")
            data, place, position = data[place:] + block, 0, position + len(block)
            continue
        yield _entry(data[place : place + length], directory.shift)
        place, count = place + length, count + 1
    if count != directory.count and (directory.exact or count & 0xFFFF != directory.count):
        raise Damaged(f"its central directory lists {count:,} entries and its end {directory.count:,}")


def _record_length(data: bytes, place: int) -> int:
    if len(data) - place < _CENTRAL_SIZE:
        return _CENTRAL_SIZE
    if not data.startswith(_CENTRAL, place):
        raise Damaged("its central directory is invalid")
    name, extra, comment = struct.unpack_from("<HHH", data, place + 28)
    return _CENTRAL_SIZE + int(name) + int(extra) + int(comment)


def _entry(record: bytes, shift: int) -> Entry:
    (
        _, _, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, _, _, _, attributes, offset,
    ) = _FIELDS.unpack_from(record)  # fmt: skip
    name = record[_CENTRAL_SIZE : _CENTRAL_SIZE + name_length]
    extra = record[_CENTRAL_SIZE + name_length : _CENTRAL_SIZE + name_length + extra_length]
    if 0xFFFFFFFF in (size, packed, offset):
        size, packed, offset = _wide(extra, size, packed, offset)
    shown = _name(name, utf8=bool(flags & 0x800))
    return Entry(
        name=shown,
        name_length=name_length,
        size=size,
        packed_size=packed,
        offset=offset + shift,
        method=method,
        crc=crc,
        is_encrypted=bool(flags & 1),
        is_link=(attributes >> 16) & 0o170000 == 0o120000,
        is_directory=not size and shown.endswith("/"),
    )


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset of a large entry (APPNOTE 4.5.3)."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        field = extra[position + 4 : position + 4 + length]
        position += 4 + length
        if kind != 1:
            continue
        values = []
        for value in (size, packed, offset):
            if value == 0xFFFFFFFF and len(field) >= 8:
                value, field = struct.unpack_from("<Q", field)[0], field[8:]  # noqa: PLW2901 - replaced by the wide value
            values.append(value)
        return values[0], values[1], values[2]
    return size, packed, offset


def _name(raw: bytes, *, utf8: bool) -> str:
    """The name of an entry with slashes; some Windows programs write backslashes (APPNOTE 4.4.17)."""
    raw = raw.partition(b"\0")[0]
    name = raw.decode("utf-8", "surrogateescape") if utf8 else os.fsdecode(raw)
    if "\\" in name and "/" not in name:
        name = name.replace("\\", "/")
    return name[2:] if name.startswith("./") and len(name) > 2 else name
