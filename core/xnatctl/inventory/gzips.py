"""Reads a gzip file from any offset, without unpacking it from the start each time.

A reader leaves checkpoints while it moves forward: copies of the state of the decompressor. The next reader starts at
the nearest one. All readers of a file share its checkpoints, whose number is limited.
"""

from __future__ import annotations

import bisect
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from xnatctl.operating_system.files import read_at

_BLOCK = 1 << 17
_MAGIC = b"\x1f\x8b"
#: Initial distance of checkpoints in unpacked bytes; doubled when there are more than `_MOST`.
_SPACING = 16 * 2**20
_MOST = 128
_FILES = 8


class Damaged(Exception):
    """The packed data are invalid."""


@dataclass
class _Checkpoints:
    """Checkpoints of one file: unpacked position -> (packed position, decompressor)."""

    positions: list[int] = field(default_factory=list)
    states: dict[int, tuple[int, Any]] = field(default_factory=dict)
    spacing: int = _SPACING
    lock: threading.Lock = field(default_factory=threading.Lock)

    def nearest(self, position: int) -> tuple[int, int, Any]:
        with self.lock:
            index = bisect.bisect_right(self.positions, position)
            if index == 0:
                return 0, 0, zlib.decompressobj(31)
            at = self.positions[index - 1]
            packed, state = self.states[at]
            return at, packed, state.copy()

    def offer(self, position: int, packed: int, state: Any) -> None:
        with self.lock:
            index = bisect.bisect_right(self.positions, position)
            before = self.positions[index - 1] if index else 0
            if position - before < self.spacing or (index < len(self.positions)):
                return
            self.positions.append(position)
            self.states[position] = (packed, state.copy())
            if len(self.positions) > _MOST:
                self.spacing *= 2
                dropped = self.positions[::2]
                self.positions = self.positions[1::2]
                for old in dropped:
                    del self.states[old]


@lru_cache(maxsize=_FILES)
def _checkpoints_of(key: tuple[int, ...]) -> _Checkpoints:
    """The checkpoints of one version of a file: one object for all readers."""
    return _Checkpoints()


def _checkpoints(descriptor: int) -> _Checkpoints:
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _checkpoints_of(key)


def _behind_zeros(descriptor: int, position: int) -> int:
    """The position after zeros, with which tapes are padded; the end of the file if only zeros follow."""
    while data := read_at(descriptor, _BLOCK, position):
        rest = data.lstrip(b"\0")
        position += len(data) - len(rest)
        if rest:
            break
    return position


def gzip_reader(  # noqa: C901 - a state machine of one decompressor
    descriptor: int, offset: int
) -> Callable[[int], bytes]:
    """`read(n)` over the unpacked bytes from `offset` on; several gzip members are one stream.

    Raises Damaged, also for data behind the last member; OSError.
    """
    checkpoints = _checkpoints(descriptor)
    position, packed, state = checkpoints.nearest(offset)
    pending = b""

    def more(limit: int) -> bytes:
        """The next unpacked bytes, at most `limit`; empty at the end of the file."""
        nonlocal position, packed, state, pending
        while True:
            if state.eof:
                packed = _behind_zeros(descriptor, packed - len(state.unused_data))
                ahead = read_at(descriptor, len(_MAGIC), packed)
                if not ahead:
                    return b""
                if ahead != _MAGIC:
                    raise Damaged(f"{packed} bytes in, data follow its end that are not gzip data")
                state = zlib.decompressobj(31)
            data = state.unconsumed_tail
            if not data:
                checkpoints.offer(position, packed, state)
                data = read_at(descriptor, _BLOCK, packed)
                packed += len(data)
                if not data:
                    raise Damaged("it is cut off")
            try:
                out = state.decompress(data, limit)
            except zlib.error as error:
                raise Damaged(str(error)) from error
            position += len(out)
            if out:
                return bytes(out)

    while position < offset:
        if not more(min(1 << 20, offset - position)):
            raise Damaged("it is shorter than planned")

    return more
