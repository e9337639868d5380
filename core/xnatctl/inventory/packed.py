"""Finds out whether a packed file contains DICOM, at any depth."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from xnatctl.inventory import archives, tars, zips
from xnatctl.inventory.gzips import Damaged
from xnatctl.inventory.packers import BASE64, HEAD, PROGRAM, TAIL, TAR, ZIP, packer_by_end, packer_of, unpacks_itself
from xnatctl.inventory.recognition import is_dicom
from xnatctl.inventory.streams import COMPRESSORS, Compressor, FileStream, Stream, inflated, part, preader, unpacked
from xnatctl.operating_system.files import open_to_read

#: The size of unpacked data is unknown; the end of the stream shows it.
_UNKNOWN_SIZE: Final = 1 << 62
#: Limit for packed files inside each other.
_DEPTH: Final = 8
#: Limits for one file: bytes that are unpacked, and members that are read.
_MOST_BYTES: Final = archives.LIMITS.member_bytes
_MOST_MEMBERS: Final = archives.LIMITS.members
#: Limit for a zip inside a compressed file (bytes): its directory is at its end, so it is kept in memory.
_IN_MEMORY: Final = 16 * 2**20
_BLOCK: Final = 1 << 17


class _Unknown(Exception):
    """The content cannot be read."""


def holds_dicom(path: str) -> bool | None:
    """True if a packed file contains DICOM at any depth, False if it contains none.

    None if not all of it can be read: encrypted, damaged, unreadable, too deep or too large, or made by a packer that
    xnatctl does not read. Reads compressed data to the end, because some packers are recognised by the end of a file.
    """
    try:
        descriptor = open_to_read(path)
    except OSError:
        return None
    try:
        return content_holds_dicom(_file(descriptor))
    except OSError:
        return None
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to examine: `stream` reads them once; `pread` reads them at any offset if they are plain bytes of a file.

    `size` is None if unknown.
    """

    stream: Stream
    size: int | None
    pread: zips.Pread | None = None


def content_holds_dicom(content: Content) -> bool | None:
    """`holds_dicom` of the bytes of a file or of a member. Raises OSError."""
    look = _Look()
    with suppress(_Unknown, Damaged, zips.Overlap, zips.TooMany, ValueError):
        return look.holds(content, 0) or (None if look.unknown else False)
    return None


def _file(descriptor: int) -> Content:
    size, pread = os.fstat(descriptor).st_size, preader(descriptor)
    return Content(FileStream(pread, size), size, pread)


class _Streams:
    """The decompressed content of a file. `starts` are the offsets of its streams, without the first."""

    def __init__(self, read: Callable[[int], bytes], compressor: Compressor) -> None:
        self.starts: list[int] = []
        self._given = 0
        self._end = b""
        self._read = unpacked(read, compressor, lambda: self.starts.append(self._given))

    def __call__(self, count: int) -> bytes:
        data = self._read(count)
        self._given += len(data)
        self._end = _end_of(self._end, data)
        return data

    @property
    def packer(self) -> str | None:
        """The packer of the content by its end, after all of it was read."""
        return packer_by_end(self._end, self._given)


