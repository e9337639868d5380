"""Sequences that hold less than they show: made when looked at, a choice of another one, several as one."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import TypeVar, overload

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Lazy(Sequence[T_co]):
    """What its kinds share: an index, a slice (a choice, no copy), and equality with any sequence of equal entries."""

    __slots__ = ()

    @abstractmethod
    def _at(self, number: int) -> T_co:
        """One entry; `number` is in range."""

    def each(self, numbers: Iterable[int]) -> Iterator[T_co]:
        """Some entries, by their numbers, which are in range."""
        return map(self._at, numbers)

    @overload
    def __getitem__(self, index: int) -> T_co: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T_co]: ...

    def __getitem__(self, index: int | slice) -> T_co | Sequence[T_co]:
        if isinstance(index, slice):
            return select(self, range(*index.indices(len(self))))
        return self._at(range(len(self))[index])

    def __iter__(self) -> Iterator[T_co]:
        return self.each(range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"


class _Selection(Lazy[T_co]):
    """Some entries of another sequence, by their numbers there."""

    __slots__ = ("base", "numbers")

    def __init__(self, base: Lazy[T_co], numbers: Sequence[int]) -> None:
        self.base = base
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def _at(self, number: int) -> T_co:
        return self.base[self.numbers[number]]

    def each(self, numbers: Iterable[int]) -> Iterator[T_co]:
        return self.base.each(map(self.numbers.__getitem__, numbers))

    def __iter__(self) -> Iterator[T_co]:
        return self.base.each(self.numbers)


class _Joined(Lazy[T_co]):
    """Several sequences, one after the other."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[Sequence[T_co]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def _at(self, number: int) -> T_co:
        part = bisect_right(self._ends, number)
        return self._parts[part][number - self._ends[part]]

    def __iter__(self) -> Iterator[T_co]:
        return chain.from_iterable(self._parts)


def select(base: Sequence[T], numbers: Sequence[int]) -> Sequence[T]:
    """The entries of these numbers: of a plain sequence as a tuple, else without making any of them."""
    if isinstance(numbers, range) and numbers == range(len(base)):
        return base
    if not isinstance(base, Lazy):
        return tuple(base[number] for number in numbers)
    if isinstance(base, _Selection):
        inner = base.numbers
        if isinstance(inner, range) and isinstance(numbers, range):
            return _Selection(base.base, inner[numbers.start : numbers.stop : numbers.step])
        return _Selection(base.base, array("I", (inner[number] for number in numbers)))
    return _Selection(base, numbers)


def marked(base: Sequence[T], marks: Iterable[object]) -> Sequence[T]:
    """The entries whose mark is true; there is a mark for each."""
    return select(base, array("I", (number for number, mark in enumerate(marks) if mark)))


def places(base: Iterable[T], key: Callable[[T], str]) -> dict[str, array[int]]:
    """The numbers of the entries that share a key, for each key in the order in which they come."""
    found: dict[str, array[int]] = {}
    for number, entry in enumerate(base):
        found.setdefault(key(entry), array("I")).append(number)
    return found


def grouped(base: Sequence[T], key: Callable[[T], str]) -> dict[str, Sequence[T]]:
    """The entries that share a key, for each key in the order in which they come."""
    return {value: select(base, numbers) for value, numbers in places(base, key).items()}


def joined(parts: Iterable[Sequence[T]]) -> Sequence[T]:
    """All entries of several sequences in order."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else ()
    return _Joined(some)


def each(base: Sequence[T], numbers: Iterable[int]) -> Iterator[T]:
    """The entries of these numbers, one after the other."""
    return base.each(numbers) if isinstance(base, Lazy) else map(base.__getitem__, numbers)


def kept(entries: Iterable[T]) -> Sequence[T]:
    """Something that can be kept: a sequence of this module as it is, anything else as a tuple."""
    return entries if isinstance(entries, Lazy) else tuple(entries)
