"""Name, size and time of every file that an inventory looked at, in 16 bytes each."""

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
    """A number for a path; two paths have the same one by chance only."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def state_of(status: os.stat_result) -> int:
    """A number for the size and time of a file, and for which file it is; never 0."""
    return (((status.st_size * _SPREAD + status.st_mtime_ns) * _SPREAD + status.st_ino) & _MASK) or 1


class Listing:
    """Takes files one by one."""

    def __init__(self) -> None:
        self._numbers = array("Q")

    def add(self, path: str, status: os.stat_result | None) -> None:
        """Take a file; `status` is None where it is not known."""
        self._numbers.append(key_of(path))
        self._numbers.append(state_of(status) if status is not None else 0)

    def text(self) -> str:
        """Everything that was taken, for a plan."""
        return base64.b64encode(self._numbers.tobytes()).decode("ascii")

    @staticmethod
    def states(text: str) -> dict[int, int]:
        """The numbers of sizes and times by those of paths."""
        numbers = array("Q")
        numbers.frombytes(base64.b64decode(text))
        return dict(zip(numbers[::2], numbers[1::2], strict=True))
