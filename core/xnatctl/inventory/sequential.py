"""Members of a compressed tar whose compressor can only be read from the beginning: bzip2, xz, lzma, zstd.

The state of these decompressors cannot be copied, as that of gzip can. A reader that has come to the end of its member
leaves its decompressor behind, and the next reader that begins further on takes it from there. Members that are read
in stored order cost one pass; one that lies before all decompressors costs a pass from the beginning.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Final

from xnatctl.inventory.gzips import Damaged
from xnatctl.inventory.streams import Compressor, Read, unpacked

_BLOCK: Final = 1 << 20
#: Decompressors that wait for a reader, in all; one of `xz -9` takes 65 MiB.
_WAITING: Final = 4


class _Decompressor:
    """The unpacked bytes of a file from the beginning on; `descriptor` is that of whoever reads now."""

    def __init__(self, compressor: Compressor) -> None:
        self.descriptor = -1
        self.position = 0
        self._packed = 0
        self._read = unpacked(self._pread, compressor)

    def _pread(self, count: int) -> bytes:
        data = os.pread(self.descriptor, count, self._packed)
        self._packed += len(data)
        return data

    def read(self, count: int) -> bytes:
        data = self._read(count)
        self.position += len(data)
        return data


_Key = tuple[int, ...]
_waiting: OrderedDict[tuple[_Key, int], _Decompressor] = OrderedDict()
_lock = threading.Lock()


def _key(descriptor: int) -> _Key:
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _take(key: _Key, offset: int) -> _Decompressor | None:
    """The decompressor that waits closest before an offset."""
    with _lock:
        places = [place for place in _waiting if place[0] == key and place[1] <= offset]
        return _waiting.pop(max(places)) if places else None


def _leave(key: _Key, decompressor: _Decompressor) -> None:
    with _lock:
        _waiting[key, decompressor.position] = decompressor
        while len(_waiting) > _WAITING:
            _waiting.popitem(last=False)


def sequential_reader(descriptor: int, offset: int, size: int, compressor: Compressor) -> Read:
    """`read(n)` over `size` unpacked bytes from `offset` on. Raises Damaged, OSError."""
    key = _key(descriptor)
    decompressor = _take(key, offset) or _Decompressor(compressor)
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
            _leave(key, decompressor)
        return data

    return read
