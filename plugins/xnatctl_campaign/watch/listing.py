"""A listing of an inbox: every regular file with what shows that it changed. Symbolic links are not followed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import NamedTuple, Self


class FileState(NamedTuple):
    """What a listing says about a file; times in nanoseconds."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The state in the status of a file."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(kw_only=True, slots=True)
class Listing:
    """The regular files below an inbox by their path below it, symbolic links, and folders that cannot be read."""

    files: dict[str, FileState] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)  # folder -> reason


def list_inbox(root: str) -> Listing:
    """List everything below `root`. Raises OSError if `root` itself cannot be read."""
    found = Listing()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_symlink():
                        found.links.append(path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    else:
                        _add(found, path, entry)
        except FileNotFoundError:
            if not folder:
                raise
        except OSError as error:
            if not folder:
                raise
            found.closed[folder] = error.strerror or str(error)
    return found


def _add(found: Listing, path: str, entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return  # it vanished meanwhile
    if stat.S_ISREG(status.st_mode):
        found.files[path] = FileState.of(status)
