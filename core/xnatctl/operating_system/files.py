"""Files: opening them for reading, reading at a position, replacing them, and paths of any length and name.

On Windows the C library opens files in text mode, denies other programs to rename or delete what is open, cannot reach
paths beyond 260 characters, and takes names such as `NUL` and `COM1` for devices. The functions here do none of that.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import Final

#: Flags for `os.open`: no conversion of line ends, no waiting for the writer of a FIFO, no symbolic link at the end.
BINARY: Final[int] = getattr(os, "O_BINARY", 0)
NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0)
NO_LINK: Final[int] = getattr(os, "O_NOFOLLOW", 0)

#: Errors of Windows: a file or a part of it is locked by another program.
_SHARING_VIOLATION, _LOCK_VIOLATION = 32, 33
#: How often a file that another program has open is replaced again, and the seconds in between.
_TRIES, _PAUSE = 40, 0.05
#: The prefixes of Windows for paths that it takes as they are.
_VERBATIM, _VERBATIM_SHARE, _DEVICE = "\\\\?\\", "\\\\?\\UNC\\", "\\\\.\\"

Path = str | os.PathLike[str]


def open_to_read(path: Path, *, follow: bool = True) -> int:
    """A descriptor for reading bytes; `follow=False` refuses a symbolic link. Raises OSError.

    It does not wait for a FIFO, so check the descriptor with `os.fstat`. Other programs may rename, delete and write
    the file meanwhile.
    """
    if sys.platform != "win32":
        return os.open(path, os.O_RDONLY | BINARY | NO_WAIT | (0 if follow else NO_LINK))
    from xnatctl.operating_system import windows

    return windows.open_to_read(verbatim(path), follow=follow)


#: Query of the URI of an SQLite database that takes no locks of the system, for one process alone.
WITHOUT_LOCKS: Final = "vfs=win32-none" if sys.platform == "win32" else "vfs=unix-none"


def open_to_write(path: Path) -> int:
    """A descriptor that writes over an existing file from its beginning, and keeps the rest. Raises OSError."""
    return os.open(verbatim(path), os.O_WRONLY | BINARY)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """At most `count` bytes from `offset` on; the position of the descriptor stays. Raises OSError.

    Only one thread at a time may use the descriptor.
    """
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


if hasattr(os, "pread"):
    read_at = os.pread  # type: ignore[assignment] # by one call; its parameters have other names


def reason(error: OSError) -> str:
    """Why a file cannot be used, in a few words for a message."""
    locked = getattr(error, "winerror", None) in (_SHARING_VIOLATION, _LOCK_VIOLATION)
    # The C library of Windows reports a locked range of an open file in this way.
    if locked or (sys.platform == "win32" and error.errno == errno.EACCES and getattr(error, "winerror", None) is None):
        return "another program has locked it; close that program, and run the command again"
    return error.strerror or type(error).__name__


def replace(source: Path, target: Path) -> None:
    """Rename a file over another one. Raises OSError.

    Windows refuses while another program has the target open, so it is tried for two seconds there.
    """
    for left in reversed(range(_TRIES)):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) is None or not left:
                raise
        time.sleep(_PAUSE)


def verbatim(path: Path) -> str:
    """A path that Windows takes as it is: of any length, with any name. On other systems the path itself."""
    text = os.fspath(path)
    if sys.platform != "win32" or text.startswith((_VERBATIM, _DEVICE)):
        return text
    if not os.path.isabs(text):
        text = os.path.join(os.getcwd(), text)
    text = os.path.normpath(text)
    return _VERBATIM_SHARE + text[2:] if text.startswith("\\\\") else _VERBATIM + text


def plain(path: str) -> str:
    """A path as people write it, without the prefix of `verbatim`."""
    if sys.platform != "win32":
        return path
    if path.startswith(_VERBATIM_SHARE):
        return "\\\\" + path[len(_VERBATIM_SHARE) :]
    return path.removeprefix(_VERBATIM)


def real_path(path: Path) -> str:
    """The absolute path without symbolic links."""
    return plain(os.path.realpath(verbatim(path)))


def as_followed(path: str) -> str:
    """The path itself, or without symbolic links if it has a `..` after one.

    The system follows the link first. `os.path.abspath` does not: it would name another file.
    """
    if os.pardir not in path:
        return path
    real = real_path(path)
    return path if real_path(os.path.abspath(path)) == real else real


def status(path: Path) -> os.stat_result:
    """`os.stat` of a path of any length and name. Raises OSError."""
    return os.stat(verbatim(path))


def is_link(entry: os.DirEntry[str]) -> bool:
    """True for a symbolic link, and for a junction of Windows, which leads elsewhere as well."""
    if entry.is_symlink():
        return True
    if sys.platform != "win32":
        return False
    import stat

    return entry.stat(follow_symlinks=False).st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT
