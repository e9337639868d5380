"""Bundles as request bodies: streamed, readable again, their length known before the first byte.

Members are called by the `name` of their item; owner and time are fixed, so that no local path, user or date travels
and the same input gives the same bytes. tar: ustar headers by hand. zip: method 8 with data descriptor, which is the
one streamed form that the JDK's ZipInputStream reads (it refuses stored entries with a descriptor, xnat-api
4.6); uncompressed entries are deflate's stored blocks, whose length follows from the size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from xnatctl.model.plan import UploadItem
from xnatctl.packing.deflate import crc32, gzip_stream, raw_deflate
from xnatctl.plugin.protocols import Body, Reader

Opener = Callable[[UploadItem], AbstractContextManager[Reader]]

#: Small files are joined into blocks of this size; large ones are read in such pieces.
BLOCK = 1 << 18

_TAR_UNIT = 512
_NUL = bytes(1)
_TAR_END = 2 * _TAR_UNIT
#: Fixed: 1980-01-01, the earliest that zip can say.
_TIME = 315532800
_STORED_BLOCK = 65535
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_DESCRIPTOR = struct.Struct("<4s3I")
_END = struct.Struct("<4s4H2IH")
_DESCRIPTOR64 = struct.Struct("<4sI2Q")
_EXTRA64 = struct.Struct("<2H2Q")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
#: DOS date of 1980-01-01.
_DOS_DATE = 0x21
#: Bit 3: sizes follow the data. Bit 11: names are UTF-8.
_FLAGS = 0x808
#: Above these a zip needs zip64 (APPNOTE 4.3.9, 4.5.3).
_MAX_ZIP = 0xFFFFFFFE
_MAX_ENTRIES = 65534
_FULL, _FULL_SHORT = 0xFFFFFFFF, 0xFFFF


def tar_body(items: Sequence[UploadItem], open_item: Opener) -> Body:
    """An uncompressed tar (ustar)."""
    length = sum(_TAR_UNIT + _padded(item.size) for item in items) + _TAR_END
    return Body(length=length, chunks=lambda: joined(_tar(items, open_item)))


def tgz_body(items: Sequence[UploadItem], open_item: Opener) -> Body:
    """A tar.gz, compressed in memory, because the server needs the length first (xnat-import 1.3)."""
    packed = [piece for piece in gzip_stream(joined(_tar(items, open_item))) if piece]
    return Body(length=sum(map(len, packed)), chunks=lambda: iter(packed))


def stored_zip_body(items: Sequence[UploadItem], open_item: Opener) -> Body:
    """A zip of uncompressed deflate blocks: one pass, known length. zip64 if necessary."""
    offset = central = 0
    for item in items:
        name, packed = len(_name(item)), _stored_size(item.size)
        large = packed > _MAX_ZIP
        central += _CENTRAL.size + name + len(_central_extra(item.size, packed, offset))
        offset += _LOCAL.size + name + packed
        offset += _EXTRA64.size + _DESCRIPTOR64.size if large else _DESCRIPTOR.size
    length = offset + central + len(_zip_end(len(items), central, offset))
    return Body(length=length, chunks=lambda: joined(_zip(items, open_item, compress=lambda _: False)))


def deflated_zip_body(
    items: Sequence[UploadItem], open_item: Opener, compressible: Callable[[UploadItem], bool]
) -> Body:
    """A zip, compressed in memory; entries that are not `compressible` are stored."""
    packed = list(joined(_zip(items, open_item, compress=compressible)))
    return Body(length=sum(map(len, packed)), chunks=lambda: iter(packed))


def plain_body(item: UploadItem, open_item: Opener) -> Body:
    """One file, unchanged."""
    return Body(length=item.size, chunks=lambda: _content(item, open_item))


def fits_zip(items: Sequence[UploadItem]) -> bool:
    """False if a zip of the items would need zip64, which streaming readers treat differently."""
    return len(items) <= _MAX_ENTRIES and stored_zip_body(items, _never).length < _MAX_ZIP


def _never(item: UploadItem) -> AbstractContextManager[Reader]:
    raise AssertionError("a length is computed without opening anything")


def joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces into blocks, for fewer writes."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield b"".join(waiting) if len(waiting) > 1 else waiting[0]
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _content(item: UploadItem, open_item: Opener) -> Iterator[bytes]:
    left = item.size
    with open_item(item) as reader:
        while left and (data := reader.read(BLOCK)):
            left -= len(data)
            yield data


def _name(item: UploadItem) -> bytes:
    return item.name.encode("utf-8")


# tar (POSIX.1-1988 ustar)


def _padded(size: int) -> int:
    return -(-size // _TAR_UNIT) * _TAR_UNIT


def _tar(items: Sequence[UploadItem], open_item: Opener) -> Iterator[bytes]:
    for item in items:
        yield tar_header(_name(item), item.size)
        yield from _content(item, open_item)
        if rest := _padded(item.size) - item.size:
            yield bytes(rest)
    yield bytes(_TAR_END)


#: The constant parts of a header: mode, owner and group 0; time; type, and no link.
_BEFORE_SIZE = b"0000644" + _NUL + 2 * (b"0000000" + _NUL)
_AFTER_SIZE = b"%011o\0" % _TIME
_AFTER_SUM = b"0" + bytes(100) + b"ustar" + _NUL + b"00" + bytes(32 + 32 + 8 + 8 + 155 + 12)
#: The checksum counts its own field as eight blanks.
_HEADER_SUM = sum(_BEFORE_SIZE + _AFTER_SIZE + _AFTER_SUM + 8 * b" ")


def tar_header(name: bytes, size: int) -> bytes:
    """One header of 512 bytes; sizes of 8 GiB and more are written in base 256, as GNU and the JVM's readers do."""
    if len(name) > 100:
        raise ValueError(f"a member name of {len(name)} bytes does not fit a ustar header")
    sized = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    checksum = _HEADER_SUM + sum(name) + sum(sized)
    return b"".join((name.ljust(100, b"\0"), _BEFORE_SIZE, sized, _AFTER_SIZE, b"%06o\0 " % checksum, _AFTER_SUM))


