"""Ready-made archive files (zip, tar, tar.gz) as streams: never extracted by name, never trusted.

What they are is told by content. Names are used for display only. Limits bound members, sizes and ratio; nested
archives, links (which have no content) and encrypted members are left out with a reason. Refused as a whole: what is
damaged, cut off or overlapping, and what was made to harm whoever unpacks it by name, which no export of a scanner is:
names that lead out of the archive, devices.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import IO

from xnatctl.errors import Refused
from xnatctl.inventory.elements import Read
from xnatctl.inventory.forward import Forward
from xnatctl.inventory.gzips import Damaged, gzip_reader
from xnatctl.inventory.harm import name_harm, refuse_hostile
from xnatctl.model.plan import Source

__all__ = ["Damaged", "Member", "kind_of", "looks_like_archive", "members", "open_member", "refusing_damage"]

MAX_MEMBERS = 500_000
MAX_MEMBER_BYTES = 64 * 2**30
#: Unpacked to packed; the floor lets small archives of empty images pass.
MAX_RATIO = 200
RATIO_FLOOR = 256 * 2**20

_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; `read` gives its bytes until the next member is asked for.

    `rule` says why it is left out, `obstacle` why it cannot be looked at, so that it may be an instance all the same.
    `harm` says what it would do to whoever unpacks it by its name; such members are never handed out.
    """

    name: str
    size: int
    offset: int
    packed_size: int | None
    rule: str | None
    obstacle: str | None
    read: Read
    harm: str | None = None

    @property
    def head(self) -> bytes:
        """Enough to tell an archive."""
        return self.read(512)


def kind_of(path: str) -> str | None:
    """`zip`, `tar`, `tgz`, or None for anything else. Raises OSError, and Refused for a gzip that holds no tar."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head[128:132] == b"DICM":
        return None
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            first = gzip_reader(descriptor, 0)(512)
        except Damaged as error:
            raise Refused(f"{path} is a damaged gzip file: {error}.") from error
        finally:
            os.close(descriptor)
        if not _is_tar(first):
            raise Refused(f"{path} is compressed by gzip but holds no tar.", hint="Unpack it first.")
        return "tgz"
    return "tar" if _is_tar(head) else None


def looks_like_archive(head: bytes) -> bool:
    """True for what would be opened as a nested archive."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")) or _is_tar(head)


