"""Name, size and time of every file of an inventory, in 16 bytes each."""

from __future__ import annotations

import base64
import os
from array import array
from hashlib import blake2b
from typing import Final

_MASK: Final = (1 << 64) - 1
#: An odd number without a pattern (2**64 divided by the golden ratio).
_SPREAD: Final = 0x9E3779B97F4A7C15


def key_of(path: str) -> int:
    """A 64-bit hash of a path."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def state_of(status: os.stat_result) -> int:
    """A 64-bit hash of size, modification time and inode of a file; never 0."""
    return (((status.st_size * _SPREAD + status.st_mtime_ns) * _SPREAD + status.st_ino) & _MASK) or 1


class Listing:
    """Records files one by one."""

    def __init__(self) -> None:
        self._numbers = array("Q")

    def add(self, path: str, status: os.stat_result | None) -> None:
        """Record a file; `status` is None if it is unknown."""
        self._numbers.append(key_of(path))
        self._numbers.append(state_of(status) if status is not None else 0)

    def text(self) -> str:
        """All records, as text for a plan."""
        return base64.b64encode(self._numbers.tobytes()).decode("ascii")


class Earlier:
    """An earlier listing, searched for its files one by one, in about the order in which they were recorded.

    A search needs no memory while the order is the same; a dictionary would need more than everything else of a file.
    """

    #: Records that are searched ahead, because files may have vanished; beyond them a file counts as out of order.
    _AHEAD: Final = 16

    def __init__(self, text: str) -> None:
        self._numbers = memoryview(base64.b64decode(text)).cast("Q")
        self._count = len(self._numbers) // 2
        self._next = 0
        self._passed = array("Q")

    def find(self, key: int) -> int | None:
        """The state of the file with this key; None if it is not near the expected position, see `rest`."""
        for place in range(self._next, min(self._next + self._AHEAD, self._count)):
            if self._numbers[2 * place] == key:
                self._passed.extend(range(self._next, place))
                self._next = place + 1
                return self._numbers[2 * place + 1]
        return None

    def rest(self) -> dict[int, int]:
        """The states of the files that were not found, by their keys."""
        places = (*self._passed, *range(self._next, self._count))
        return {self._numbers[2 * place]: self._numbers[2 * place + 1] for place in places}
