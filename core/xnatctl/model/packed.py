"""Items by the hundred thousand: as objects while they are few, else packed by the block and made when looked at.

An item takes half a kibibyte as an object. Those of one block have nearly everything in common, so that packed as
columns, and compressed, one takes some tens of bytes; unpacking costs a few microseconds an item, and what was looked
at lately stays unpacked.
"""

from __future__ import annotations

import marshal
import threading
import zlib
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from operator import attrgetter
from sys import intern
from typing import Any, Final

from xnatctl.model.plan import Source, UploadItem
from xnatctl.model.sequences import Lazy

#: Items of one block.
_BLOCK: Final = 256
#: Items that are held as objects: of fewer none is ever packed.
HELD: Final = 64 * _BLOCK
#: Blocks that are kept unpacked when they were looked at.
_RECENT: Final = 16
_LEVEL: Final = 1

Block = tuple[UploadItem, ...]
Column = Any

_FIELDS: Final = (
    *("path", "size", "mtime_ns", "inode", "name", "sop_class_uid", "sop_instance_uid", "study_instance_uid"),
    *("series_instance_uid", "series_number", "modality", "transfer_syntax_uid", "number_of_frames"),
    *("ctime_ns", "device", "tail"),
)
_CHANGED: Final = _FIELDS.index("ctime_ns")
_SOURCE_FIELDS: Final = ("container", "member", "offset", "packed_size", "method", "crc")
_values = attrgetter(*_FIELDS)
_source_values = attrgetter(*_SOURCE_FIELDS)
# The slots themselves: items are frozen, and a call of the class for each would take three times as long.
_set = tuple(vars(UploadItem)[name].__set__ for name in _FIELDS)
_set_source = vars(UploadItem)["source"].__set__
_set_of_source = tuple(vars(Source)[name].__set__ for name in ("path", *_SOURCE_FIELDS))
#: What stands for a name or a member that follows from the rest.
_AS_PATH, _AS_UID = 1, 2


def pack(items: Sequence[UploadItem]) -> bytes:
    """Some items as bytes, for `unpack`."""
    columns = [list(column) for column in zip(*map(_values, items), strict=True)]
    paths, _, mtimes, inodes, names, _, uids = columns[:7]
    columns[2], columns[3] = _steps(mtimes), _steps(inodes)
    columns[_CHANGED] = _steps(columns[_CHANGED])
    columns[4] = [
        _AS_UID if name == f"{uid}.dcm" else _AS_PATH if name == path else name
        for name, uid, path in zip(names, uids, paths, strict=True)
    ]
    sources = [item.source for item in items]
    heads, places = [], []
    for source, path in zip(sources, paths, strict=True):
        below = source.path.endswith(f"/{path}")
        heads.append(source.path[: len(source.path) - len(path) - 1] if below else None)
        places.append(None if below else source.path)
    containers, members, *places_inside = (list(c) for c in zip(*map(_source_values, sources), strict=True))
    members = [_AS_PATH if member == path else member for member, path in zip(members, paths, strict=True)]
    columns += [heads, places, containers, members, *places_inside]
    return zlib.compress(marshal.dumps((len(items), [_short(column) for column in columns]), 2), _LEVEL)


def unpack(data: bytes) -> Block:
    """The inverse of `pack`."""
    count, short = marshal.loads(zlib.decompress(data))  # noqa: S302 - of this process, from memory
    columns = [_long(column, count) for column in short]
    paths, uids = columns[0], columns[6]
    columns[2], columns[3] = list(accumulate(columns[2])), list(accumulate(columns[3]))
    columns[_CHANGED] = list(accumulate(columns[_CHANGED]))
    columns[4] = [
        f"{uid}.dcm" if name == _AS_UID else path if name == _AS_PATH else name
        for name, uid, path in zip(columns[4], uids, paths, strict=False)
    ]
    heads, places, containers, members, *places_inside = columns[len(_FIELDS) :]
    full = [
        place if head is None else f"{head}/{path}" for head, place, path in zip(heads, places, paths, strict=False)
    ]
    members = [path if member == _AS_PATH else member for member, path in zip(members, paths, strict=False)]
    items = list(map(object.__new__, repeat(UploadItem, count)))
    sources = list(map(object.__new__, repeat(Source, count)))
    _fill(sources, _set_of_source, (full, containers, members, *places_inside))
    _fill(items, (*_set, _set_source), (*columns[: len(_FIELDS)], sources))
    return tuple(items)