# zip (APPNOTE 4.3)


def _stored_size(size: int) -> int:
    """The size of an entry in stored blocks of deflate."""
    return size + 5 * max(1, -(-size // _STORED_BLOCK))


def _zip(items: Sequence[UploadItem], open_item: Opener, compress: Callable[[UploadItem], bool]) -> Iterator[bytes]:
    central: list[bytes] = []
    offset = 0
    for item in items:
        name = _name(item)
        # The JDK reads eight-byte sizes after the data only if they need them; newer versions check this extra field.
        large = _stored_size(item.size) > _MAX_ZIP
        extra = _EXTRA64.pack(1, 16, 0, 0) if large else b""
        version = 45 if large else 20
        head = _LOCAL.pack(b"PK\x03\x04", version, _FLAGS, 8, 0, _DOS_DATE, 0, 0, 0, len(name), len(extra))
        yield head + name + extra
        entry = _Entry(item)
        yield from entry.data(_content(item, open_item), compress=compress(item) and not large)
        descriptor = _DESCRIPTOR64 if large else _DESCRIPTOR
        yield descriptor.pack(b"PK\x07\x08", entry.crc, entry.packed, item.size)
        central.append(_central(name, entry, item.size, offset))
        offset += len(head) + len(name) + len(extra) + entry.packed + descriptor.size
    directory = b"".join(central)
    yield directory
    yield _zip_end(len(central), len(directory), offset)


def _central(name: bytes, entry: _Entry, size: int, offset: int) -> bytes:
    extra = _central_extra(size, entry.packed, offset)
    version = 45 if extra else 20
    packed, plain = (_FULL, _FULL) if entry.packed > _MAX_ZIP else (entry.packed, size)
    return (
        _CENTRAL.pack(
            b"PK\x01\x02", version, version, _FLAGS, 8, 0, _DOS_DATE, entry.crc, packed, plain,
            len(name), len(extra), 0, 0, 0, 0o644 << 16, _narrow(offset),
        )
        + name
        + extra
    )  # fmt: skip


def _central_extra(size: int, packed: int, offset: int) -> bytes:
    """The zip64 field of one entry in the directory; empty if it is not needed."""
    fields = (size, packed) if packed > _MAX_ZIP else ()
    if offset > _MAX_ZIP:
        fields = (*fields, offset)
    return struct.pack(f"<2H{len(fields)}Q", 1, 8 * len(fields), *fields) if fields else b""


def _narrow(value: int) -> int:
    """A field of four bytes; its maximum means that the zip64 records hold the value."""
    return value if value <= _MAX_ZIP else _FULL


def _zip_end(entries: int, length: int, offset: int) -> bytes:
    """The end of the central directory, which has `length` bytes and begins at `offset`."""
    few = entries if entries <= _MAX_ENTRIES else _FULL_SHORT
    end = _END.pack(b"PK\x05\x06", 0, 0, few, few, _narrow(length), _narrow(offset), 0)
    if entries <= _MAX_ENTRIES and length + offset <= _MAX_ZIP:
        return end
    end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, 45, 45, 0, 0, entries, entries, length, offset)
    return end64 + _LOCATOR64.pack(b"PK\x06\x07", 0, offset + length, 1) + end


class _Entry:
    """The data of one entry; `crc` and `packed` are valid after it was read."""

    def __init__(self, item: UploadItem) -> None:
        self._size = item.size
        self.crc = 0
        self.packed = 0

    def data(self, content: Iterator[bytes], *, compress: bool) -> Iterator[bytes]:
        pieces = raw_deflate(self._summed(content)) if compress else self._blocks(self._summed(content))
        for piece in pieces:
            self.packed += len(piece)
            yield piece

    def _summed(self, content: Iterator[bytes]) -> Iterator[bytes]:
        for piece in content:
            self.crc = crc32(piece, self.crc)
            yield piece

    def _blocks(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """Deflate's stored blocks (RFC 1951 3.2.4), of fixed sizes, independent of the pieces."""
        left, room = self._size, 0
        if left == 0:
            yield b"\x01\x00\x00\xff\xff"
        for piece in content:
            view = memoryview(piece)
            while view:
                if room == 0:
                    room = min(left, _STORED_BLOCK)
                    left -= room
                    yield struct.pack("<BHH", left == 0, room, room ^ 0xFFFF)
                part = view[:room]
                room -= len(part)
                view = view[len(part) :]
                yield bytes(part)
