"""Opening what was planned, and noticing when it is no longer that."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xnatctl.errors import SourceChanged
from xnatctl.inventory import archives
from xnatctl.model.plan import UploadItem

if TYPE_CHECKING:
    from xnatctl.plugin.protocols import Reader

_BLOCK = 1 << 20


@contextmanager
def open_item(item: UploadItem) -> Iterator[Reader]:
    """The bytes of an item, exactly `item.size` of them.

    Size, time and inode are compared with the plan on opening and again on the last byte. Raises SourceChanged, also
    for a file that vanished or cannot be read any more.
    """
    try:
        descriptor = os.open(item.source.path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SourceChanged(f"{item.path} cannot be opened any more: {error.strerror}.", path=item.path) from error
    try:
        _check(item, descriptor)
        reader = _FileReader(item, descriptor) if item.source.container is None else _MemberReader(item, descriptor)
        try:
            yield reader
        finally:
            reader.close()
    finally:
        os.close(descriptor)


def _check(item: UploadItem, descriptor: int) -> None:
    status = os.fstat(descriptor)
    size = status.st_size if item.source.container is None else item.size
    now = (stat.S_ISREG(status.st_mode), size, status.st_mtime_ns)
    if now != (True, item.size, item.mtime_ns) or (item.inode and status.st_ino != item.inode):
        raise SourceChanged(f"{item.path} has changed since the upload was planned.", path=item.path)


class _Digesting:
    """Hashes what is read through it, and tells the digest with the last byte."""

    def __init__(
        self, inner: Reader, item: UploadItem, tell: Callable[[UploadItem, str], None], algorithm: str
    ) -> None:
        self._inner = inner
        self._item = item
        self._tell = tell
        self._left = item.size
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def read(self, size: int = -1, /) -> bytes:
        data = self._inner.read(size)
        self._digest.update(data)
        self._left -= len(data)
        if data and self._left == 0:
            self._tell(self._item, self._digest.hexdigest())
        return data


@contextmanager
def open_digesting(
    item: UploadItem, tell: Callable[[UploadItem, str], None], algorithm: str = "sha256"
) -> Iterator[Reader]:
    """`open_item`, and `tell` hears the digest (hex) when all of the item has been read."""
    with open_item(item) as reader:
        yield _Digesting(reader, item, tell, algorithm)


class _FileReader:
    """A plain file. Looks at it once more when the last byte has been read."""

    def __init__(self, item: UploadItem, descriptor: int) -> None:
        self._item = item
        self._descriptor = descriptor
        self._left = item.size

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted == 0:
            return b""
        try:
            data = os.read(self._descriptor, wanted)
        except OSError as error:
            raise SourceChanged(f"{self._item.path} cannot be read: {error.strerror}.", path=self._item.path) from error
        if not data:
            raise SourceChanged(f"{self._item.path} shrank while it was being sent.", path=self._item.path)
        self._left -= len(data)
        if self._left == 0:
            _check(self._item, self._descriptor)
        return data

    def close(self) -> None:
        """The descriptor belongs to `open_item`."""


class _MemberReader:
    """A member of a ready-made archive."""

    def __init__(self, item: UploadItem, descriptor: int) -> None:
        self._item = item
        self._left = item.size
        self._stream = archives.open_member(descriptor, item.source, item.size)

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted == 0:
            return b""
        try:
            data = self._stream(wanted)
        except (OSError, archives.Damaged) as error:
            raise SourceChanged(
                f"{self._item.path} cannot be read from its archive: {error}.", path=self._item.path
            ) from error
        if not data:
            raise SourceChanged(f"{self._item.path} is shorter in its archive than planned.", path=self._item.path)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """The descriptor belongs to `open_item`."""


def same_content(one: UploadItem, other: UploadItem) -> bool:
    """True when two items hold the same bytes."""
    if one.size != other.size:
        return False
    with open_item(one) as first, open_item(other) as second:
        return _blocks_equal(first, second, one.size)


def _blocks_equal(first: Reader, second: Reader, left: int) -> bool:
    while left:
        block = min(_BLOCK, left)
        if _exactly(first, block) != _exactly(second, block):
            return False
        left -= block
    return True


def _exactly(reader: Reader, size: int) -> bytes:
    pieces = []
    while size and (piece := reader.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def content_hash(item: UploadItem, algorithm: str = "sha256") -> str:
    """The digest of an item's bytes, in hex. Raises SourceChanged."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open_item(item) as reader:
        while data := reader.read(_BLOCK):
            digest.update(data)
    return digest.hexdigest()