def _fill(objects: Sequence[object], setters: Sequence[Any], columns: Iterable[Column]) -> None:
    for setter, column in zip(setters, columns, strict=True):
        deque(map(setter, objects, column), maxlen=0)


def _steps(numbers: Sequence[int]) -> list[int]:
    """The first number and the differences after it, which are small: files lie as they were made."""
    return [numbers[0], *(after - before for before, after in pairwise(numbers))]


def _short(column: list[Any]) -> Column:
    """A column of one value as that, of few values as their numbers."""
    first = column[0]
    if column.count(first) == len(column):
        return (first,)
    values = dict.fromkeys(column)
    if len(values) <= 32:
        numbers = {value: number for number, value in enumerate(values)}
        return (list(values), bytes(map(numbers.__getitem__, column)))
    return column


def _long(column: Column, count: int) -> list[Any]:
    """The inverse of `_short`. Texts that many items share are one object."""
    if isinstance(column, list):
        return column
    if len(column) == 1:
        return [_one(column[0])] * count
    return list(map([_one(value) for value in column[0]].__getitem__, column[1]))


def _one(value: Any) -> Any:
    return intern(value) if isinstance(value, str) else value


class PackedItems(Lazy[UploadItem]):
    """An immutable sequence of items; may be read by several threads."""

    __slots__ = ("_blocks", "_length", "_lock", "_starts", "_unpacked")

    def __init__(self, blocks: Sequence[Block | bytes], lengths: Sequence[int]) -> None:
        self._blocks = blocks
        self._starts = array("I", accumulate(lengths[:-1], initial=0))
        self._length = sum(lengths)
        self._unpacked: dict[int, Block] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[UploadItem]:
        for number, block in enumerate(self._blocks):
            if isinstance(block, tuple):
                yield from block
            else:  # what is gone through once need not stay
                yield from self._unpacked.get(number) or unpack(block)

    def _at(self, number: int) -> UploadItem:
        place = bisect_right(self._starts, number) - 1
        return self._block(place)[number - self._starts[place]]

    def each(self, numbers: Iterable[int]) -> Iterator[UploadItem]:
        block: Block = ()
        begin = end = 0
        for number in numbers:
            if not begin <= number < end:
                place = bisect_right(self._starts, number) - 1
                block, begin = self._block(place), self._starts[place]
                end = begin + len(block)
            yield block[number - begin]

    def _block(self, place: int) -> Block:
        block = self._blocks[place]
        if isinstance(block, tuple):
            return block
        found = self._unpacked.get(place)
        if found is None:
            with self._lock:
                while len(self._unpacked) >= _RECENT:
                    del self._unpacked[next(iter(self._unpacked))]
                found = self._unpacked[place] = unpack(block)
        return found