def _is_tar(block: bytes) -> bool:
    if len(block) < 512 or block[128:132] == b"DICM" or not block[0]:
        return False
    try:
        tarfile.TarInfo.frombuf(block[:512], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def members(path: str, kind: str) -> Iterator[Member]:
    """The files of an archive, in stored order; use inside `refusing_damage`.

    Raises Refused at the end when some are hostile, so that all of them are known; nothing is sent before that.
    """
    hostile: list[str] = []
    for member in _zip_members(path) if kind == "zip" else _tar_members(path, compressed=kind == "tgz"):
        if member.harm is None:
            yield member
        else:
            hostile.append(f"{member.name} ({member.harm})")
    refuse_hostile(path, hostile)


@contextmanager
def refusing_damage(path: str) -> Iterator[None]:
    """Turn what a damaged archive makes of its readers into Refused: listing and looking into members alike."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, Damaged, EOFError, ValueError, struct.error) as error:
        raise Refused(
            f"{path} is damaged: {str(error).rstrip('.') or type(error).__name__}.",
            hint="Make the archive again, or name the directory that it was made from.",
        ) from error
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}.") from error


def _bounded(path: str, count: int, total: int, packed: int) -> None:
    if count > MAX_MEMBERS:
        raise Refused(f"{path} holds more than {MAX_MEMBERS} members.")
    if total > max(RATIO_FLOOR, MAX_RATIO * packed):
        raise Refused(f"{path} unpacks to more than {MAX_RATIO} times its size; that is no imaging data.")


# zip


def _zip_members(path: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive, ExitStack() as stack:
        entries = archive.infolist()
        packed = os.path.getsize(path)
        _bounded(path, len(entries), sum(entry.file_size for entry in entries), packed)
        _refuse_overlaps(path, entries)
        for entry in entries:
            name = _zip_name(entry)
            if entry.is_dir() and name_harm(name) is None:
                continue
            link = (entry.external_attr >> 16) & 0o170000 == 0o120000
            yield Member(
                name=name,
                size=entry.file_size,
                offset=entry.header_offset,
                packed_size=entry.compress_size,
                rule="symbolic link" if link else None,
                obstacle=_zip_obstacle(entry),
                read=_zip_head(archive, entry, stack),
                harm=name_harm(name),
            )


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Without the UTF-8 flag zipfile reads CP437; the bytes behind it are kept as a file system would keep them."""
    if entry.flag_bits & 0x800:
        return entry.filename
    return os.fsdecode(entry.orig_filename.encode("cp437", "replace"))


def _zip_obstacle(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & 0x1:
        return "encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compressed by method {entry.compress_type}, which is not read here"
    return "too large" if entry.file_size > MAX_MEMBER_BYTES else None


def _zip_head(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, stack: ExitStack) -> Read:
    """The bytes of one entry, opened when they are asked for."""
    stack.close()
    stream: IO[bytes] | None = None

    def more(count: int) -> bytes:
        nonlocal stream
        if stream is None:
            stream = stack.enter_context(archive.open(entry))
        return stream.read(count)

    return Forward(more)


def _refuse_overlaps(path: str, entries: list[zipfile.ZipInfo]) -> None:
    """Entries that share bytes are a bomb (CVE-2024-0450)."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise Refused(f"{path} holds overlapping entries; it was made to harm.")
        end = entry.header_offset + 30 + len(entry.orig_filename.encode("utf-8", "replace")) // 4 + entry.compress_size


def _open_zip(descriptor: int, source: Source, size: int) -> Callable[[int], bytes]:
    """The data of one entry, found by its local header."""
    local = os.pread(descriptor, 30, source.offset)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise Damaged("there is no entry where one was")
    method = struct.unpack_from("<H", local, 8)[0]
    name, extra = struct.unpack_from("<HH", local, 26)
    position = source.offset + 30 + name + extra
    packed = source.packed_size or 0
    crc = _crc(descriptor, local, position + packed)
    if method == zipfile.ZIP_STORED:
        return _checked(_plain(descriptor, position, size), size, crc)
    inflater = zlib.decompressobj(-15)
    end = position + packed

    def inflate(count: int) -> bytes:
        nonlocal position
        while True:
            data = inflater.unconsumed_tail or os.pread(descriptor, min(_BLOCK, end - position), position)
            if not inflater.unconsumed_tail:
                position += len(data)
            try:
                out = inflater.decompress(data, count)
            except zlib.error as error:
                raise Damaged(str(error)) from error
            if out or inflater.eof or not data:
                return out

    return _checked(inflate, size, crc)


def _crc(descriptor: int, local: bytes, end: int) -> int:
    """The checksum of an entry: in its local header, or behind its data (at `end`) when it was written as a stream."""
    flags, crc = struct.unpack_from("<H", local, 6)[0], struct.unpack_from("<I", local, 14)[0]
    if not flags & 0x8:
        return int(crc)
    behind = os.pread(descriptor, 8, end)
    if len(behind) < 8:
        raise Damaged("it is cut off")
    # The signature of a data descriptor is usual, not required.
    return int(struct.unpack_from("<I", behind, 4 if behind.startswith(b"PK\x07\x08") else 0)[0])


def _checked(read: Callable[[int], bytes], size: int, crc: int) -> Callable[[int], bytes]:
    """The same bytes, held against their checksum when the last one has come."""
    left, actual = size, 0

    def checked(count: int) -> bytes:
        nonlocal left, actual
        data = read(count)
        left -= len(data)
        actual = zlib.crc32(data, actual)
        if left <= 0 and actual != crc:
            raise Damaged("its checksum is wrong")
        return data

    return checked


# tar


class _Entry(tarfile.TarInfo):
    """A header of which nothing is forgiven: tarfile takes a damaged or missing one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Entry:
        """The next header. Raises EOFHeaderError at the end mark, Damaged."""
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            # Its kinds have no public names; the first one means the blocks of zeros that end an archive.
            match type(error).__name__:
                case "EOFHeaderError":
                    raise
                case "EmptyHeaderError" | "TruncatedHeaderError":
                    raise Damaged(f"it is cut off after {archive.offset} bytes, without the mark of its end") from None
            raise Damaged(f"there is no header {archive.offset} bytes in, where one belongs") from None


def _tar_members(path: str, *, compressed: bool) -> Iterator[Member]:
    packed = os.path.getsize(path)
    with ExitStack() as stack:
        unpacked: _Unpacked | None = None
        if compressed:
            unpacked = stack.enter_context(closing(_Unpacked(path)))
            archive = tarfile.open(mode="r|", fileobj=unpacked, tarinfo=_Entry, errors="surrogateescape")  # noqa: SIM115
        else:
            archive = tarfile.open(path, "r:", tarinfo=_Entry, errors="surrogateescape")  # noqa: SIM115
        stack.enter_context(archive)
        count = total = 0
        for entry in archive:
            count += 1
            total += entry.size
            _bounded(path, count, total if compressed else 0, packed)
            if entry.isdir() and name_harm(entry.name) is None:
                continue
            whole = entry.isreg() and not entry.issparse()  # the size of a sparse file is not what is stored
            if not compressed and whole and entry.offset_data + entry.size > packed:
                raise Refused(f"{path} is cut off in {entry.name}.", hint="Copy or make the archive again.")
            yield Member(
                name=entry.name,
                size=entry.size,
                offset=entry.offset_data,
                packed_size=None,
                rule=_tar_rule(entry),
                obstacle=_tar_obstacle(entry),
                read=_tar_head(archive, entry),
                harm=name_harm(entry.name) or ("a device" if entry.ischr() or entry.isblk() else None),
            )
        if unpacked is not None:
            unpacked.finish(lambda size: _bounded(path, 0, size, packed))


class _Unpacked(io.RawIOBase):
    """What is packed in a gzip file, for tarfile to read; several gzip members are one stream."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._read = gzip_reader(self._descriptor, 0)
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, none at the end. Raises Damaged."""
        data = self._read(size if size > 0 else _BLOCK)
        self._position += len(data)
        return data

    def finish(self, bound: Callable[[int], None]) -> None:
        """Read what is left, because the checksum stands at the very end; `bound` judges the size on the way."""
        while self.read(_BLOCK):
            bound(self._position)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _tar_rule(entry: tarfile.TarInfo) -> str | None:
    if entry.issym() or entry.islnk():
        return "link"
    return None if entry.isreg() else "not a regular file"


def _tar_obstacle(entry: tarfile.TarInfo) -> str | None:
    if entry.issparse():
        return "stored as a sparse file, which is not read here"
    return "too large" if entry.size > MAX_MEMBER_BYTES else None


def _tar_head(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Read:
    """The bytes of one entry."""
    stream = None

    def more(count: int) -> bytes:
        nonlocal stream
        if stream is None:
            stream = archive.extractfile(entry)
        return stream.read(count) if stream is not None else b""

    return Forward(more)


def _plain(descriptor: int, position: int, size: int) -> Callable[[int], bytes]:
    end = position + size

    def read(count: int) -> bytes:
        nonlocal position
        data = os.pread(descriptor, min(count, end - position), position)
        position += len(data)
        return data

    return read


def open_member(descriptor: int, source: Source, size: int) -> Callable[[int], bytes]:
    """`read(n)` over the bytes of a member. Raises Damaged, OSError; may be used by many threads on one archive."""
    if source.container == "zip":
        return _open_zip(descriptor, source, size)
    if source.container == "tgz":
        return gzip_reader(descriptor, source.offset)
    return _plain(descriptor, source.offset, size)
