"""Forward-only streams: of a file, of a member, or of decompressed data."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from xnatctl.inventory.gzips import Damaged
from xnatctl.operating_system.files import read_at

_BLOCK: Final = 1 << 17
#: Memory that a decompressor may take, in bytes; `xz -9` needs 65 MiB.
_MEMORY = 100 * 2**20


class NeedsMemory(Damaged):
    """Unpacking needs more memory than the limit; the data are valid."""


#: At most n bytes, none at the end.
Read = Callable[[int], bytes]


class Stream:
    """Reads forward only. `position` is the number of bytes that were read."""

    def __init__(self, read: Read, skip: Callable[[int], int] | None = None) -> None:
        """`skip` passes over n bytes without reading them; it returns how many there were."""
        self._more = read
        self._pass = skip
        self._ahead = b""
        self.position = 0

    def peek(self, count: int) -> bytes:
        """The next `count` bytes without consuming them; fewer at the end."""
        pieces = [self._ahead]
        missing = count - len(self._ahead)
        while missing > 0 and (piece := self._more(missing)):
            pieces.append(piece)
            missing -= len(piece)
        if len(pieces) > 1:
            self._ahead = b"".join(pieces)
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer at the end."""
        data = self.peek(count)
        self._ahead = self._ahead[len(data) :]
        self.position += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Put back the bytes that were read last."""
        self._ahead = data + self._ahead
        self.position -= len(data)

    def some(self, count: int) -> bytes:
        """At most `count` bytes, without joining pieces; none at the end."""
        data, self._ahead = self._ahead[:count], self._ahead[count:]
        if not data and count > 0:
            data = self._more(count)
        self.position += len(data)
        return data

    def skip(self, count: int) -> int:
        """Skip `count` bytes; returns how many there were."""
        ahead = min(count, len(self._ahead))
        self._ahead = self._ahead[ahead:]
        self.position += ahead
        left = count - ahead
        if self._pass is not None:
            passed = self._pass(left)
            self.position += passed
            return ahead + passed
        while left and (data := self.some(min(left, _BLOCK))):
            left -= len(data)
        return count - left


class FileStream(Stream):
    """The bytes of a file from `start` to `end`; skipped bytes are not read."""

    def __init__(self, pread: Callable[[int, int], bytes], end: int, start: int = 0) -> None:
        self._at, self._end, self._pread = start, end, pread
        super().__init__(self._next, self._over)

    def _next(self, count: int) -> bytes:
        data = self._pread(min(count, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def _over(self, count: int) -> int:
        over = min(count, self._end - self._at)
        self._at += over
        return over


def part(stream: Stream, size: int) -> Stream:
    """The next `size` bytes of a stream as a stream."""
    left = size

    def read(count: int) -> bytes:
        nonlocal left
        data = stream.some(min(count, left))
        left -= len(data)
        return data

    def skip(count: int) -> int:
        nonlocal left
        over = stream.skip(min(count, left))
        left -= over
        return over

    return Stream(read, skip)


def preader(descriptor: int) -> Callable[[int, int], bytes]:
    """`pread(count, offset)` of an open file."""
    return lambda count, offset: read_at(descriptor, count, offset)


# decompressors


class _Deflated:
    """A zlib decompressor with the interface of the others."""

    def __init__(self, window: int) -> None:
        self._state = zlib.decompressobj(window)

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._state.decompress(self._state.unconsumed_tail + data, limit)

    @property
    def needs_input(self) -> bool:
        return not self._state.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._state.eof

    @property
    def unused_data(self) -> bytes:
        return self._state.unused_data


@dataclass(frozen=True, slots=True)
class Compressor:
    """How one kind of compressed file is read. A file may have several streams, and zeros after them."""

    name: str
    magic: tuple[bytes, ...]
    new: Callable[[], Any]


def _zstd() -> Callable[[], Any] | None:
    """The decompressor of the interpreter (3.14), or of its backport if that is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return getattr(import_module(name), "ZstdDecompressor", None)
        except ImportError:
            continue
    return None


GZIP: Final = "gzip"
ZLIB: Final = "zlib"
LZMA: Final = "lzma"
_ZSTD = _zstd()
_ZSTD_MAGIC: Final = (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16)))
COMPRESSORS: Final = {
    compressor.name: compressor
    for compressor in (
        Compressor(GZIP, (b"\x1f\x8b\x08",), lambda: _Deflated(31)),
        Compressor(ZLIB, (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), lambda: _Deflated(15)),
        Compressor("bzip2", (b"BZh",), bz2.BZ2Decompressor),
        Compressor("xz", (b"\xfd7zXZ\0",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)),
        Compressor(LZMA, (b"\x5d\0\0",), lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)),
        *([Compressor("zstd", _ZSTD_MAGIC, _ZSTD)] if _ZSTD is not None else []),
    )
}
#: What decompressors raise for data that make no sense.
BROKEN: Final = (zlib.error, lzma.LZMAError, EOFError, ValueError, OSError)


def unpacked(read: Read, compressor: Compressor, on_stream: Callable[[], None] | None = None) -> Read:
    """What is packed in the bytes that `read` gives, all streams of it.

    `on_stream` is called where another stream begins; what is returned at once is of one stream. Raises Damaged for
    what is cut off, damaged, or followed by anything else than zeros.
    """
    packed = Stream(read)
    state = compressor.new()

    def more(limit: int) -> bytes:
        nonlocal state
        while True:
            if state.eof:
                packed.unread(state.unused_data)
                if not _another(packed, compressor):
                    return b""
                state = compressor.new()
                if on_stream is not None:
                    on_stream()
            if out := _step(state, packed.some, limit):
                return out

    return more


def _another(packed: Stream, compressor: Compressor) -> bool:
    """Whether another compressed stream follows, after zeros if there are any. Raises Damaged."""
    while (ahead := packed.peek(_BLOCK)) and not ahead.strip(b"\0"):
        packed.skip(len(ahead))
    packed.skip(len(ahead) - len(ahead.lstrip(b"\0")))
    if ahead and not packed.peek(8).startswith(compressor.magic):
        raise Damaged(f"{packed.position} bytes in, data follow its end that are not {compressor.name} data")
    return bool(ahead)


def _step(state: Any, read: Read, limit: int) -> bytes:
    """The next unpacked bytes, or none if there are none yet. Raises Damaged."""
    data = read(_BLOCK) if state.needs_input else b""
    if not data and state.needs_input:
        raise Damaged("it is cut off")
    try:
        return bytes(state.decompress(data, limit))
    except BROKEN as error:
        if "memory" in str(error).lower():
            raise NeedsMemory(f"unpacking takes more than {_MEMORY // 2**20} MiB of memory") from error
        raise Damaged(str(error) or type(error).__name__) from error


def inflated(read: Read) -> Read:
    """The content of a raw deflate stream; `read` must return nothing after it. Raises Damaged."""
    state = _Deflated(-15)

    def more(limit: int) -> bytes:
        while not state.eof:
            if out := _step(state, read, limit):
                return out
        if state.unused_data or read(1):
            raise Damaged("data follow the end of its compressed data")
        return b""

    return more
