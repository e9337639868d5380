"""Uses pydicom for files that our own reader cannot follow, but still detects files that are too short."""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from xnatctl.inventory.elements import Cut, Elements, Odd, Read

#: Limits for pydicom in one file: bytes and reads. It needs about a kilobyte for each element of a sequence.
_MOST_ASKED = 64 * 2**20
_MOST_READS = 200_000


def has_pydicom() -> bool:
    """Whether pydicom is installed."""
    return find_spec("pydicom") is not None


def ask_pydicom(read: Read, size: int, tags: Collection[int]) -> tuple[Any, int] | None:
    """Pydicom's data set with these tags, and the tail; None if it cannot read the file or is not installed.

    pydicom locates elements but does not decide whether the file is complete: a value that ends too early raises Cut,
    even if pydicom accepts it.
    """
    try:
        import pydicom
    except ImportError:
        return None
    import warnings

    file = _Watched(read, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(tags))
    except Exception:  # noqa: BLE001 - pydicom may raise anything
        ds = None
        file.missing = file.missing or file.ended
    if file.missing:
        raise Cut(file.missing)
    if ds is None:
        return None
    implicit, little = ds.original_encoding
    reader = Elements(read, size, order="<" if little is not False else ">", implicit=bool(implicit))
    try:  # pydicom stops at Pixel Data
        reader.follow(file.tell(), {})
    except Odd:
        return ds, 0
    return ds, reader.tail


class _Watched:
    """A file for pydicom. `missing` is the number of bytes that it requested within a value and did not get.

    `ended`: it read to the end.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size = read, size
        self._position, self._left, self._reads = 0, _MOST_ASKED, _MOST_READS
        self.ended = False
        self.missing = 0

    def read(self, count: int | None = -1, /) -> bytes:
        """Like `read` of any file. Raises ValueError beyond the limits."""
        left = max(0, self._size - self._position)
        wanted = left if count is None or count < 0 else min(count, left)
        self._left, self._reads = self._left - wanted, self._reads - 1
        if self._left < 0 or self._reads < 0:
            raise ValueError("the header is too long")
        data = self._read(wanted, self._position)
        self._position += len(data)
        if count is not None and len(data) < count:
            # pydicom looks for an element at the end once; a few bytes there may be padding.
            if self.ended or len(data) > 8 or any(data):
                self.missing = self.missing or count - len(data)
            self.ended = True
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Like `seek` of any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        if self._position > self._size:
            self.missing = self.missing or self._position - self._size
        return self._position

    def tell(self) -> int:
        """Like `tell` of any file."""
        return self._position
