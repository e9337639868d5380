"""Members of a tar that is compressed by bzip2, xz, lzma or zstd, which decompress from the beginning only.

The state of these decompressors cannot be copied, unlike that of gzip. After a member, its reader releases the
decompressor, and a reader of a later member continues with it. Members that are read in stored order cost one pass; a
member before all released decompressors costs a pass from the beginning.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import cache
from typing import Final

from xnatctl.inventory.gzips import Damaged
from xnatctl.inventory.streams import Compressor, Read, unpacked
from xnatctl.operating_system.files import read_at

_BLOCK: Final = 1 << 20
#: Limit for released decompressors; one of `xz -9` needs 65 MiB.
_WAITING: Final = 4


class _Decompressor:
    """The unpacked bytes of a file from the beginning on; `descriptor` is that of the current reader."""

    def __init__(self, compressor: Compressor) -> None:
        self.descriptor = -1
        self.position = 0
        self._packed = 0
        self._read = unpacked(self._pread, compressor)

    def _pread(self, count: int) -> bytes:
        data = read_at(self.descriptor, count, self._packed)
        self._packed += len(data)
        return data

    def read(self, count: int) -> bytes:
        data = self._read(count)
        self.position += len(data)
        return data


_Key = tuple[int, ...]


class _Waiting:
    """Released decompressors of this process; they are large, so their number is limited."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[_Key, int], _Decompressor] = OrderedDict()

    def take(self, key: _Key, offset: int) -> _Decompressor | None:
        """The released decompressor that is closest before an offset."""
        with self._lock:
            places = [place for place in self._entries if place[0] == key and place[1] <= offset]
            return self._entries.pop(max(places)) if places else None

    def leave(self, key: _Key, decompressor: _Decompressor) -> None:
        """Release a decompressor; beyond the limit the oldest is dropped."""
        with self._lock:
            self._entries[key, decompressor.position] = decompressor
            while len(self._entries) > _WAITING:
                self._entries.popitem(last=False)


@cache
def _waiting() -> _Waiting:
    return _Waiting()


def _key(descriptor: int) -> _Key:
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def sequential_reader(descriptor: int, offset: int, size: int, compressor: Compressor) -> Read:
    """`read(n)` over `size` unpacked bytes from `offset` on. Raises Damaged, OSError."""
    key = _key(descriptor)
    decompressor = _waiting().take(key, offset) or _Decompressor(compressor)
    decompressor.descriptor = descriptor
    while decompressor.position < offset:
        if not decompressor.read(min(_BLOCK, offset - decompressor.position)):
            raise Damaged("it is shorter than planned")
    left = size

    def read(count: int) -> bytes:
        nonlocal left
        if not left:
            return b""
        data = decompressor.read(min(count, left))
        left -= len(data)
        if not left:
            _waiting().leave(key, decompressor)
        return data

    return read
