"""pydicom on files that the own reader cannot follow, without letting it overlook that a file is too short."""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from xnatctl.inventory.elements import Cut, Elements, Odd, Read

#: Bytes that pydicom may read of one file, and how often: it takes about a kilobyte for each element of a sequence.
_MOST_ASKED = 64 * 2**20
_MOST_READS = 200_000


def has_pydicom() -> bool:
    """Whether there is a second opinion."""
    return find_spec("pydicom") is not None


def ask_pydicom(read: Read, size: int, tags: Collection[int]) -> tuple[Any, int] | None:
    """Pydicom's data set with these tags, and the rest; None when it cannot read the file, or is not there.

    pydicom says where elements are, not whether the file is whole: a value that ends too early raises Cut whatever
    pydicom makes of it.
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
    """A file for pydicom. `missing` is how many bytes it asked for and did not get, in the middle of something.

    `ended` says that it read up to the end.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size = read, size
        self._position, self._left, self._reads = 0, _MOST_ASKED, _MOST_READS
        self.ended = False
        self.missing = 0

    def read(self, count: int | None = -1, /) -> bytes:
        """As of any file. Raises ValueError where too much is asked for."""
        left = max(0, self._size - self._position)
        wanted = left if count is None or count < 0 else min(count, left)
        self._left, self._reads = self._left - wanted, self._reads - 1
        if self._left < 0 or self._reads < 0:
            raise ValueError("the header is too long")
        data = self._read(wanted, self._position)
        self._position += len(data)
        if count is not None and len(data) < count:
            # An element may be looked for at the end, once; what is cut there may be padding.
            if self.ended or len(data) > 8 or any(data):
                self.missing = self.missing or count - len(data)
            self.ended = True
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As of any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        if self._position > self._size:
            self.missing = self.missing or self._position - self._size
        return self._position

    def tell(self) -> int:
        """As of any file."""
        return self._position
