"""Which number has a text: what a dictionary does, in a sixth of its memory once there are many."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

#: Texts that a dictionary holds; of more only hashes are kept.
_FEW: Final = 16_384
_MASK: Final = (1 << 64) - 1


class Index:
    """Numbers texts in the order in which they come, and finds them again.

    `text_of` gives the text of a number, for the rare case that hashes do not tell two texts apart; `hashed` is the
    hash. Not for several threads at once.
    """

    __slots__ = ("_alike", "_few", "_hashed", "_hashes", "_known", "_length", "_slots", "_text_of")

    def __init__(self, text_of: Callable[[int], str], *, few: int = _FEW, hashed: Callable[[str], int] = hash) -> None:
        self._text_of = text_of
        self._hashed = hashed
        self._few = few
        self._length = 0
        self._known: dict[str, int] | None = {}
        self._hashes = array("Q")
        # One more than a number, at a place that its hash says; nought is free (open addressing, linear probing).
        self._slots = array("I")
        self._alike: set[int] = set()

    def __len__(self) -> int:
        return self._length

    def add(self, text: str) -> int:
        """The number of a text; one that is new gets the next, and `text_of` must know it from then on."""
        if self._known is not None:
            number = self._known.setdefault(text, self._length)
            if number == self._length:
                self._length += 1
                if self._length > self._few:
                    self._turn(self._known)
            return number
        value = self._hashed(text) & _MASK
        hashes, slots = self._hashes, self._slots
        mask = len(slots) - 1
        place = value & mask
        while slot := slots[place]:
            if hashes[slot - 1] == value:
                if self._text_of(slot - 1) == text:
                    return slot - 1
                self._alike.add(value)
            place = (place + 1) & mask
        self._length += 1
        hashes.append(value)
        slots[place] = self._length
        if 5 * self._length > 4 * len(slots):
            self._spread(2 * len(slots))
        return self._length - 1

    def find(self, text: str) -> int | None:
        """The number of a text that was added; None for another, as far as 64 bits of hash tell."""
        if self._known is not None:
            return self._known.get(text)
        value = self._hashed(text) & _MASK
        hashes, slots = self._hashes, self._slots
        mask = len(slots) - 1
        place = value & mask
        while slot := slots[place]:
            if hashes[slot - 1] == value and (value not in self._alike or self._text_of(slot - 1) == text):
                return slot - 1
            place = (place + 1) & mask
        return None

    def _turn(self, known: dict[str, int]) -> None:
        """From a dictionary to hashes."""
        self._hashes = array("Q", (self._hashed(text) & _MASK for text in known))
        self._known = None
        if len(set(self._hashes)) < len(self._hashes):
            seen: set[int] = set()
            self._alike = {value for value in self._hashes if value in seen or seen.add(value)}  # type: ignore[func-returns-value]
        size = 8
        while 4 * size < 5 * self._length:
            size *= 2
        self._spread(2 * size)

    def _spread(self, size: int) -> None:
        """Give every hash a place among `size`, a power of two."""
        del self._slots
        slots, mask = array("I", bytes(4 * size)), size - 1
        for number, value in enumerate(self._hashes, 1):
            place = value & mask
            while slots[place]:
                place = (place + 1) & mask
            slots[place] = number
        self._slots = slots