class Packer:
    """Takes items one by one, and gives them back as one sequence: those of a group together, in the order of adding.

    Groups stand in the order of their first items.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}
        self._order: list[_Group] = []
        self._objects = 0
        self._recent: tuple[bytes, Block] = (b"", ())
        self._packs = False

    def add(self, item: UploadItem, group: Hashable = None) -> int:
        """Take an item; returns its place, for `at`."""
        into = self._groups.get(group)
        if into is None:
            into = self._groups[group] = _Group(len(self._order))
            self._order.append(into)
        place = into.add(item)
        self._objects += 1
        if self._objects > HELD:
            self._pack()
        return place

    def at(self, place: int) -> UploadItem:
        """An item that was added."""
        number, position = divmod(place, _Group.MOST)
        found = self._order[number].find(position)
        if isinstance(found, UploadItem):
            return found
        block, position = found
        if self._recent[0] is not block:
            self._recent = (block, unpack(block))
        return self._recent[1][position]

    def _pack(self) -> None:
        """Pack what is full, and if that was not half of all, the fullest of what is open."""
        self._packs = True
        self._objects = sum(group.pack_blocks() for group in self._order)
        for group in sorted(self._order, key=_Group.waiting, reverse=True):
            if self._objects <= HELD // 2:
                break
            self._objects -= group.waiting()
            group.close()
            group.pack_blocks()

    def build(self) -> PackedItems:
        """All items; the packer is empty after it."""
        groups, self._groups, self._order, self._objects = self._order, {}, [], 0
        if not self._packs:
            items = tuple(item for group in groups for item in group.objects())
            return PackedItems((items,), (len(items),))
        built = _Even()
        for group in groups:
            for block, length in group.blocks():
                built.add(block, length)
        return built.end()


class _Group:
    """The blocks of one group, and the items that are not in one yet."""

    __slots__ = ("_blocks", "_length", "_open", "_starts", "number")

    #: Places are the number of the group times this, and the position in it.
    MOST: Final = 1 << 32

    def __init__(self, number: int) -> None:
        self.number = number
        self._blocks: list[Block | bytes] = []
        self._starts: list[int] = []
        self._open: list[UploadItem] = []
        self._length = 0

    def add(self, item: UploadItem) -> int:
        """Take an item; returns its place."""
        self._open.append(item)
        self._length += 1
        if len(self._open) == _BLOCK:
            self.close()
        return self.number * self.MOST + self._length - 1

    def waiting(self) -> int:
        """How many items are in no block."""
        return len(self._open)

    def close(self) -> None:
        """Make a block of what is open."""
        if self._open:
            self._starts.append(self._length - len(self._open))
            self._blocks.append(tuple(self._open))
            self._open = []

    def pack_blocks(self) -> int:
        """Pack the blocks; returns how many items stay as objects."""
        blocks, number = self._blocks, len(self._blocks) - 1
        while number >= 0 and isinstance(block := blocks[number], tuple):
            blocks[number] = pack(block)
            number -= 1
        return len(self._open)

    def find(self, position: int) -> UploadItem | tuple[bytes, int]:
        """An item, or the packed block that holds it and its position there."""
        if position >= (opened := self._length - len(self._open)):
            return self._open[position - opened]
        number = bisect_right(self._starts, position) - 1
        block = self._blocks[number]
        position -= self._starts[number]
        return block[position] if isinstance(block, tuple) else (block, position)

    def objects(self) -> Iterator[UploadItem]:
        """Every item, where none was packed."""
        for block in self._blocks:
            yield from unpack(block) if isinstance(block, bytes) else block
        yield from self._open

    def blocks(self) -> Iterator[tuple[Block | bytes, int]]:
        """Every block and its length, let go of as it is handed out."""
        self.close()
        ends = deque([*self._starts[1:], self._length])
        blocks, self._blocks = deque(self._blocks), []
        start = 0
        while blocks:
            end = ends.popleft()
            yield blocks.popleft(), end - start
            start = end


class _Even:
    """Blocks of any length made into packed ones that are neither short nor long."""

    def __init__(self) -> None:
        self._blocks: list[Block | bytes] = []
        self._lengths: list[int] = []
        self._items: list[UploadItem] = []

    def add(self, block: Block | bytes, length: int) -> None:
        """Take the next one."""
        if isinstance(block, bytes) and length >= _BLOCK // 2 and not self._items:
            self._blocks.append(block)
            self._lengths.append(length)
            return
        self._items += block if isinstance(block, tuple) else unpack(block)
        if len(self._items) >= _BLOCK // 2:
            self._flush()

    def _flush(self) -> None:
        if self._items:
            self._blocks.append(pack(self._items))
            self._lengths.append(len(self._items))
            self._items = []

    def end(self) -> PackedItems:
        """All of them."""
        self._flush()
        return PackedItems(tuple(self._blocks), self._lengths)


def packed(items: Iterable[UploadItem]) -> Sequence[UploadItem]:
    """Items as a sequence that is small however many they are; one that is already stays as it is."""
    if isinstance(items, Lazy):
        return items
    packer = Packer()
    for item in items:
        packer.add(item)
    return packer.build()
