"""Tar files, entry by entry, to the end of the file.

The standard library keeps every header in memory and treats the first block of zeros as the end. This reader continues
after an end mark: in files made by `cat a.tar b.tar`, and with blocks of zeros in the middle.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from xnatctl.inventory.gzips import Damaged
from xnatctl.inventory.streams import Stream

_BLOCK: Final = 512
_ZEROS: Final = bytes(1 << 16)
#: Limit for the header of one entry (bytes): long names and pax records.
_MAX_HEADER: Final = 1 << 20


class Kind(Enum):
    """The kind of an entry."""

    FILE = "file"
    DIRECTORY = "directory"
    HARD_LINK = "hard link"
    SYMBOLIC_LINK = "symbolic link"
    DEVICE = "device"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `offset` is where its data begin; `target` is the target of a link, as stored.

    `obstacle` is why its data are not the content of the file.
    """

    name: str
    kind: Kind
    size: int
    offset: int
    target: str = ""
    obstacle: str | None = None


_KINDS: Final = {
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.SYMTYPE: Kind.SYMBOLIC_LINK,
    tarfile.CHRTYPE: Kind.DEVICE,
    tarfile.BLKTYPE: Kind.DEVICE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.OTHER,
    b"D": Kind.DIRECTORY,  # of GNU tar; the data list its files
    b"V": Kind.OTHER,  # a volume label
}
_GNU: Final = b"ustar  \0"
_MAGIC: Final = 257
_MULTIVOLUME: Final = b"M"
_PAX: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SPARSE: Final = "stored as a sparse file, which xnatctl does not read"


