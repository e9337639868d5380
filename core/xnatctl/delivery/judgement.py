"""Judges from the sizes and sums of stored files whether the instances on disk are stored. Contacts no server.

XNAT rewrites the head of each file and copies the rest (xnat-import 4.1a), so a different stored size proves nothing by
itself. Two facts decide. A stored file that is shorter than the tail of the file on disk has lost data. And a server
changes the heads of similar files alike: the *delta* (stored size minus size on disk) of an instance is compared with
those of its neighbours.

Neighbours are the instances of the same series and transfer syntax. Their *common delta* is the delta of more than half
of them, and of at least two. If a series has none, the instances of the same SOP class and transfer syntax in the whole
session are the neighbours.

| delta                                      | finding | level                                      |
|--------------------------------------------|---------|--------------------------------------------|
| stored file shorter than the tail          | LOST    | none: a difference                         |
| zero                                       | EQUAL   | size                                       |
| the common one                             | ALIKE   | size; uid where the tail is not known      |
| another one than the common one            | ODD     | none: sent again once                      |
| no common one, shorter                     | ODD     | none: sent again once                      |
| no common one, longer                      | GROWN   | uid: nothing indicates a loss              |
| ODD, sent again once, and of the same size | MADE    | uid, with a note: the server makes it so   |

An equal MD5 proves equal content. A different MD5 at equal size is judged like a delta: if more than half of the
neighbours (and at least two) differ as well, the server rewrote the heads and the sum decides nothing. Otherwise the
instance is OTHER: it is sent again once, and accepted at level size if the same sum results. Where sums were asked for,
`session.contents` reads stored files to confirm what rests on a size; ALTERED and DOUBTED are its findings.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final

from xnatctl.model.plan import UploadItem
from xnatctl.model.report import Level

#: Kinds of differences that concern one instance; the next run sends it again.
DOUBTFUL: Final = frozenset({"missing", "remapped", "size", "checksum"})

#: Special values of a stored size: not listed; listed without a size; can only be counted; cannot be distinguished from
#: others.
ABSENT: Final = -2
UNSIZED: Final = -1
COUNTED: Final = -3
UNDECIDED: Final = -4
#: The result for an MD5: unknown, equal, different.
UNKNOWN, SAME, DIFFERENT = range(3)
#: Bytes of the preamble and prefix of a DICOM file, before the data set (PS3.10 7.1).
_PREAMBLE: Final = 132
#: Transfer syntaxes without compression; a server does not enlarge files of these (PS3.5 A).
_NATIVE: Final = frozenset({"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})


class Finding(IntEnum):
    """The result of the listings for one instance."""

    ABSENT = 0  # no such instance is listed
    COUNTED = 1  # the server lists as many files as expected, without UIDs
    UNSIZED = 2  # listed, without a size
    LOST = 3  # stored file shorter than the data that follow the head on disk
    ODD = 4  # size unlike those of its neighbours in the series: sent again once
    OTHER = 5  # same size, other MD5 than its neighbours lead to expect: sent again once
    GROWN = 6  # larger, and no neighbours to compare with
    MADE = 7  # sent again once, and stored with the same odd size
    REMADE = 8  # sent again once, and stored with the same odd MD5
    SHIFTED = 9  # size changed like its neighbours; the tail on disk is not known
    ALIKE = 10  # size changed like those of its neighbours
    EQUAL = 11  # size as on disk
    SAME = 12  # MD5 as on disk
    UNDECIDED = 13  # may be there, but cannot be told from others
    ALTERED = 14  # its stored file was read, and what follows the header is not that on disk
    DOUBTED = 15  # that is so for an instance of its series that the server changed alike

    @property
    def level(self) -> Level:
        """The proven verification level."""
        return _LEVELS[self]

    @property
    def note(self) -> str | None:
        """The note of an instance that is accepted despite a difference."""
        return _NOTES.get(self)

    @property
    def suspicious(self) -> bool:
        """True if sending the instance again may repair or explain the difference."""
        return self in _SUSPICIOUS


_NOTES: Final = {
    Finding.MADE: (
        "its size on the server differs from the rest of its series, and sending it again does not change that"
    ),
    Finding.REMADE: "its MD5 on the server differs, and sending it again does not change that",
}
_SUSPICIOUS: Final = frozenset({Finding.LOST, Finding.ODD, Finding.OTHER})
_LEVELS: Final = {
    Finding.ABSENT: Level.NONE,
    Finding.UNDECIDED: Level.NONE,
    Finding.COUNTED: Level.COUNTED,
    Finding.UNSIZED: Level.UID,
    Finding.LOST: Level.NONE,
    Finding.ODD: Level.NONE,
    Finding.OTHER: Level.NONE,
    Finding.GROWN: Level.UID,
    Finding.MADE: Level.UID,
    Finding.REMADE: Level.SIZE,
    Finding.SHIFTED: Level.UID,
    Finding.ALIKE: Level.SIZE,
    Finding.EQUAL: Level.SIZE,
    Finding.SAME: Level.CHECKSUM,
    Finding.ALTERED: Level.NONE,
    Finding.DOUBTED: Level.NONE,
}


def judge(
    items: Sequence[UploadItem], sizes: Sequence[int], *, sums: Sequence[int] = (), again: Container[int] = ()
) -> bytearray:
    """A `Finding` for each item.

    `sizes` are the stored sizes in bytes, or ABSENT, UNSIZED, COUNTED, UNDECIDED. `sums` are the results for each MD5.
    `again` holds the indexes of items that were sent again once and are stored as before. The order of the items does
    not matter.
    """
    groups = _Groups(items, sizes, sums)
    findings = bytearray(len(items))
    for place, (item, size) in enumerate(zip(items, sizes, strict=True)):
        if size < 0:
            findings[place] = _UNMEASURED[size]
        elif size == item.size:
            sum_ = sums[place] if sums else UNKNOWN
            findings[place] = _of_sum(sum_, groups, place, again)
        else:
            findings[place] = _of_delta(item, size, groups, place, again)
    return findings


_UNMEASURED: Final = {
    ABSENT: Finding.ABSENT,
    UNSIZED: Finding.UNSIZED,
    COUNTED: Finding.COUNTED,
    UNDECIDED: Finding.UNDECIDED,
}


def least_size(item: UploadItem) -> int:
    """The least size of a complete stored file of an instance, in bytes."""
    return _PREAMBLE + item.tail


def _of_delta(item: UploadItem, size: int, groups: _Groups, place: int, again: Container[int]) -> Finding:
    if size < least_size(item):
        return Finding.LOST
    delta = size - item.size
    series, session = groups.deltas(place)
    common = series if series is not None else session
    if delta == common:
        return Finding.ALIKE if item.tail else Finding.SHIFTED
    if delta > 0 and item.transfer_syntax_uid not in _NATIVE:
        return Finding.GROWN  # decompressed, each by a different amount
    if delta > 0 and series is None and session != 0:
        return Finding.GROWN
    return Finding.MADE if place in again else Finding.ODD


def _of_sum(sum_: int, groups: _Groups, place: int, again: Container[int]) -> Finding:
    if sum_ == UNKNOWN:
        return Finding.EQUAL
    if sum_ == SAME:
        return Finding.SAME
    if groups.rewritten(place):
        return Finding.EQUAL
    return Finding.REMADE if place in again else Finding.OTHER


class _Groups:
    """The neighbours of each item: in its series, and in the session by SOP class and transfer syntax."""

    def __init__(self, items: Sequence[UploadItem], sizes: Sequence[int], sums: Sequence[int]) -> None:
        #: A cell holds the items of one series, SOP class and transfer syntax.
        cells: dict[tuple[str, str, str], int] = {}
        self._cells = array("I")
        deltas, differing = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
        for place, (item, size) in enumerate(zip(items, sizes, strict=True)):
            cell = cells.setdefault(
                (item.series_instance_uid, item.transfer_syntax_uid, item.sop_class_uid), len(cells)
            )
            self._cells.append(cell)
            if size >= 0:
                deltas[cell, size - item.size] += 1
                if sums and size == item.size and sums[place] != UNKNOWN:
                    differing[cell, sums[place]] += 1
        in_series = [(series, syntax) for series, syntax, _ in cells]
        of_make = [(kind, syntax) for _, syntax, kind in cells]
        self._deltas = list(zip(_common(in_series, deltas), _common(of_make, deltas), strict=True))
        self._sums = list(zip(_common(in_series, differing), _common(of_make, differing), strict=True))

    def deltas(self, place: int) -> tuple[int | None, int | None]:
        """The common delta in the series of an item, and in the session; None if there is none."""
        return self._deltas[self._cells[place]]

    def rewritten(self, place: int) -> bool:
        """True if the sums of most neighbours of equal size differ too."""
        series, make = self._sums[self._cells[place]]
        return (series if series is not None else make) == DIFFERENT


def _common(groups: Sequence[tuple[str, str]], counts: Mapping[tuple[int, int], int]) -> list[int | None]:
    """The common value of the group of each cell; `counts` are counts of values by cell."""
    by_group: dict[tuple[str, str], Counter[int]] = {group: Counter() for group in groups}
    for (cell, value), number in counts.items():
        by_group[groups[cell]][value] += number
    common = {group: _majority(values) for group, values in by_group.items()}
    return [common[group] for group in groups]


def _majority(counts: Counter[int]) -> int | None:
    """The value of more than half, and of at least two."""
    if not counts:
        return None
    (value, count), *_ = counts.most_common(1)
    return value if count >= 2 and 2 * count > counts.total() else None


def places_of(findings: Sequence[int], wanted: Callable[[Finding], bool]) -> Iterator[int]:
    """The indexes of the findings of some kinds."""
    kinds = bytes(finding for finding in Finding if wanted(finding))
    return (place for place, finding in enumerate(findings) if finding in kinds)
