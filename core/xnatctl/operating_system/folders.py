"""A folder that is open, whose entries are reached through it: no link can lead an operation to another place.

POSIX has descriptors of folders. Windows has none, so there each path is checked for links before it is used.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from types import TracebackType
from typing import Self

from xnatctl.operating_system.files import BINARY, NO_LINK, NO_WAIT, open_to_read, verbatim
from xnatctl.operating_system.private import create_private

_BY_DESCRIPTOR = os.open in os.supports_dir_fd
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class Folder:
    """An open folder. Names are those of its direct entries; no method follows a symbolic link at a name.

    All methods raise OSError. Use it as a context manager.
    """

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self.path = path
        self._at = descriptor
        if descriptor is None and _BY_DESCRIPTOR:
            self._at = os.open(path, _FOLDER)
        elif descriptor is None:
            _check(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        if self._at is not None:
            os.close(self._at)
            self._at = None

    def below(self, relative: str, *, make: bool = False) -> Folder:
        """Open a folder at a path below, with `/` between names; `make` makes the folders that are missing."""
        folder = Folder(self.path, None if self._at is None else os.dup(self._at))
        try:
            for name in relative.split("/") if relative else ():
                if make:
                    folder.make(name)
                deeper = folder._open(name)
                folder.close()
                folder = deeper
        except BaseException:
            folder.close()
            raise
        return folder

    def _open(self, name: str) -> Folder:
        path = os.path.join(self.path, name)
        if self._at is not None:
            return Folder(path, os.open(name, _FOLDER | NO_LINK, dir_fd=self._at))
        return Folder(_no_link(path))

    def make(self, name: str) -> None:
        """Make a folder, unless it exists."""
        try:
            os.mkdir(self._entry(name), dir_fd=self._at)
        except FileExistsError:
            return

    def open_file(self, name: str) -> int:
        """A descriptor for reading; check with `os.fstat` that it is a regular file."""
        if self._at is None:
            return open_to_read(self._entry(name), follow=False)
        return os.open(name, os.O_RDONLY | BINARY | NO_LINK | NO_WAIT, dir_fd=self._at)

    def create_file(self, name: str, mode: int = 0o600) -> int:
        """A descriptor for writing a new file, which only this user can read unless `mode` says otherwise."""
        if self._at is None and mode == 0o600:
            return create_private(self._entry(name))
        return os.open(self._entry(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, mode, dir_fd=self._at)

    def status(self, name: str) -> os.stat_result:
        """The status of an entry; of a link, not of its target."""
        return os.stat(self._entry(name), dir_fd=self._at, follow_symlinks=False)

    def set_time(self, name: str, mtime_ns: int) -> None:
        """Set the modification time of a file, in nanoseconds."""
        times = (mtime_ns, mtime_ns)
        if self._at is None:
            os.utime(self._entry(name), ns=times)
        else:
            os.utime(name, ns=times, dir_fd=self._at, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self._entry(name), dir_fd=self._at)

    def remove_folder(self, name: str) -> None:
        """Remove a folder that is empty."""
        os.rmdir(self._entry(name), dir_fd=self._at)

    def link(self, name: str, target: Folder, new: str) -> None:
        """Give a file a second name in a folder. Raises FileExistsError."""
        os.link(
            self._entry(name),
            target._entry(new),
            src_dir_fd=self._at,
            dst_dir_fd=target._at,
            follow_symlinks=self._at is None,
        )

    def rename(self, name: str, new: str) -> None:
        """Rename a file. An existing file of the new name may be replaced: look first."""
        os.rename(self._entry(name), self._entry(new), src_dir_fd=self._at, dst_dir_fd=self._at)

    def sync(self) -> None:
        """Wait until new and removed entries are on the disk, where the system can tell."""
        if self._at is not None:
            os.fsync(self._at)

    def _entry(self, name: str) -> str:
        """What names an entry in a call: the name itself, or a path where folders have no descriptors."""
        if self._at is not None:
            return name
        return verbatim(os.path.join(self.path, name))


def _no_link(path: str) -> str:
    if os.path.islink(path) or (sys.platform == "win32" and os.path.isjunction(path)):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return path


def _check(path: str) -> None:
    """Raise OSError unless there is a folder at a path."""
    if not stat.S_ISDIR(os.stat(verbatim(path)).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