def is_header(block: bytes) -> bool:
    """True for a block that begins an entry, by its checksum."""
    if len(block) < _BLOCK or block[128:132] == b"DICM" or not block[0]:
        return False
    try:
        tarfile.TarInfo.frombuf(block[:_BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def is_tar(head: bytes) -> bool:
    """True for the beginning of a tar file; blocks of zeros may precede its first entry."""
    zeros = len(head) - len(head.lstrip(b"\0"))
    start = zeros // _BLOCK * _BLOCK
    return is_header(head[start : start + _BLOCK])


def entries(stream: Stream) -> Iterator[Entry]:
    """The entries, in stored order; their data can be read from `stream` until the next entry is requested.

    Raises Damaged for a file that is cut off, or that contains data outside of entries.
    """
    extended = _Extended()
    ended = False
    while True:
        at = stream.position
        block = stream.read(_BLOCK)
        if not block.strip(b"\0"):
            if len(block) < _BLOCK:
                break
            ended = True
            _skip_zeros(stream)
            continue
        info = _parse(block, at, ended=ended)
        ended = False
        if info.type in (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            extended.take(info.type, _header_data(stream, info.size, at))
            continue
        entry = extended.apply(info, block, stream)
        yield entry
        size = entry.size if entry.kind is Kind.FILE or info.type == b"D" else 0
        left = entry.offset + size + -size % _BLOCK - stream.position
        if stream.skip(left) < left:
            raise Damaged(f"it is cut off in {entry.name}")
    if extended.pending:
        raise Damaged("it is cut off behind the header of an entry")
    if not ended:
        raise Damaged(f"it is cut off after {at} bytes, without an end mark")


def _skip_zeros(stream: Stream) -> None:
    """Skip whole blocks of zeros."""
    while ahead := stream.peek(len(_ZEROS)):
        zeros = len(ahead) if ahead == _ZEROS else len(ahead) - len(ahead.lstrip(b"\0"))
        stream.skip(zeros // _BLOCK * _BLOCK)
        if zeros < len(_ZEROS):
            return


def _parse(block: bytes, at: int, *, ended: bool) -> tarfile.TarInfo:
    try:
        if len(block) < _BLOCK:
            raise tarfile.HeaderError
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.size < 0:
            raise tarfile.HeaderError
        if block.startswith(_GNU, _MAGIC):  # GNU stores times where POSIX stores the prefix of a long name
            info.name = block[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        if ended:
            raise Damaged(f"{at} bytes in, data follow the end mark that are not tar") from None
        if len(block) < _BLOCK:
            raise Damaged(f"it is cut off after {at} bytes, without an end mark") from None
        raise Damaged(f"there is no header {at} bytes in, where one belongs") from None
    return info


def _header_data(stream: Stream, size: int, at: int) -> bytes:
    if size > _MAX_HEADER:
        raise Damaged(f"the header {at} bytes in is longer than {_MAX_HEADER // 2**20} MiB")
    data = stream.read(size)
    padding = -size % _BLOCK
    if len(data) < size or stream.skip(padding) < padding:
        raise Damaged(f"it is cut off after {stream.position} bytes, without an end mark")
    return data


class _Extended:
    """Extended headers before the header of an entry: pax records and the long names of GNU tar."""

    def __init__(self) -> None:
        self._always: dict[str, str] = {}
        self._once: dict[str, str] = {}

    @property
    def pending(self) -> bool:
        """True if an entry must follow."""
        return bool(self._once)

    def take(self, kind: bytes, data: bytes) -> None:
        """Record the data of an extended header of this type."""
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            key = "path" if kind == tarfile.GNUTYPE_LONGNAME else "linkpath"
            self._once[key] = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        elif kind == tarfile.XGLTYPE:
            self._always.update(_records(data))
        else:
            self._once.update(_records(data))

    def apply(self, info: tarfile.TarInfo, block: bytes, stream: Stream) -> Entry:
        """The entry that these headers and its own describe; `stream` is at the end of its own."""
        pax = self._always | self._once
        self._once = {}
        sparse = info.type == tarfile.GNUTYPE_SPARSE or "sparse" in pax
        if info.type == tarfile.GNUTYPE_SPARSE:
            more = block[482]
            while more:  # further headers, of one block each
                following = stream.read(_BLOCK)
                more = following[504] if len(following) == _BLOCK else 0
        kind = _KINDS.get(info.type, Kind.FILE)  # POSIX: an unknown type is a file
        name = pax.get("name") or pax.get("path") or info.name
        size = _size(pax["size"]) if pax.get("size") else info.size
        if kind is Kind.HARD_LINK and size and not _is_body(stream.peek(_BLOCK)):
            size = 0
        elif kind is Kind.HARD_LINK and size:
            kind = Kind.FILE  # pax allows a hard link with content
        obstacle = _SPARSE if sparse else None
        if info.type == _MULTIVOLUME:
            obstacle = "the rest of a file that another volume begins"
        return Entry(
            name=name,
            kind=Kind.DIRECTORY if kind is Kind.FILE and not size and name.endswith("/") else kind,
            size=size,
            offset=stream.position,
            target=pax.get("linkpath") or info.linkname,
            obstacle=obstacle,
        )


def _is_body(block: bytes) -> bool:
    """Whether the block after a hard link is content: neither a header nor the end mark."""
    return bool(block.strip(b"\0")) and not is_header(block)


def _size(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 19:
        raise Damaged("the size of an entry is not a number")
    return int(text)


#: Records that are kept, by the name that they are kept under; those of sparse files become `sparse`.
_KEPT: Final = {b"path": "path", b"linkpath": "linkpath", b"size": "size", b"GNU.sparse.name": "name"}


def _records(data: bytes) -> dict[str, str]:
    """The pax records that matter (POSIX: length, blank, keyword, equals sign, value, newline)."""
    found: dict[str, str] = {}
    position = 0
    while position < len(data) and data[position]:
        digits, blank, _ = data[position : position + 12].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = data[position + len(digits) + 1 : position + length]
        keyword, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or position + length > len(data):
            raise Damaged("a pax header is invalid")
        if keyword.startswith(b"GNU.sparse.") or keyword == b"SCHILY.realsize":
            found["sparse"] = "yes"
        if keyword in _KEPT:
            found[_KEPT[keyword]] = value[:-1].decode("utf-8", "surrogateescape")
        position += length
    return found
