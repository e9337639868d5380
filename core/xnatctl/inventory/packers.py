"""Recognises packed files and their packer by content."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable
from typing import Final

from xnatctl.inventory import zips
from xnatctl.inventory.gzips import Damaged
from xnatctl.inventory.streams import COMPRESSORS, GZIP, LZMA, ZLIB, FileStream, Stream, unpacked
from xnatctl.inventory.tars import is_tar

ZIP: Final = "zip"
TAR: Final = "tar"
#: A program, which may be a self-extracting file.
PROGRAM: Final = "program"
BASE64: Final = "base64 text"
#: Other bytes precede the prefix DICM (PS3.10 7.1), or the preamble is missing.
SHIFTED: Final = "DICOM behind other bytes"
_SHIFT: Final = 4096
#: Bytes at the beginning of a file by which packers are recognised.
HEAD: Final = 65600 + 8
#: Bytes at the end of a file by which the other packers are recognised.
TAIL: Final = zips.TAIL


def _begins(*patterns: bytes) -> re.Pattern[bytes]:
    return re.compile(b"|".join(patterns), re.DOTALL)


#: Packers by the beginning of their files; those with a magic number of two bytes need further checks.
_BEGINNINGS: Final = (
    (ZIP, _begins(*map(re.escape, zips.BEGINNINGS))),
    (GZIP, _begins(rb"\x1f\x8b")),
    ("bzip2", _begins(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")),
    ("xz", _begins(rb"\xfd7zXZ\0")),
    ("zstd", _begins(rb"\x28\xb5\x2f\xfd", rb"[\x50-\x5f]\x2a\x4d\x18")),
    ("7z", _begins(rb"7z\xbc\xaf\x27\x1c")),
    ("rar", _begins(rb"Rar!\x1a\x07", rb"RE~\^")),
    ("lz4", _begins(rb"\x04\x22\x4d\x18", rb"\x02\x21\x4c\x18")),
    ("lzip", _begins(rb"LZIP\x01")),
    ("lzop", _begins(rb"\x89LZO\0\r\n\x1a\n")),
    ("snappy", _begins(rb"\xff\x06\0\0sNaPpY")),
    ("compress", _begins(rb"\x1f\x9d[\x09-\x10\x89-\x90]")),
    ("cab", _begins(rb"MSCF\0\0\0\0", rb"ISc\(")),
    ("ar", _begins(rb"!<(arch|thin)>\n")),
    ("cpio", _begins(rb"07070[12][0-9a-fA-F]{30}", rb"070707[0-7]{70}")),
    ("lha", _begins(rb"..-l[hz].-")),
    ("xar", _begins(rb"xar!\0")),
    ("ace", _begins(rb".{7}\*\*ACE\*\*")),
    ("arj", _begins(rb"\x60\xea..[\x1e-\x60]")),
    ("stuffit", _begins(rb"SIT!", rb"StuffIt ")),
    ("zoo", _begins(rb"ZOO [0-9]\.[0-9]{2} Archive\.\x1a")),
    ("lrzip", _begins(rb"LRZI\0")),
    ("warc", _begins(rb"WARC/[01]\.")),
    ("squashfs image", _begins(rb"hsqs", rb"sqsh")),
    ("wim image", _begins(rb"MSWIM\0\0\0")),
    (
        "disk image",
        _begins(rb"KDMV", rb"QFI\xfb", rb"QED\0", rb"vhdxfile", rb"conectix", rb"<<< [ -~]{0,40}Disk Image >>>"),
    ),
    ("disk image", _begins(rb"XFSB", rb"LUKS\xba\xbe", rb"\x45\x3d\xcd\x28")),
    ("disk image", _begins(rb"(\xeb.\x90|\xe9..).{507}\x55\xaa", rb".{510}\x55\xaaEFI PART", rb".{32}NXSB")),
    ("ext image", _begins(rb".{1080}\x53\xef[\0-\7]\0")),
    ("disk image", _begins(rb".{1024}\x10\x20\xf5\xf2", rb".{32768}JFS1", rb".{65588}ReIsEr", rb".{65600}_BHRfS_M")),
    ("HFS image", _begins(rb".{1024}(H\+\0\x04|HX\0\x05)")),
    ("ISO image", _begins(rb".{32769}(CD001|BEA01|NSR0[23])")),
    ("uuencoded text", _begins(rb"begin(-base64)? [0-7]{3} ")),
)


def packer_of(head: bytes, size: int | None, tail: Callable[[], bytes] | None = None) -> str | None:
    """The packer of a file of `size` bytes (None if unknown); None for a file that is not packed.

    `head` is its first `HEAD` bytes; `tail` returns its last `TAIL` bytes, if they can be read.
    """
    if head[128:132] == b"DICM":
        return None
    if (name := _by_beginning(head)) is not None:
        return name
    if tail is not None and size is not None and (name := packer_by_end(tail(), size)) is not None:
        return name
    if head.startswith(zips.PROGRAMS):
        return PROGRAM
    return SHIFTED if b"DICM\x02\0" in head[:_SHIFT] else None


def packer_by_end(end: bytes, size: int) -> str | None:
    """The packer of a file of `size` bytes by its end, the last `TAIL` bytes; None if that shows none."""
    if end[-512:].startswith(b"koly\0\0\0\x04"):
        return "dmg"
    if end[-512:].startswith(b"conectix\0\0\0"):
        return "disk image"
    return ZIP if zips.ends_as_zip(end, size) else None


#: Packed data in self-extracting programs; in a script also sequences that do not occur by chance.
_IN_PROGRAM: Final = _begins(rb"7z\xbc\xaf\x27\x1c", rb"Rar!\x1a\x07[\0\x01]")
_IN_SCRIPT: Final = _begins(
    _IN_PROGRAM.pattern, rb"\x1f\x8b\x08", rb"\xfd7zXZ\0", rb"BZh[1-9]1AY&SY", rb"\x28\xb5\x2f\xfd", rb"PK\x03\x04",
    rb"ustar(\0|  \0)", rb"DICM\x02\0",
    rb"\nbegin(-base64)? [0-7]{3} ",
)  # fmt: skip
_OVERLAP: Final = 16


def unpacks_itself(read: Callable[[int], bytes]) -> bool:
    """True for a program that contains or ends with packed files; reads all of it."""
    end, size, pattern = b"", 0, _IN_PROGRAM
    while data := read(1 << 17):
        if not size and data.startswith(b"#!"):
            pattern = _IN_SCRIPT
        if pattern.search(end[-_OVERLAP:] + data):
            return True
        end, size = (end + data)[-TAIL:], size + len(data)
    return zips.ends_as_zip(end, size)


def _by_beginning(head: bytes) -> str | None:
    if is_tar(head):
        return TAR
    for name, pattern in _BEGINNINGS:
        if pattern.match(head):
            return name
    if _is_lzma(head):
        return LZMA
    if _is_binary_cpio(head):
        return "cpio"
    if _is_zlib(head):
        return ZLIB
    return BASE64 if _is_base64(head) else None


def _is_lzma(head: bytes) -> bool:
    """An lzma file has no magic number: check that dictionary size and file size are plausible."""
    if len(head) < 18 or not head.startswith(COMPRESSORS[LZMA].magic) or head[13]:
        return False
    window, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    usual = {1 << n for n in range(12, 31)} | {3 << n for n in range(11, 30)} | {0xFFFFFFFF}
    return window in usual and (size == (1 << 64) - 1 or size < 1 << 48)


def _is_binary_cpio(head: bytes) -> bool:
    """The magic number of binary cpio has two bytes; check the file type and the terminated name too."""
    order = {b"\xc7\x71": "<", b"\x71\xc7": ">"}.get(head[:2])
    if order is None or len(head) < 28:
        return False
    mode, length = struct.unpack_from(f"{order}H", head, 6)[0], struct.unpack_from(f"{order}H", head, 20)[0]
    name = head[26 : 26 + length]
    return mode >> 12 in (1, 2, 4, 6, 8, 10, 12) and 1 < length <= 4096 and name.find(b"\0") == length - 1


def _is_zlib(head: bytes) -> bool:
    """A zlib file has no magic number: check that its first bytes can be inflated."""
    if not head.startswith(COMPRESSORS[ZLIB].magic):
        return False
    packed = FileStream(lambda count, offset: head[offset : offset + count], len(head))
    try:
        return len(Stream(unpacked(packed.some, COMPRESSORS[ZLIB])).read(256)) == 256
    except Damaged:
        return False


def _is_base64(head: bytes) -> bool:
    """True for a DICOM file (PS3.10 7.1) in base64."""
    text = b"".join(head[:512].split())
    try:
        return base64.b64decode(text[:200], validate=True)[128:132] == b"DICM"
    except binascii.Error:
        return False
