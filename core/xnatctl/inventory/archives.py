"""Archive files (zip, tar, compressed tar) as streams: never extracted by name, never trusted.

They are recognised by content. Names are for display only: an absolute name is shown without its root, and a member
whose name leads out of the archive file is not sent. Limits bound members and sizes, and can be lifted. Encrypted
members are skipped with a reason. A file that is damaged, truncated or overlapping, or that contains data that belong
to no member, is refused as a whole.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from xnatctl.errors import Refused
from xnatctl.inventory import tars, zips
from xnatctl.inventory.gzips import Damaged, gzip_reader
from xnatctl.inventory.names import leads_out, relative
from xnatctl.inventory.packers import HEAD, PROGRAM, TAIL, TAR, ZIP, packer_of
from xnatctl.inventory.sequential import sequential_reader
from xnatctl.inventory.streams import (
    COMPRESSORS,
    FileStream,
    NeedsMemory,
    Read,
    Stream,
    inflated,
    part,
    preader,
    unpacked,
)
from xnatctl.inventory.tars import Kind
from xnatctl.model.plan import Source
from xnatctl.model.words import human_size
from xnatctl.operating_system.files import open_to_read, read_at, reason

__all__ = ["Damaged", "Limits", "Member", "kind_of", "members", "open_member", "packer_at", "refusing_damage"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an archive file: members, members that are not DICOM, bytes of one member and of all members.

    Each member that is not DICOM needs memory until the report is written.
    """

    members: int = 500_000
    others: int = 100_000
    member_bytes: int = 64 * 2**30
    total_bytes: int = 256 * 2**30

    @staticmethod
    def beyond(path: str, problem: str) -> Refused:
        """The error for a file that exceeds a limit."""
        return Refused(
            f"{path} {problem}.",
            hint="If you know the file and it is that large, add --large-archive. Otherwise unpack it, and name the "
            "directory.",
        )


LIMITS: Final = Limits()
UNLIMITED: Final = Limits(*[sys.maxsize] * 4)
#: Maximum length of the target of a symbolic link (bytes).
_LONGEST_PATH: Final = 4096

