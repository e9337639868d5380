"""Which items travel together: by series, then by size; each batch made when it is looked at."""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence

from xnatctl.model.plan import Batch, UploadItem
from xnatctl.model.sequences import Lazy, each

#: A batch is the unit of failure, so it stays small enough to lose.
MAX_BATCH_BYTES = 256 * 2**20
MAX_BATCH_FILES = 1000
#: A batch may outgrow its even share by this much to end where its series ends.
_SLACK = 1.25
#: A Series Number that is one; the standard allows twelve characters (PS3.5 6.2, IS).
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


class _Batches(Lazy[Batch]):
    """Batches as the numbers of their items; the n-th ends before `ends[n]`."""

    __slots__ = ("_ends", "_items", "_numbers")

    def __init__(self, items: Sequence[UploadItem], numbers: Sequence[int], ends: Sequence[int]) -> None:
        self._items = items
        self._numbers = numbers
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def _at(self, number: int) -> Batch:
        begin = self._ends[number - 1] if number else 0
        group = tuple(each(self._items, self._numbers[begin : self._ends[number]]))
        return Batch(id=_batch_id(number, group), items=group)


def cut_batches(
    items: Sequence[UploadItem],
    workers: int,
    *,
    max_bytes: int = MAX_BATCH_BYTES,
    max_files: int = MAX_BATCH_FILES,
) -> Sequence[Batch]:
    """Cut items into batches: by series, then by size (bytes) and number of files.

    The first batch is the smallest item alone, because its answer fixes the session for all others. After
    it there are at least as many batches as workers, as long as there are as many files. Equal input gives
    equal batches. An item larger than `max_bytes` travels alone. A batch is made when it is looked at, so that many
    items need not be in memory at once.
    """
    if not items:
        return ()
    series, first, total = _by_series(items)
    left = len(items) - 1
    ends = [1]
    if left:
        target_bytes = max(1, min(max_bytes, math.ceil(_SLACK * total / workers)))
        target_files = max(1, min(max_files, math.ceil(_SLACK * left / workers)))
        lengths = list(_fill(series, target_bytes, target_files))
        for length in _split_to(lengths, min(workers, left)):
            ends.append(ends[-1] + length)
    numbers = array("I", (first,))
    for one in series:
        numbers += one.numbers
    return _Batches(items, numbers, array("I", ends))


class _Series:
    """The items of one series, by their numbers, in the order of their paths; sizes in bytes."""

    __slots__ = ("last", "numbers", "sizes", "sorted")

    def __init__(self) -> None:
        self.numbers = array("I")
        self.sizes = array("Q")
        self.last = ""
        self.sorted = True

    def add(self, number: int, size: int, path: str) -> None:
        """Take the next one; as a rule they come in order."""
        self.sorted = self.sorted and path >= self.last
        self.last = path
        self.numbers.append(number)
        self.sizes.append(size)

    def sort(self, items: Sequence[UploadItem]) -> None:
        """By path."""
        paths = [item.path for item in each(items, self.numbers)]
        order = array("I", sorted(range(len(paths)), key=paths.__getitem__))
        self.numbers = array("I", (self.numbers[place] for place in order))
        self.sizes = array("Q", (self.sizes[place] for place in order))

    def drop(self, number: int) -> None:
        """Leave one out."""
        place = self.numbers.index(number)
        del self.numbers[place], self.sizes[place]


def _by_series(items: Sequence[UploadItem]) -> tuple[list[_Series], int, int]:
    """The series in order, without the smallest of all items; the number of that one, and the bytes of the others."""
    found: dict[tuple[str, int, str], _Series] = {}
    smallest, first, total = (items[0].size, items[0].path), 0, 0
    first_key = _series_order(items[0])
    for number, item in enumerate(items):
        key, size = _series_order(item), item.size
        total += size
        if size <= smallest[0] and (size, item.path) < smallest:
            smallest, first, first_key = (size, item.path), number, key
        series = found.get(key)
        if series is None:
            series = found[key] = _Series()
        series.add(number, size, item.path)
    found[first_key].drop(first)
    ordered = [found[key] for key in sorted(found)]
    for series in ordered:
        if not series.sorted:
            series.sort(items)
    return [series for series in ordered if series.numbers], first, total - smallest[0]


def _series_order(item: UploadItem) -> tuple[str, int, str]:
    number = int(item.series_number) if _NUMBER.fullmatch(item.series_number) else 0
    return (item.study_instance_uid, number, item.series_instance_uid)


def _fill(series: Iterable[_Series], target_bytes: int, target_files: int) -> Iterator[int]:
    """Lengths up to the targets; a new series begins anew when what there is is at least half full."""
    length = size = 0
    for one in series:
        if 2 * size >= target_bytes or 2 * length >= target_files:
            yield length
            length = size = 0
        for more in one.sizes:
            if length and (size + more > target_bytes or length >= target_files):
                yield length
                length = size = 0
            length += 1
            size += more
    if length:
        yield length


def _split_to(lengths: list[int], wanted: int) -> list[int]:
    """Halve the longest until there are as many as workers."""
    while len(lengths) < wanted:
        place = max(range(len(lengths)), key=lengths.__getitem__)
        middle = lengths[place] // 2
        lengths[place : place + 1] = [middle, lengths[place] - middle]
    return lengths


def _batch_id(number: int, group: Sequence[UploadItem]) -> str:
    if len(group) == 1 and group[0].sop_instance_uid:
        return group[0].sop_instance_uid  # there, and as telling
    digest = hashlib.sha256("\n".join(item.name for item in group).encode("utf-8", "surrogateescape"))
    return f"{number:05d}-{digest.hexdigest()[:12]}"


def halve(batch: Batch) -> tuple[Batch, Batch]:
    """The two halves of a batch that was too large; their ids tell where they come from."""
    middle = len(batch.items) // 2
    return (
        Batch(id=f"{batch.id}a", items=batch.items[:middle]),
        Batch(id=f"{batch.id}b", items=batch.items[middle:]),
    )
