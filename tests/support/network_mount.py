"""A folder as a network file system shows it: `python network_mount.py FOLDER MOUNT` serves it until it is unmounted.

Shared mappings are refused (ENODEV), nothing is cached, and devices have numbers of the mount's own. It needs FUSE.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import mfusepy

_STATUS = ("st_gid", "st_ino", "st_mode", "st_nlink", "st_size", "st_uid")
_TIMES = ("st_atime", "st_ctime", "st_mtime")


class Passed(mfusepy.Operations):  # type: ignore[misc,name-defined]
    """Each operation on the folder below."""

    use_ns = True

    def __init__(self, root: str) -> None:
        self.root = root

    def at(self, path: str) -> str:
        return self.root + path

    def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
        status = os.lstat(self.at(path))
        times = {name: getattr(status, f"{name}_ns") for name in _TIMES}
        return {name: getattr(status, name) for name in _STATUS} | times

    def readdir(self, path: str, fh: Any) -> list[str]:
        return [".", "..", *os.listdir(self.at(path))]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.at(path))

    def rename(self, old: str, new: str) -> None:
        os.rename(self.at(old), self.at(new))

    def link(self, target: str, source: str) -> None:
        os.link(self.at(source), self.at(target))

    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, self.at(target))

    def readlink(self, path: str) -> str:
        return os.readlink(self.at(path))

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self.at(path), flags & ~os.O_APPEND)  # the kernel names the offset

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: Any = None) -> None:
        os.truncate(self.at(path), length)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.at(path), mode)

    def utimens(self, path: str, times: tuple[int, int]) -> None:
        os.utime(self.at(path), ns=times, follow_symlinks=False)

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self.at(path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}


if __name__ == "__main__":
    # The kernel maps no file of a mount with direct access for several processes.
    mfusepy.FUSE(Passed(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True, direct_io=True)