#: Containers of compressed tar files, by compressor.
_TARS: Final = {"gzip": "tgz", "bzip2": "tbz2", "xz": "txz", "lzma": "tlzma", "zstd": "tzst"}
_COMPRESSORS: Final = {_TARS[name]: compressor for name, compressor in COMPRESSORS.items() if name in _TARS}
_TGZ: Final = _TARS["gzip"]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive file; its `content` can be read until the next member is requested.

    `rule` is why it is skipped. `obstacle` is why it cannot be read, so it may be an instance. A link has a `target` in
    place of content: the name of a member, or the path relative to the link if it `is_symbolic`.
    """

    name: str
    source: Source
    size: int
    content: Stream
    rule: str | None = None
    obstacle: str | None = None
    target: str | None = None
    is_symbolic: bool = False


def _packer(descriptor: int, size: int) -> str | None:
    """The packer of an open file; None for a file that is not packed. Raises OSError."""
    head = read_at(descriptor, min(HEAD, size), 0)
    return packer_of(head, size, lambda: read_at(descriptor, TAIL, max(0, size - TAIL)))


def packer_at(path: str) -> str | None:
    """The packer of a file; None for a file that is not packed. Raises OSError."""
    descriptor = open_to_read(path)
    try:
        return _packer(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def kind_of(path: str) -> str | None:
    """`zip`, `tar`, `tgz`, `tbz2`, `txz`, `tlzma`, `tzst`, or None for a file that is not packed.

    Raises OSError, and Refused for another packer or a compressed file without a tar.
    """
    descriptor = open_to_read(path)
    try:
        name = _packer(descriptor, os.fstat(descriptor).st_size)
        if name in (None, ZIP, TAR, PROGRAM):
            return None if name == PROGRAM else name
        if name not in COMPRESSORS or name not in _TARS:
            raise Refused(
                f"{path} is a packed file ({name}) that xnatctl does not read.",
                hint="Unpack it, and name the directory.",
            )
        with refusing_damage(path):
            first = Stream(_unpacked(descriptor, _TARS[name])).peek(HEAD)
    finally:
        os.close(descriptor)
    if not tars.is_tar(first):
        raise Refused(f"{path} is compressed by {name} but holds no tar.", hint="Unpack it first.")
    return _TARS[name]


def _unpacked(descriptor: int, kind: str) -> Read:
    """The content of a compressed tar, from its beginning."""
    if kind == _TGZ:
        return gzip_reader(descriptor, 0)
    pread = preader(descriptor)
    return unpacked(FileStream(pread, os.fstat(descriptor).st_size).some, _COMPRESSORS[kind])


def members(path: str, kind: str, limits: Limits) -> Iterator[Member]:
    """The members of an archive file, in stored order; use in `refusing_damage`. Raises Refused beyond the limits."""
    descriptor = open_to_read(path)
    try:
        if kind == ZIP:
            yield from _zip_members(path, descriptor, limits)
        else:
            yield from _tar_members(path, descriptor, kind, limits)
    finally:
        os.close(descriptor)


@contextmanager
def refusing_damage(path: str) -> Iterator[None]:
    """Turn the errors of a damaged archive file into Refused, while listing and while reading members."""
    try:
        yield
    except NeedsMemory as error:
        raise Refused(f"{path} cannot be read: {error}.", hint="Unpack it, and name the directory.") from error
    except (Damaged, ValueError, struct.error) as error:
        raise Refused(
            f"{path} is damaged: {str(error).rstrip('.') or type(error).__name__}.",
            hint="Create the archive file again, or name the directory from which it was created.",
        ) from error
    except OSError as error:
        raise Refused(f"{path} cannot be read: {reason(error)}.") from error


def _too_many(path: str, limits: Limits) -> Refused:
    return limits.beyond(path, f"holds more than {limits.members:,} members")


def _check_size(path: str, unpacked: int, packed: int, limits: Limits) -> None:
    """Raise Refused for a file that unpacks to more than the limit; a file that is as large itself does no harm."""
    if unpacked > max(limits.total_bytes, packed):
        raise limits.beyond(path, f"unpacks to more than {human_size(limits.total_bytes)}")


def _obstacle(name: str, size: int, limits: Limits) -> str | None:
    if leads_out(name):
        return "its name leads out of the archive file; pack it again from inside its directory"
    if size <= limits.member_bytes:
        return None
    return f"larger than {human_size(limits.member_bytes)} (--large-archive takes it)"


# zip


def _zip_members(path: str, descriptor: int, limits: Limits) -> Iterator[Member]:
    pread, packed, total = preader(descriptor), os.fstat(descriptor).st_size, 0
    try:
        for entry in zips.entries(pread, packed, limits.members):
            total += entry.size
            _check_size(path, total, packed, limits)
            if not entry.is_directory:
                yield _zip_member(path, pread, entry, _zip_obstacle(entry, limits))
    except zips.TooMany:
        raise _too_many(path, limits) from None
    except zips.Overlap:
        raise Refused(f"{path} holds overlapping entries; it was made to harm.") from None


def _zip_member(path: str, pread: zips.Pread, entry: zips.Entry, obstacle: str | None) -> Member:
    source = Source(
        path=os.path.abspath(path), container=ZIP, member=entry.name, offset=zips.data_offset(pread, entry),
        packed_size=entry.packed_size, method=entry.method, crc=entry.crc,
    )  # fmt: skip
    content = Stream(_open_later(lambda: _open_zip(pread, source, entry.size)))
    target = None
    if entry.is_link and obstacle is None:
        target = os.fsdecode(content.peek(min(entry.size, _LONGEST_PATH)))
    return Member(
        name=relative(entry.name),
        source=source,
        size=entry.size,
        content=content,
        obstacle=obstacle,
        target=target,
        is_symbolic=target is not None,
    )


def _open_later(opening: Callable[[], Read]) -> Read:
    """A reader that calls `opening` when the first byte is read."""
    opened: Read | None = None

    def read(count: int) -> bytes:
        nonlocal opened
        opened = opened or opening()
        return opened(count)

    return read


def _zip_obstacle(entry: zips.Entry, limits: Limits) -> str | None:
    if entry.is_encrypted:
        return "encrypted"
    if entry.method not in (zips.STORED, zips.DEFLATED):
        return f"compressed by method {entry.method}, which xnatctl does not read"
    return _obstacle(entry.name, entry.size, limits)


def _open_zip(pread: zips.Pread, source: Source, size: int) -> Read:
    """The data of one entry; `source` has its sizes and checksum from the central directory."""
    packed = FileStream(pread, source.offset + (source.packed_size or 0), source.offset)
    read = packed.some if source.method == zips.STORED else inflated(packed.some)
    return _checked(read, size, source.crc or 0)


def _checked(read: Read, size: int, crc: int) -> Read:
    """The same bytes; size and checksum are compared after the last byte."""
    left, actual = size, 0

    def checked(count: int) -> bytes:
        nonlocal left, actual
        if not left:
            return b""
        data = read(min(count, left))
        left -= len(data)
        actual = zlib.crc32(data, actual)
        if not data:
            raise Damaged("it is shorter than its directory says")
        if not left and actual != crc:
            raise Damaged("its checksum is wrong")
        if not left and read(1):
            raise Damaged("it is longer than its directory says")
        return data

    return checked


# tar


def _tar_members(path: str, descriptor: int, kind: str, limits: Limits) -> Iterator[Member]:
    packed = os.fstat(descriptor).st_size
    if kind == TAR:
        stream: Stream = FileStream(preader(descriptor), packed)
    else:
        stream = Stream(_bounded(_unpacked(descriptor, kind), path, packed, limits))
    for number, entry in enumerate(tars.entries(stream), 1):
        if number > limits.members:
            raise _too_many(path, limits)
        if entry.kind is Kind.DIRECTORY:
            continue
        is_link = entry.kind in (Kind.HARD_LINK, Kind.SYMBOLIC_LINK)
        yield Member(
            name=relative(entry.name),
            source=Source(path=os.path.abspath(path), container=kind, member=entry.name, offset=entry.offset),
            size=entry.size,
            content=part(stream, entry.size),
            rule=None if is_link or entry.kind is Kind.FILE else "not a regular file",
            obstacle=entry.obstacle or _obstacle(entry.name, entry.size, limits),
            target=entry.target if is_link else None,
            is_symbolic=entry.kind is Kind.SYMBOLIC_LINK,
        )


def _bounded(read: Read, path: str, packed: int, limits: Limits) -> Read:
    total = 0

    def bounded(count: int) -> bytes:
        nonlocal total
        data = read(count)
        total += len(data)
        _check_size(path, total, packed, limits)
        return data

    return bounded


def open_member(descriptor: int, source: Source, size: int) -> Read:
    """`read(n)` over the bytes of a member. Raises Damaged, OSError. Several threads may read one archive file."""
    pread = preader(descriptor)
    if source.container == ZIP:
        return _open_zip(pread, source, size)
    if source.container == _TGZ:
        return part(Stream(gzip_reader(descriptor, source.offset)), size).some
    if source.container in _COMPRESSORS:
        return sequential_reader(descriptor, source.offset, size, _COMPRESSORS[source.container])
    return FileStream(pread, source.offset + size, source.offset).some
