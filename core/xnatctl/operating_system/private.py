"""Files and directories that only their user can read: by mode on POSIX, by access control list on Windows."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress

from xnatctl.operating_system.command_line import join_command
from xnatctl.operating_system.files import BINARY, NO_WAIT, Path

_OTHERS = 0o077


def create_private(path: Path, flags: int = os.O_WRONLY) -> int:
    """A descriptor of a new file that only this user can read. Raises OSError, FileExistsError included."""
    if sys.platform != "win32":
        return os.open(path, flags | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
    from xnatctl.operating_system import windows
    from xnatctl.operating_system.files import verbatim

    return windows.create_private(verbatim(path), flags)


def open_to_append(path: Path) -> int:
    """A descriptor that adds to a file; a new one can be read by this user only. Raises OSError.

    It does not wait for the reader of a FIFO.
    """
    if sys.platform == "win32":
        with suppress(FileExistsError):
            return create_private(path, os.O_WRONLY | os.O_APPEND)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY | NO_WAIT, 0o600)


def is_private(descriptor: int) -> bool:
    """True for an open file of this user to which others have no access."""
    if sys.platform != "win32":
        status = os.fstat(descriptor)
        ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        return ours and not stat.S_IMODE(status.st_mode) & _OTHERS
    from xnatctl.operating_system import windows

    return not windows.is_open_to_others(descriptor)


def readable_by_others(path: Path) -> bool:
    """True if group or others have any permission on a file. Raises OSError."""
    if sys.platform != "win32":
        return bool(os.stat(path).st_mode & _OTHERS)
    from xnatctl.operating_system import windows
    from xnatctl.operating_system.files import open_to_read

    descriptor = open_to_read(path)
    try:
        return windows.is_open_to_others(descriptor)
    finally:
        os.close(descriptor)


def how_to_restrict(path: Path) -> str:
    """The command that takes a file's permissions from everyone but its user."""
    name = os.fspath(path)
    if sys.platform != "win32":
        return join_command(("chmod", "600", name))
    import getpass

    # By its name, because PowerShell does not expand %USERNAME%.
    return join_command(("icacls", name, "/inheritance:r", "/grant:r", f"{getpass.getuser()}:F"))
