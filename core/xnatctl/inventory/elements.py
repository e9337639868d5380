"""Follows the elements of a data set by their lengths to the end of the file (DICOM PS3.5 section 7).

Values and Pixel Data are skipped, so a file of any size needs few reads. Encapsulated Pixel Data are followed fragment
by fragment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from typing import Protocol

from xnatctl.inventory.vr import LONG, SHORT, UNDEFINED

#: Maximum nesting of sequences.
DEPTH = 32
#: Limit for headers and nested sequences that are read, without values (bytes).
MOST_READ = 256 * 2**20
#: Limit for a wanted value (bytes).
_LONGEST = 4096
_WINDOW = 4096
LARGEST_WINDOW = 256 * 1024
#: Bytes that are read after a skipped fragment.
_FRAGMENT_WINDOW = 64
#: Zero bytes after the last element of a file without Pixel Data that count as padding.
_MOST_PADDING = 4096

_ZEROS = "damaged: its last {} bytes are zeros"

#: Float, Double Float and integer Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25).
_PIXEL_DATA = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_ROWS = 0x00280010
#: Pixel Data Provider URL: the pixel data of a JPIP file are elsewhere (PS3.5 A.6).
_PROVIDER = 0x00287FE0
#: Line ends that editors and text transfers add to a file; no element begins with them.
_LINE_ENDS = (b"\n", b"\r\n")
#: Bytes after a data set that are searched for the beginning of another file.
_BEHIND = 8192
#: Elements that may follow Pixel Data: Digital Signatures Sequence and Data Set Trailing Padding.
_BEHIND_PIXELS = frozenset((0xFFFAFFFA, 0xFFFCFFFC))
#: XNAT identifies a session by elements up to this one by default, and copies what follows as it is (xnat-import
#: 4.1a).
_IDENTIFYING = 0x00324000


class Read(Protocol):
    """Reads `count` bytes from `offset` on, fewer only at the end."""

    def __call__(self, count: int, offset: int = 0, /) -> bytes: ...


class Cut(Exception):
    """The data end `missing` bytes before the end of an element; more may be missing unless `exact`."""

    def __init__(self, missing: int, *, exact: bool = False) -> None:
        super().__init__(missing)
        self.missing = missing
        self.exact = exact


class Broken(Exception):
    """Damaged, or beyond a limit, for every reader."""


class Odd(Exception):
    """Not understood by this reader; pydicom may read it."""


#: By byte order: tag, VR and short length of an element; a tag; a long length.
_READERS = {
    order: tuple(struct.Struct(f"{order}{form}").unpack_from for form in ("HH2sH", "HH", "I")) for order in "<>"
}


class Elements:
    """Reads the elements of one encoding.

    `size` is the size of the data. If it is unknown, `size` is a bound, and `extent` returns the size after the end was
    read. `data`, if given, begins at `base`.
    """

    def __init__(
        self,
        read: Read,
        size: int,
        *,
        order: str = "<",
        implicit: bool = False,
        data: bytes = b"",
        base: int = 0,
        extent: Callable[[], int] | None = None,
    ) -> None:
        self._extent = extent
        self._read, self._size = read, size
        self._order, self._implicit = order, implicit
        self._element, self._tag, self._u4 = _READERS[order]
        self._data, self._base = data, base
        self._window, self._least, self._budget = _WINDOW, _WINDOW, MOST_READ
        self._tail_at = 0
        self.has_rows = self.has_pixels = self.refers_to_pixels = False
        #: The last tag that `follow` understood, and whether the tags up to Pixel Data are in ascending order.
        self.reached, self.in_order = -1, True

    @property
    def tail(self) -> int:
        """The number of bytes at the end that a server keeps when it rewrites the header; valid after `follow`.

        With Pixel Data they begin with its value, otherwise with the first element above (0032,4000); 0 if there are
        none.
        """
        return self._size - self._tail_at if self._tail_at else 0

    def follow(  # noqa: C901, PLR0912, PLR0915 - one loop, for speed
        self,
        position: int,
        found: dict[int, bytes],
        *,
        wanted: Collection[int] = frozenset(),
        last: int = 0,
        group: int | None = None,
    ) -> int:
        """Follow the elements from `position` to the end of the data, or of `group`; returns that position.

        `found` gets the values of the `wanted` tags, of which `last` is the highest. Up to Pixel Data the order of the
        elements does not matter. Raises Cut, Broken, Odd.
        """
        implicit, element, u4 = self._implicit, self._element, self._u4
        short = frozenset[bytes]() if implicit else SHORT
        data, base = self._data, self._base
        full = base + len(data) - 12
        previous, padded = -1, False
        while True:
            if position > full:
                left = self._load(position, 12)
                if left < 8:
                    self._check_rest(position, left)
                    return position
                data, base = self._data, self._base
                full = base + len(data) - 12 if left >= 12 else position
            number, part, vr, length = element(data, position - base)
            tag = number << 16 | part
            if group is not None and number != group:
                return position
            if self.has_pixels:
                if tag <= previous or not _may_follow_pixels(tag, vr, implicit=implicit):
                    check_behind(self._read, position)
                    return position  # bytes after the data set
            elif tag <= previous:
                if tag == 0:
                    check_behind(self._read, position)
                    self._check_zeros(self._size - position, padded=padded)
                    return position
                self.in_order = False
            previous, start = tag, position
            if vr in short:
                value = position + 8
            elif implicit:
                value, length = position + 8, u4(data, position - base + 4)[0]
            elif vr in LONG:
                value = position + 12
                if value > self._size:
                    raise Cut(value - self._size)
                length = u4(data, position - base + 8)[0]
            else:
                self.reached = previous
                raise self._odd(position, "it holds an element without a known VR")
            if tag > _IDENTIFYING and not self.has_pixels:
                if tag in _PIXEL_DATA:
                    self.has_pixels, self._tail_at = True, value
                elif not self._tail_at:
                    self._tail_at = start
            if length == UNDEFINED and vr not in short:
                self.reached = tag
                if tag in _PIXEL_DATA:
                    position = self._fragments(value)
                else:
                    position = self._nested(value, 0, vr, implicit=implicit)
                data, base = self._data, self._base
                full = base + len(data) - 12
                padded = False
                continue
            position = value + length
            if position > self._size:
                raise Cut(position - self._size, exact=True)
            padded = False
            if tag <= last and tag in wanted:
                found[tag] = content = self._value(value, min(length, _LONGEST))
                data, base = self._data, self._base
                full = base + len(data) - 12
                padded = content.endswith(b"\0\0")
            elif tag == _ROWS:
                self.has_rows = True
            elif tag == _PROVIDER:
                self.refers_to_pixels = True

    def _load(self, position: int, count: int) -> int:
        """Move the window to `position`, with `count` bytes or all that are left; returns how many are left."""
        left = self._size - position
        if left > 0:
            if self._base and position <= self._base + len(self._data):
                self._window = min(4 * self._window, LARGEST_WINDOW)
                self._budget -= min(self._window, left)
                if self._budget < 0:
                    raise Broken(f"its header is longer than {MOST_READ // 2**20} MiB")
            else:  # after a skipped value
                self._window = self._least
            wanted = min(max(self._window, count), left)
            self._data, self._base = self._read(wanted, position), position
            if len(self._data) < wanted and self._extent is not None:
                self._size = self._extent()
                left = self._size - position
            elif len(self._data) < min(count, left):
                raise Cut(left - len(self._data))  # the file was truncated meanwhile
        if left < 0:
            raise Cut(-left, exact=True)
        return left

    def _at(self, position: int, count: int) -> int:
        """The index of `position` in the window, which holds `count` bytes from there. Raises Cut."""
        at = position - self._base
        if at + count > len(self._data):
            left = self._load(position, count)
            if left < count:
                raise Cut(count - left)
            return 0
        return at

    def _value(self, position: int, length: int) -> bytes:
        at = self._at(position, length)
        return self._data[at : at + length]

    def _check_rest(self, position: int, left: int) -> None:
        """Fewer than eight bytes are left: raise Cut unless they are padding."""
        if left <= 0:
            return
        rest = self._read(left, position)
        if self.has_pixels:
            tags = (struct.pack(f"{self._order}HH", tag >> 16, tag & 0xFFFF) for tag in _BEHIND_PIXELS)
            if any(rest[:4] == tag[: len(rest)] for tag in tags):
                raise Cut(8 - left)
        elif rest not in _LINE_ENDS and (any(rest) or (self._order == ">" and left == 1)):
            raise Cut(8 - left)  # in big endian, one zero byte may begin a tag

    def _check_zeros(self, left: int, *, padded: bool) -> None:
        """Zero bytes take the place of an element: raise Broken unless they are padding.

        Programs that reserve the space of a file before copying leave zeros if they are interrupted.
        """
        if padded or (self.has_rows and not self.refers_to_pixels) or left > _MOST_PADDING:
            raise Broken(_ZEROS.format(left))

    def _is_implicit(self, position: int) -> bool:
        """Whether a sequence of VR UN is in implicit VR, as required (PS3.5 6.2.2); some writers use explicit VR."""
        at = self._at(position, 8)
        if self._size - position < 16:
            return True
        at = self._at(position, 16)
        vr = self._data[at + 12 : at + 14]
        return not (vr in SHORT or vr in LONG)

    def _nested(self, position: int, depth: int, vr: bytes, *, implicit: bool) -> int:
        """The end of a sequence of undefined length. A sequence of VR UN is always in little endian (PS3.5 6.2.2)."""
        if implicit or vr != b"UN":
            return self._sequence(position, depth, implicit=implicit)
        outside = self._element, self._tag, self._u4
        at = self._at(position, 4)
        if self._data[at : at + 2] == b"\xfe\xff":
            self._element, self._tag, self._u4 = _READERS["<"]
        end = self._sequence(position, depth, implicit=self._is_implicit(position))
        self._element, self._tag, self._u4 = outside
        return end

    def _sequence(self, position: int, depth: int, *, implicit: bool) -> int:
        """The end of a sequence of undefined length; `position` is at its first item (PS3.5 7.5)."""
        if depth > DEPTH:
            raise Broken(f"its sequences are nested more than {DEPTH} deep")
        while True:
            at = self._at(position, 8)
            group, part = self._tag(self._data, at)
            length = self._u4(self._data, at + 4)[0]
            position += 8
            if group != 0xFFFE:
                raise self._odd(position - 8, "a sequence in it contains something other than items")
            if part == 0xE0DD:
                return position
            if length == UNDEFINED:
                position = self._item(position, depth, implicit=implicit)
            else:
                position += length
                if position > self._size:
                    raise Cut(position - self._size, exact=True)

    def _item(self, position: int, depth: int, *, implicit: bool) -> int:
        """The end of an item of undefined length; `position` is at its first element."""
        while True:
            at = self._at(position, 8)
            group, part, vr, length = self._element(self._data, at)
            if group == 0xFFFE and part == 0xE00D:
                return position + 8
            if not group:
                raise self._odd(position, "an item in it contains something other than elements")
            if implicit:
                position, length = position + 8, self._u4(self._data, at + 4)[0]
            elif vr in SHORT:
                position += 8
            elif vr in LONG:
                length = self._u4(self._data, self._at(position, 12) + 8)[0]
                position += 12
            else:
                raise self._odd(position, "it holds an element without a known VR")
            if length == UNDEFINED:
                position = self._nested(position, depth + 1, vr, implicit=implicit)
            else:
                position += length
                if position > self._size:
                    raise Cut(position - self._size, exact=True)

    def _odd(self, position: int, problem: str) -> Exception:
        """The error if no element can be read: Broken if zeros follow, as in a file that was copied in part."""
        left = self._size - position
        behind = self._read(min(_MOST_PADDING, left), position)[12:]
        zeros = left > _MOST_PADDING or problem.startswith(("a sequence", "an item"))
        if zeros and behind and not any(behind):
            return Broken(_ZEROS.format(left))
        return Odd(problem)

    def _fragments(self, position: int) -> int:
        """The end of encapsulated Pixel Data; `position` is at its Basic Offset Table (PS3.5 A.4)."""
        self._least, self._budget = _FRAGMENT_WINDOW, 2 * self._size  # there may be millions, and each has a header
        while True:
            at = self._at(position, 8)
            tag = self._tag(self._data, at)
            length = self._u4(self._data, at + 4)[0]
            position += 8
            if tag == (0xFFFE, 0xE0DD):
                return position
            if tag != (0xFFFE, 0xE000) or length == UNDEFINED:
                raise Broken("damaged: its Pixel Data contain something other than fragments")
            position += length
            if position > self._size:
                raise Cut(position - self._size, exact=False)


def check_behind(read: Read, position: int) -> None:
    """Raise Broken if another DICOM file follows a data set: only the first of them would arrive."""
    if (place := read(_BEHIND, position).find(b"DICM\x02\0")) >= 128:
        raise Broken(f"another DICOM file follows, {position + place - 128} bytes in: split the file")


def _may_follow_pixels(tag: int, vr: bytes, *, implicit: bool) -> bool:
    """False for trailing bytes that are not an element."""
    if tag not in _BEHIND_PIXELS and not 0x7FE00000 <= tag < 0x80000000:
        return False
    return implicit or vr in SHORT or vr in LONG
