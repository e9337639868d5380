"""Parses headers with a known layout in one step.

The files of a series have the same elements in the same order; only values and a few lengths differ. A regular
expression made from one header describes this layout: each tag, VR and length in its place. If it matches, reading
element by element would give the same result in ten times the time. Other headers are read element by element.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Sequence
from typing import NamedTuple

from xnatctl.inventory.vr import LONG, SHORT, UNDEFINED

#: Limit for known layouts; the one used last is tried first.
_MOST = 4
#: Number of headers without a match before one is learned, at first and at most: learning takes as long as reading a
#: hundred headers.
_SOON, _LATE = 8, 256
#: Longer values are assumed to have a constant length (bytes).
_VARYING = 64
#: Headers of more elements are not learned.
_ELEMENTS = 400
_ELEMENT = struct.Struct("<HH2sH").unpack_from
_LONG_LENGTH = struct.Struct("<I").unpack_from

#: A length of two bytes, and that many bytes.
_OF_ANY_LENGTH = b"|".join(
    re.escape(struct.pack("<H", length)) + b".{%d}" % length for length in range(0, _VARYING + 2, 2)
)

#: Elements by tag, the offset of the data set, and that of the element after the last.
Found = tuple[dict[int, bytes], int, int]


class _Element(NamedTuple):
    """`head` is tag, VR and length; `value` is set if it is part of the layout."""

    tag: int
    head: bytes
    length: int
    value: bytes = b""


class _Layout(NamedTuple):
    """`tags` are those of the groups of `pattern`; group number `start`, with tag 0, is the start of the data set.

    The pattern ends with the first eight bytes of the element after the last. The values of `measured` follow their
    own lengths, because those vary.
    """

    elements: Sequence[_Element]
    varying: frozenset[int]
    pattern: re.Pattern[bytes]
    tags: tuple[int, ...]
    start: int
    measured: tuple[int, ...]


class _Layouts:
    """Learns layouts of elements in explicit little endian.

    `wanted` are the tags whose values are returned, `last` is the last tag that is read, and the values of `fixed` are
    part of the layout.
    """

    def __init__(self, *, last: int, wanted: Collection[int] = (), fixed: Collection[int] = ()) -> None:
        self._wanted, self._fixed, self._last = wanted, fixed, last
        self._known: tuple[_Layout, ...] = ()
        self._missed, self._patience = 0, _SOON

    def _match(self, head: bytes, position: int) -> tuple[_Layout, re.Match[bytes]] | None:
        for layout in self._known:
            match = layout.pattern.match(head, position)
            if match is None:
                continue
            if layout is not self._known[0]:
                self._known = (layout, *(other for other in self._known if other is not layout))
            return layout, match
        return None

    def _learn(self, head: bytes, position: int, prefix: bytes) -> None:
        """Learn the layout of elements that were read one by one, if that happened often enough."""
        self._missed += 1
        if self._missed < self._patience:
            return
        self._missed, self._patience = 0, min(2 * self._patience, _LATE)
        elements = self._elements(head, position)
        if elements is None:
            return
        known = [(layout, _differences(layout.elements, elements)) for layout in self._known]
        like = next(((layout, lengths) for layout, lengths in known if lengths is not None), None)
        varying = frozenset[int]() if like is None else like[0].varying | like[1]
        others = [layout for layout in self._known if like is None or layout is not like[0]]
        self._known = (self._layout(prefix, elements, varying), *others[: _MOST - 1])

    def _elements(self, head: bytes, position: int) -> list[_Element] | None:
        """The elements up to the one after the last; None for elements without a layout."""
        found: list[_Element] = []
        previous = -1
        while position + 12 <= len(head) and len(found) < _ELEMENTS:
            group, element, vr, length = _ELEMENT(head, position)
            tag = group << 16 | element
            if tag > self._last:
                return [*found, _Element(tag, head[position : position + 4], 0)]
            size = 8
            if vr in LONG:
                size, length = 12, _LONG_LENGTH(head, position + 8)[0]
            if tag <= previous or length == UNDEFINED or not (size == 12 or vr in SHORT):
                return None
            begin, end = position + size, position + size + length
            found.append(_Element(tag, head[position:begin], length, head[begin:end] if tag in self._fixed else b""))
            previous, position = tag, end
        return None

    def _layout(self, prefix: bytes, elements: Sequence[_Element], varying: frozenset[int]) -> _Layout:
        pieces, tags, start = [prefix], list[int](), 0
        *read, behind = elements
        for number, (tag, head, length, value) in enumerate(read):
            if not start and tag >> 16 != 2:
                tags.append(0)
                start = len(tags)
                pieces.append(b"()")
            kept = tag in self._wanted
            if kept:
                tags.append(tag)
            content = re.escape(value) if tag in self._fixed else b".{%d}" % length
            same = head
            if number in varying:
                same, content = head[:6], _OF_ANY_LENGTH
            pieces.append(re.escape(same) + (b"(%b)" % content if kept else b"(?:%b)" % content))
        if not start:
            tags.append(0)
            start = len(tags)
            pieces.append(b"()")
        pieces.append(re.escape(behind.head) + b".{4}")
        pattern = re.compile(b"".join(pieces), re.DOTALL)
        measured = tuple(read[number].tag for number in varying if read[number].tag in self._wanted)
        return _Layout(elements, varying, pattern, tuple(tags), start, measured)


class HeadLayouts(_Layouts):
    """Layouts of files with preamble and meta header, of any transfer syntax that is not deflated."""

    def find(self, head: bytes) -> Found | None:
        """The result of reading `head`; None if it has an unknown layout."""
        found = self._match(head, 0)
        if found is None:
            return None
        layout, match = found
        elements = dict(zip(layout.tags, match.groups(), strict=True))
        for tag in layout.measured:
            elements[tag] = elements[tag][2:]
        return elements, match.start(layout.start), match.end() - 8

    def missed(self, head: bytes) -> None:
        """Report a header that was read element by element."""
        if head[128:134] == b"DICM\x02\x00":
            self._learn(head, 132, rb".{128}DICM")


class RestLayouts(_Layouts):
    """Layouts of the elements from some position on, without values."""

    def find(self, head: bytes, position: int) -> int | None:
        """The result of following `head` from `position`; None if it has an unknown layout."""
        found = self._match(head, position)
        return found[1].end() - 8 if found is not None else None

    def missed(self, head: bytes, position: int) -> None:
        """Report elements that were followed one by one."""
        self._learn(head, position, b"")


def _differences(one: Sequence[_Element], other: Sequence[_Element]) -> frozenset[int] | None:
    """The numbers of the elements whose lengths differ between two headers; None if they differ otherwise."""
    if [(e.tag, e.head[:6]) for e in one] != [(e.tag, e.head[:6]) for e in other]:
        return None
    numbers = [number for number, (a, b) in enumerate(zip(one, other, strict=True)) if a.head != b.head]
    short = all(
        len(e.head) == 8 and e.length <= _VARYING and e.length % 2 == 0
        for number in numbers for e in (one[number], other[number])
    )  # fmt: skip
    return frozenset(numbers) if short else None
