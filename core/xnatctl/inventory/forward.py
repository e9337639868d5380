"""Gives random access near the beginning of a forward-only stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Bytes at the beginning that stay in memory after they were read.
_KEPT: Final = 8 * 2**20
_BLOCK: Final = 256 * 1024


class Forward:
    """`Read` for a member of an archive file: the first 8 MiB can be read again, the rest only once.

    `more` returns at most n bytes, none at the end. `skip`, if given, passes over n bytes and returns how many there
    were.
    """

    def __init__(self, more: Callable[[int], bytes], skip: Callable[[int], int] | None = None) -> None:
        self._more, self._skip = more, skip
        self._kept = bytearray()
        self._window, self._start = b"", 0

    def __call__(self, count: int, offset: int = 0, /) -> bytes:
        """`count` bytes from `offset` on, fewer at the end. Raises ValueError for bytes that are no longer kept."""
        end = offset + count
        while len(self._kept) < min(end, _KEPT):
            data = self._more(min(end, _KEPT) - len(self._kept))
            if not data:
                return bytes(self._kept[offset:end])
            self._kept += data
        if end <= len(self._kept):
            return bytes(self._kept[offset:end])
        return bytes(self._kept[offset:]) + self._behind(max(offset, _KEPT), end)

    def _behind(self, offset: int, end: int) -> bytes:
        """Bytes after those that are kept; the last ones that were read can be read again."""
        if not self._start:
            self._start = _KEPT
        if offset < self._start:
            raise ValueError("this part of the stream is gone")
        position = self._start + len(self._window)
        if offset < position:
            self._window = self._window[offset - self._start :]
        else:
            self._window = b""
            while position < offset and (passed := self._pass(offset - position)):
                position += passed
            if position < offset:
                self._start = position
                return b""
        self._start = offset
        while len(self._window) < end - offset and (data := self._more(end - offset - len(self._window))):
            self._window += data
        return self._window[: end - offset]

    def _pass(self, count: int) -> int:
        return self._skip(count) if self._skip is not None else len(self._more(min(count, _BLOCK)))
