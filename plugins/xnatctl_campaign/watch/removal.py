"""Removes or moves files of an inbox that were proven.

Each file is opened below the descriptor of its folder, compared with what was proven, and removed by that descriptor.
No symbolic link is followed on the way, and nothing but the proven names is touched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from xnatctl.api import SourceChanged, UploadItem
from xnatctl.api.commands import has_content

_BLOCK: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Errors of link(2) after which a file is copied: another file system, or one without hard links.
_COPY: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


class Kept(Exception):
    """A file stays where it is, for this reason."""


class Remover:
    """Removes files below `inbox`; with `move_to`, a folder, it moves them there and keeps the structure.

    Folders that become empty are removed at once, so that a crash leaves at most one.
    """

    def __init__(self, inbox: str, move_to: str | None = None) -> None:
        self._inbox = inbox
        self._move_to = move_to

    def remove(self, item: UploadItem, digest: str | None) -> str:
        """Remove a file if it is as it was proven; returns the reason if it stays, else an empty text.

        `digest` is that of the content that was sent, if it is known.
        """
        folder, _, name = item.path.rpartition("/")
        try:
            with _opened(self._inbox, folder) as parent:
                _check(parent, name, item, digest)
                if self._move_to is not None:
                    self._copy_or_link(parent, folder, name, item)
                    _compare(os.stat(name, dir_fd=parent, follow_symlinks=False), item, linked=True)
                os.unlink(name, dir_fd=parent)
        except Kept as reason:
            return str(reason)
        except FileNotFoundError:
            return "it has vanished"
        except OSError as error:
            return f"cannot be removed: {error.strerror}"
        self._remove_empty(folder)
        return ""

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder that has become empty, and those above it, up to the inbox, which stays."""
        while folder:
            above, _, name = folder.rpartition("/")
            try:
                with _opened(self._inbox, above) as parent:
                    os.rmdir(name, dir_fd=parent)
            except OSError:
                return  # something is in it
            folder = above

    def _copy_or_link(self, parent: int, folder: str, name: str, item: UploadItem) -> None:
        """Give the file its second place. Raises Kept if another file is there."""
        assert self._move_to is not None
        with _opened(self._move_to, folder, make=True) as target:
            try:
                os.link(name, name, src_dir_fd=parent, dst_dir_fd=target, follow_symlinks=False)
            except FileExistsError:
                if not _same(parent, target, name):
                    raise Kept(f"{self._move_to}/{item.path} exists and has other content") from None
            except OSError as error:
                if error.errno not in _COPY:
                    raise Kept(f"cannot be moved to {self._move_to}: {error.strerror}") from None
                self._copy(parent, target, name, item)
            os.fsync(target)

    def _copy(self, parent: int, target: int, name: str, item: UploadItem) -> None:
        """Copy under a temporary name, which is the same after a crash, and rename without replacing anything."""
        key = hashlib.sha256(os.fsencode(f"{self._inbox}\0{item.path}")).hexdigest()[:16]
        draft = f".{key}.part"
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=target)
        try:
            source = os.open(name, _FILE, dir_fd=parent)
            try:
                _copy_content(source, os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=target))
                _compare(os.fstat(source), item)
            finally:
                os.close(source)
            _place(target, draft, name)
        except FileExistsError:
            if not _same(parent, target, name):
                raise Kept(f"{self._move_to}/{item.path} exists and has other content") from None
        except OSError as error:
            raise Kept(f"cannot be moved to {self._move_to}: {error.strerror}") from None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=target)


@contextmanager
def _opened(root: str, folder: str, *, make: bool = False) -> Iterator[int]:
    """The descriptor of a folder below a root, reached without following a link below the root."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in folder.split("/") if folder else ():
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _check(parent: int, name: str, item: UploadItem, digest: str | None) -> None:
    """Raise Kept unless a file is as it was proven."""
    descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        _compare(os.fstat(descriptor), item)
        if digest is not None:
            try:
                same = has_content(item, digest)
            except SourceChanged:
                same = False
            if not same:
                raise Kept("its content is not what was sent")
            _compare(os.fstat(descriptor), item)
    finally:
        os.close(descriptor)
    _compare(os.stat(name, dir_fd=parent, follow_symlinks=False), item)


def _compare(status: os.stat_result, item: UploadItem, *, linked: bool = False) -> None:
    """Raise Kept unless a status is that of the plan; `linked`: another link may have moved the change time."""
    if not stat.S_ISREG(status.st_mode):
        raise Kept("it is no longer a regular file")
    planned, found = item.status, item.status.of(status)
    if linked:
        found = found._replace(ctime_ns=planned.ctime_ns)
    if (status.st_size, found) != (item.size, planned):
        raise Kept("it has changed since it was sent")


def _same(parent: int, target: int, name: str) -> bool:
    """Whether the files of one name in two folders are one file, or have the same content."""
    try:
        first = os.open(name, _FILE, dir_fd=parent)
        try:
            second = os.open(name, _FILE, dir_fd=target)
            try:
                return os.path.sameopenfile(first, second) or _same_content(first, second)
            finally:
                os.close(second)
        finally:
            os.close(first)
    except OSError:
        return False


def _same_content(first: int, second: int) -> bool:
    if not stat.S_ISREG(os.fstat(second).st_mode):
        return False
    with open(first, "rb", closefd=False) as one, open(second, "rb", closefd=False) as other:
        while True:
            block = one.read(_BLOCK)
            if block != other.read(_BLOCK):
                return False
            if not block:
                return True


def _copy_content(source: int, target: int) -> None:
    """Copy content, permissions and modification time; what was written is on disk. Closes the target."""
    try:
        status = os.fstat(source)
        with open(source, "rb", closefd=False) as reader, open(target, "wb", closefd=False) as writer:
            while block := reader.read(_BLOCK):
                writer.write(block)
        os.fchmod(target, status.st_mode & 0o777)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(target)
    finally:
        os.close(target)


def _place(target: int, draft: str, name: str) -> None:
    """Give a complete copy its name. Raises FileExistsError."""
    try:
        os.link(draft, name, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=target, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(draft, name, src_dir_fd=target, dst_dir_fd=target)
