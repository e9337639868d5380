"""Reading archive files as XNAT's JVM does: front to back, by local headers, the format by name alone.

`java.util.zip.ZipInputStream` needs no central directory, refuses encrypted entries and stored ones with a data
descriptor (xnat-import 1.7). Names decide, case-sensitively (1.3).
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from typing import Protocol

_FORMATS = (
    ("TAR", re.compile(r".*\.(tar|xar)$")),
    ("TGZ", re.compile(r".*\.(tgz|tar\.gz)$")),
    ("ZIP", re.compile(r".*\.(zip|zar)$")),
    ("GZ", re.compile(r".*\.gz$")),
)
_BLOCK = 1 << 16


class Damaged(Exception):
    """The stream cannot be read further; `name` is True when the name of an entry is malformed."""

    def __init__(self, reason: str, *, name: bool = False) -> None:
        super().__init__(reason)
        self.name = name


class Readable(Protocol):
    """Anything with `read`."""

    def read(self, size: int = -1, /) -> bytes: ...


def format_of(name: str) -> str:
    """`TAR`, `TGZ`, `ZIP`, `GZ` or `UNKNOWN`."""
    return next((kind for kind, pattern in _FORMATS if pattern.match(name)), "UNKNOWN")


def files(stream: Readable, kind: str) -> Iterator[tuple[str, Readable]]:
    """(name, data) of each file; an entry must be read before the next one is asked for. Raises Damaged."""
    return ((name, data) for name, data in entries(stream, kind) if data is not None)


def entries(stream: Readable, kind: str) -> Iterator[tuple[str, Readable | None]]:
    """The same with the folders, whose data are None."""
    if kind == "ZIP":
        yield from _zip(stream)
        return
    try:
        with tarfile.open(fileobj=_Whole(stream), mode="r|gz" if kind == "TGZ" else "r|") as archive:
            for entry in archive:
                if entry.isdir():
                    yield entry.name, None
                    continue
                # A link entry has no data: the parser sees an empty file.
                yield entry.name, archive.extractfile(entry) if entry.isreg() else io.BytesIO()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise Damaged(str(error)) from error


class _Whole(io.RawIOBase):
    """Reads as many bytes as tarfile asks for, never fewer."""

    def __init__(self, stream: Readable) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        pieces = []
        while size and (piece := self._stream.read(size)):
            pieces.append(piece)
            if size > 0:
                size -= len(piece)
        return b"".join(pieces)


class _Buffer:
    """A stream that can take bytes back."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._kept = b""

    def exactly(self, size: int) -> bytes:
        while len(self._kept) < size:
            piece = self._stream.read(_BLOCK)
            if not piece:
                raise Damaged("unexpected end of the stream")
            self._kept += piece
        data, self._kept = self._kept[:size], self._kept[size:]
        return data

    def some(self) -> bytes:
        data = self._kept or self._stream.read(_BLOCK)
        self._kept = b""
        return data

    def back(self, data: bytes) -> None:
        self._kept = data + self._kept

    def peek(self, size: int) -> bytes:
        while len(self._kept) < size and (piece := self._stream.read(_BLOCK)):
            self._kept += piece
        return self._kept[:size]


def _zip(stream: Readable) -> Iterator[tuple[str, Readable | None]]:
    buffer = _Buffer(stream)
    while buffer.peek(4) == b"PK\x03\x04":  # anything else ends the listing, as getNextEntry() does
        _, _, flags, method, _, _, _, _, size, name_length, extra = struct.unpack("<4s5H3I2H", buffer.exactly(30))
        raw = buffer.exactly(name_length)
        buffer.exactly(extra)
        if flags & 1:
            raise Damaged("encrypted ZIP entry not supported")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Damaged("malformed input off", name=True) from None
        if method == 8:
            data: _Inflated | _Stored = _Inflated(buffer, descriptor=bool(flags & 8))
        elif method == 0 and not flags & 8:
            data = _Stored(buffer, size)
        else:
            raise Damaged("only DEFLATED entries can have EXT descriptor")
        yield name, None if name.endswith("/") else data
        data.finish()


class _Stored:
    def __init__(self, buffer: _Buffer, size: int) -> None:
        self._buffer, self._left = buffer, size

    def read(self, size: int = -1, /) -> bytes:
        wanted = min(self._left, _BLOCK if size < 0 else size)
        if not wanted:
            return b""
        data = self._buffer.some()
        if not data:
            raise Damaged("unexpected end of ZLIB input stream")
        self._buffer.back(data[wanted:])
        data = data[:wanted]
        self._left -= len(data)
        return data

    def finish(self) -> None:
        while self.read(_BLOCK):
            pass


class _Inflated:
    """A deflated entry; checks CRC and size when a data descriptor follows it."""

    def __init__(self, buffer: _Buffer, *, descriptor: bool) -> None:
        self._buffer, self._descriptor = buffer, descriptor
        self._inflater = zlib.decompressobj(-15)
        self._crc = 0
        self._size = 0
        self._done = False

    def read(self, size: int = -1, /) -> bytes:
        while not self._done:
            data = self._inflater.unconsumed_tail or self._buffer.some()
            if not data:
                raise Damaged("unexpected end of ZLIB input stream")
            try:
                out = self._inflater.decompress(data, _BLOCK if size < 0 else size)
            except zlib.error as error:
                raise Damaged(str(error)) from error
            self._crc = zlib.crc32(out, self._crc)
            self._size += len(out)
            if self._inflater.eof:
                self._end()
            if out:
                return out
        return b""

    def _end(self) -> None:
        self._done = True
        self._buffer.back(self._inflater.unused_data)
        if not self._descriptor:
            return
        head = self._buffer.exactly(4)
        if head == b"PK\x07\x08":
            head = self._buffer.exactly(4)
        crc = struct.unpack("<I", head)[0]
        _, size = struct.unpack("<II", self._buffer.exactly(8))
        if crc != self._crc:
            raise Damaged("invalid entry CRC")
        if size != self._size & 0xFFFFFFFF:
            raise Damaged("invalid entry size")

    def finish(self) -> None:
        while self.read(_BLOCK):
            pass


class Truncated:
    """The first `count` bytes of a stream; a negative count drops so many at its end."""

    def __init__(self, stream: Readable, count: int) -> None:
        if count < 0:
            whole = b"".join(iter(lambda: stream.read(1 << 18), b""))
            stream, count = io.BytesIO(whole), max(0, len(whole) + count)
        self._stream, self._left = stream, count

    def read(self, size: int = -1, /) -> bytes:
        """Read; at the end, also read and drop the rest of the stream."""
        if self._left > 0 and (piece := self._stream.read(self._left if size < 0 else min(size, self._left))):
            self._left -= len(piece)
            return piece
        while self._stream.read(1 << 18):
            pass
        return b""