class _Look:
    """Examines one file. `unknown`: part of it cannot be read."""

    def __init__(self) -> None:
        self.unknown = False
        self._bytes = _MOST_BYTES
        self._members = _MOST_MEMBERS

    def holds(self, content: Content, depth: int) -> bool:
        """Whether there is DICOM. Raises _Unknown, Damaged and the like if the rest cannot be read."""
        stream, tail = content.stream, None
        if content.pread is not None and content.size is not None:
            tail = _tail(content.pread, content.size)
        head = stream.peek(HEAD)
        packer = packer_of(head, content.size, tail)
        if packer is None:
            return _is_dicom(stream, content.size) or _refuse_by_end(content)
        if packer == BASE64:
            return True
        if packer == PROGRAM:
            if unpacks_itself(stream.some):
                raise _Unknown
            return False
        if depth == _DEPTH:
            raise _Unknown
        if packer == TAR:
            return self._tar(content, depth + 1)
        if packer == ZIP:
            return self._zip(content, depth + 1)
        if packer not in COMPRESSORS:
            raise _Unknown
        return self._compressed(content, COMPRESSORS[packer], depth + 1)

    def _compressed(self, content: Content, compressor: Compressor, depth: int) -> bool:
        streams = _Streams(content.stream.some, compressor)
        inner = Stream(self._counted(streams))
        is_plain = packer_of(inner.peek(HEAD), None) is None
        if self.holds(Content(inner, None), depth) or self._later(inner, streams, depth):
            return True
        if is_plain and streams.packer is not None:
            raise _Unknown
        return False

    def _later(self, inner: Stream, streams: _Streams, depth: int) -> bool:
        """Examine the beginning of each further compressed stream, because gzip and other files may be concatenated."""
        seen = 0
        while True:
            before = inner.position
            data = inner.some(_BLOCK)
            if not data:
                return False
            while seen < len(streams.starts) and (start := streams.starts[seen]) < inner.position:
                seen += 1
                if start < before:
                    continue  # it was read as part of the data before it
                inner.unread(data)
                inner.skip(start - before)
                if self.holds(Content(inner, None), depth):
                    return True
                break

    def _each(self, content: Content, depth: int) -> bool:
        """`holds` of a member; a member that cannot be read does not end the search."""
        self._members -= 1
        if self._members < 0:
            raise _Unknown
        try:
            return self.holds(content, depth)
        except (_Unknown, zips.Overlap, zips.TooMany):
            self.unknown = True
        except (Damaged, ValueError):
            self.unknown = True
        return False

    def _tar(self, content: Content, depth: int) -> bool:
        stream = content.stream
        start = stream.position
        for entry in tars.entries(stream):
            if entry.obstacle is not None:
                self.unknown = True
            elif entry.kind is tars.Kind.FILE and entry.size:
                pread = _shifted(content.pread, entry.offset - start)
                if self._each(Content(part(stream, entry.size), entry.size, pread), depth):
                    return True
        return False

    def _zip(self, content: Content, depth: int) -> bool:
        pread, size = content.pread, content.size
        if pread is None or size is None:
            pread, size = _in_memory(content.stream)
        for entry in zips.entries(pread, size, self._members):
            if entry.is_directory or not entry.size:
                continue
            if entry.is_encrypted or entry.method not in (zips.STORED, zips.DEFLATED):
                self.unknown = True
            elif self._each(self._zip_entry(pread, entry), depth):
                return True
        return False

    def _zip_entry(self, pread: zips.Pread, entry: zips.Entry) -> Content:
        start = zips.data_offset(pread, entry)
        packed = FileStream(pread, start + entry.packed_size, start)
        if entry.method == zips.STORED:
            return Content(packed, entry.packed_size, _shifted(pread, start))
        return Content(Stream(self._counted(inflated(packed.some))), entry.size)

    def _counted(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """The same bytes, up to the limit."""

        def counted(count: int) -> bytes:
            data = read(count)
            self._bytes -= len(data)
            if self._bytes < 0:
                raise _Unknown
            return data

        return counted


def _tail(pread: zips.Pread, size: int) -> Callable[[], bytes]:
    return lambda: pread(min(TAIL, size), max(0, size - TAIL))


def _is_dicom(stream: Stream, size: int | None) -> bool:
    def read(count: int, offset: int = 0, /) -> bytes:
        return stream.peek(offset + count)[offset:]

    return is_dicom(read, _UNKNOWN_SIZE if size is None else size)


def _refuse_by_end(content: Content) -> Literal[False]:
    """Raise _Unknown for a file that is packed by its end; if its size is unknown, the caller checks that."""
    if content.pread is None and content.size is not None and packer_by_end(_read_to_end(content.stream), content.size):
        raise _Unknown
    return False


def _read_to_end(stream: Stream) -> bytes:
    """The last `TAIL` bytes of a stream, or all of it if it is shorter."""
    end = b""
    while data := stream.some(_BLOCK):
        end = _end_of(end, data)
    return end


def _end_of(end: bytes, data: bytes) -> bytes:
    return data[-TAIL:] if len(data) >= TAIL else (end + data)[-TAIL:]


def _shifted(pread: zips.Pread | None, start: int) -> zips.Pread | None:
    """`pread` of the bytes from `start` on."""
    return None if pread is None else lambda count, offset: pread(count, start + offset)


def _in_memory(stream: Stream) -> tuple[zips.Pread, int]:
    """Read a whole file into memory. Raises _Unknown if it is too large."""
    data = bytearray()
    while piece := stream.some(_BLOCK):
        data += piece
        if len(data) > _IN_MEMORY:
            raise _Unknown
    return lambda count, offset: bytes(data[offset : offset + count]), len(data)
