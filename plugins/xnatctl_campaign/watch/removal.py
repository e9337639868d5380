"""Removes or moves files of an inbox that were proven.

Each file is opened in its open folder, compared with what was proven, and removed through that folder. No symbolic link
is followed on the way, and nothing but the proven names is touched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from io import BufferedReader
from typing import Final

from xnatctl.api import SourceChanged, UploadItem
from xnatctl.api.commands import has_content
from xnatctl.api.system import Folder, reason

_BLOCK: Final = 1 << 20
#: Errors of a second name after which a file is copied: another file system, or one without hard links.
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
            with Folder(self._inbox) as root, root.below(folder) as parent:
                _check(parent, name, item, digest)
                if self._move_to is not None:
                    _add_to(self._move_to, parent, name, item)
                    _compare(parent.status(name), item, linked=True)
                parent.remove(name)
        except Kept as why:
            return str(why)
        except FileNotFoundError:
            return "it has vanished"
        except OSError as error:
            return f"cannot be removed: {reason(error)}"
        self._remove_empty(folder)
        return ""

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder that has become empty, and those above it, up to the inbox, which stays."""
        while folder:
            above, _, name = folder.rpartition("/")
            try:
                with Folder(self._inbox) as root, root.below(above) as parent:
                    parent.remove_folder(name)
            except OSError:
                return  # something is in it
            folder = above


def _check(parent: Folder, name: str, item: UploadItem, digest: str | None) -> None:
    """Raise Kept unless a file is as it was proven."""
    descriptor = parent.open_file(name)
    try:
        _compare(os.fstat(descriptor), item)
        if digest is not None and not _has_content(item, digest):
            raise Kept("its content is not what was sent")
        _compare(os.fstat(descriptor), item)
    finally:
        os.close(descriptor)
    _compare(parent.status(name), item)


def _has_content(item: UploadItem, digest: str) -> bool:
    try:
        return has_content(item, digest)
    except SourceChanged:
        return False


def _compare(status: os.stat_result, item: UploadItem, *, linked: bool = False) -> None:
    """Raise Kept unless a status is that of the plan; `linked`: another name may have moved the change time."""
    if not stat.S_ISREG(status.st_mode):
        raise Kept("it is no longer a regular file")
    planned, found = item.status, item.status.of(status)
    if linked:
        found = found._replace(ctime_ns=planned.ctime_ns)
    if (status.st_size, found) != (item.size, planned):
        raise Kept("it has changed since it was sent")


# moving


def _add_to(move_to: str, parent: Folder, name: str, item: UploadItem) -> None:
    """Give a file a second place, at its path below another folder. Raises Kept if another file is there."""
    try:
        with Folder(move_to) as root, root.below(item.path.rpartition("/")[0], make=True) as target:
            try:
                _link_or_copy(parent, target, name, item)
            except FileExistsError:
                if not _same(parent, target, name):
                    raise Kept(f"{move_to}/{item.path} exists and has other content") from None
            target.sync()
    except OSError as error:
        raise Kept(f"cannot be moved to {move_to}: {reason(error)}") from None


def _link_or_copy(parent: Folder, target: Folder, name: str, item: UploadItem) -> None:
    """Link a file into a folder, or copy it there. Raises FileExistsError, OSError."""
    try:
        parent.link(name, target, name)
    except OSError as error:
        if error.errno not in _COPY:
            raise
        _copy(parent, target, name, item)


def _copy(parent: Folder, target: Folder, name: str, item: UploadItem) -> None:
    """Copy under a temporary name, which is the same after a crash, and rename without replacing anything."""
    key = hashlib.sha256(os.fsencode(f"{parent.path}\0{name}")).hexdigest()[:16]
    draft = f".{key}.part"
    with suppress(FileNotFoundError):
        target.remove(draft)
    source = parent.open_file(name)
    try:
        status = os.fstat(source)
        _copy_content(source, target.create_file(draft, status.st_mode & 0o777))
        _compare(os.fstat(source), item)
        target.set_time(draft, status.st_mtime_ns)
        _place(target, draft, name)
    finally:
        os.close(source)
        with suppress(FileNotFoundError):
            target.remove(draft)


def _copy_content(source: int, copy: int) -> None:
    """Copy content; it is on disk afterwards. Closes the copy."""
    with open(source, "rb", closefd=False) as reader, open(copy, "wb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(block)
        writer.flush()
        os.fsync(copy)


def _place(target: Folder, draft: str, name: str) -> None:
    """Give a complete copy its name. Raises FileExistsError."""
    try:
        target.link(draft, target, name)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with suppress(FileNotFoundError):
            target.status(name)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        target.rename(draft, name)


def _same(parent: Folder, target: Folder, name: str) -> bool:
    """Whether the files of one name in two folders are one file, or have the same content."""
    try:
        first, second = parent.open_file(name), target.open_file(name)
    except OSError:
        return False
    with open(first, "rb") as one, open(second, "rb") as other:
        if not stat.S_ISREG(os.fstat(second).st_mode):
            return False
        return os.path.sameopenfile(first, second) or _same_content(one, other)


def _same_content(one: BufferedReader, other: BufferedReader) -> bool:
    while True:
        block = one.read(_BLOCK)
        if block != other.read(_BLOCK):
            return False
        if not block:
            return True
