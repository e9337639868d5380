"""A directory tree and what may be opened in it: one walk for every inventory, whatever it looks for."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from xnatctl.errors import NotFound, PermissionDenied
from xnatctl.inventory.absent import is_annexed, missing_annex_link
from xnatctl.inventory.elements import Read
from xnatctl.inventory.listing import Listing
from xnatctl.inventory.names import (
    HIDDEN,
    LEFT_BEHIND,
    NOT_ENTERED,
    VERSION_CONTROL,
    hidden_part,
    is_system_folder,
    version_control,
)
from xnatctl.inventory.watched import Looked
from xnatctl.model.plan import Exclusion, Source


def status_of(path: str) -> os.stat_result:
    """What is at a path that the user named. Raises NotFound, PermissionDenied."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"No such file or directory: {path}") from None
    except OSError as error:
        raise PermissionDenied(f"Cannot look at {path}: {error.strerror}.") from error
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        raise NotFound(f"{path} is neither a file nor a directory.")
    return status


class Collector:
    """Takes files one by one. What is done with each is the sub-class's `take`; what cannot be taken is told here."""

    def __init__(self) -> None:
        self.excluded: list[Exclusion] = []
        self.unreadable: list[Exclusion] = []
        self.empty: list[str] = []
        self.seen = 0
        self.listing = Listing()
        self.looked = Looked()
        self._source: Source | None = None
        self._kept: set[str] = set()
        self._folder, self._is_hidden = "", False
        self._dangling: list[str] = []
        self._outside: list[str] = []

    def take(self, path: str, full: str, status: os.stat_result, read: Read) -> None:
        """One regular file that is open: `full` is absolute, `read` gives its bytes. May raise OSError."""
        raise NotImplementedError

    def source(self, path: str, full: str) -> Source:
        """Where the bytes of a file lie; one object for all that lie below one directory at their paths."""
        self._source = Source.of_file(full, path, self._source)
        return self._source

    def exclude(self, path: str, reason: str, *, seen: bool = True) -> None:
        """Left out by a rule."""
        self.seen += seen
        self.excluded.append(Exclusion(path=path, reason=reason))
        if reason not in (HIDDEN, LEFT_BEHIND):
            self.keep(path)

    def cannot_read(self, path: str, reason: str) -> None:
        """Should have been looked at and could not be."""
        self.seen += 1
        self.unreadable.append(Exclusion(path=path, reason=reason))
        self.keep(path)

    def keep(self, path: str) -> None:
        """Note that something is found below each hidden folder of a path."""
        folder, _, name = path.rpartition("/")
        if folder != self._folder:  # nearly all files of a folder come one after the other
            self._folder, self._is_hidden = folder, hidden_part(folder) is not None
        if not self._is_hidden and hidden_part(name) is None:
            return
        if (hidden := hidden_part(path)) is not None:
            while (path := os.path.dirname(path)) and path not in self._kept:
                self._kept.add(path)
            self._kept.add(hidden)

    def leads_to_nothing(self, path: str) -> None:
        """A link whose target is missing."""
        self.exclude(path, "symbolic link to nothing")
        self._dangling.append(path)

    def leads_out(self, path: str) -> None:
        """A link to something outside of the root."""
        self.exclude(path, "symbolic link that leads out of the directory (--follow-symlinks takes it)")
        self._outside.append(path)

    def left_out(self) -> list[Exclusion]:
        """All exclusions; of a hidden folder in which there is nothing else, one for the folder."""
        shown: dict[str, Exclusion] = {}
        for entry in self.excluded:
            path, hidden = entry.path, hidden_part(entry.path)
            if hidden is not None and hidden not in self._kept and entry.reason in (HIDDEN, LEFT_BEHIND):
                path = hidden
            shown.setdefault(path, replace(entry, path=path))
        return list(shown.values())

    def empty_directories(self) -> list[str]:
        """The directories that hold nothing, hidden files of no interest excepted."""
        return [path for path in self.empty if path not in self._kept]

    def link_notes(self) -> tuple[str, ...]:
        """What is to be said of links that were not followed."""
        notes = []
        if (count := len(self._dangling)) > 0:
            links = "1 symbolic link leads" if count == 1 else f"{count} symbolic links lead"
            notes.append(f"{links} to nothing, first {self._dangling[0]}; what is missing there is not sent.")
        if (count := len(self._outside)) > 0:
            links = "1 symbolic link leads" if count == 1 else f"{count} symbolic links lead"
            notes.append(
                f"{links} out of the directory, first {self._outside[0]}; --follow-symlinks sends what is there."
            )
        return tuple(notes)

    def file(self, path: str, full: str) -> None:
        """One file; `path` is what people read, `full`, absolute, what is opened."""
        self.looked()
        try:
            # Non-blocking, and looked at again when open: a FIFO may have taken its place.
            descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            self.cannot_read(path, "it vanished while the files were listed")
            return
        except OSError as error:
            self.listing.add(path, None)
            self.cannot_read(path, f"cannot be read: {error.strerror}")
            return
        try:
            status = os.fstat(descriptor)
            self.listing.add(path, status)
            if not stat.S_ISREG(status.st_mode):
                self.cannot_read(path, "it became something else than a file while the files were listed")
                return
            self.take(path, full, status, lambda count, offset=0: os.pread(descriptor, count, offset))
        except OSError as error:
            self.cannot_read(path, f"cannot be read: {error.strerror}")
        finally:
            os.close(descriptor)


class Walk:
    """A directory tree, in sorted order; loops are found, links are held against the root.

    Links to directories come last, so that what lies in the tree is found under its own name.
    """

    def __init__(self, root: str, collector: Collector, *, follow: bool) -> None:
        self._root = os.path.realpath(root)
        self._collector = collector
        self._follow = follow
        self._entered: set[tuple[int, int]] = set()
        self._links: deque[tuple[str, str]] = deque()

    def run(self) -> None:
        """Show the collector everything below the root."""
        stack = [(self._root, "")]
        while stack or self._links:
            full, relative = stack.pop() if stack else self._links.popleft()
            stack.extend(reversed(list(self._directory(full, relative))))

    def _directory(self, full: str, relative: str) -> Iterator[tuple[str, str]]:
        """Take the files of one directory; yields its sub-directories."""
        try:
            status = os.stat(full)
            if (key := (status.st_dev, status.st_ino)) in self._entered:
                self._collector.exclude(relative, "symbolic link to a directory that is looked at already", seen=False)
                return
            self._entered.add(key)
            entries = _entries(full)
        except OSError as error:
            if relative and is_system_folder(os.path.basename(relative)):
                self._collector.exclude(relative, f"{LEFT_BEHIND}, and cannot be read", seen=False)
            else:
                self._collector.cannot_read(relative or ".", f"directory cannot be read: {error.strerror}")
            return
        if all(hidden_part(name) for name, _ in entries):
            self._collector.empty.append(relative or ".")
        for name, kind in entries:
            path, there = f"{relative}/{name}" if relative else name, os.path.join(full, name)
            if kind == _LINK:
                self._link(there, path)
            elif kind == _DIRECTORY:
                if name in VERSION_CONTROL:
                    self._collector.exclude(path, NOT_ENTERED, seen=False)
                else:
                    yield there, path
            elif kind == _FILE:
                self._collector.file(path, there)
            else:
                self._collector.exclude(path, "not a regular file")

    def _link(self, full: str, path: str) -> None:
        """Follow a link inside the root, and one into the annex of the git repository that it lies in."""
        target = os.path.realpath(full)
        inside = target == self._root or target.startswith(self._root.rstrip("/") + "/")
        try:
            status = os.stat(target)
        except OSError as error:
            if (problem := missing_annex_link(full, target)) is not None:
                self._collector.cannot_read(path, problem)
            elif isinstance(error, PermissionError) and (inside or self._follow):
                self._collector.cannot_read(path, f"cannot be read: {error.strerror}")
            elif isinstance(error, PermissionError):
                self._collector.leads_out(path)
            else:
                self._collector.leads_to_nothing(path)
            return
        if not inside and not self._follow and not is_annexed(full, target):
            self._collector.leads_out(path)
        elif stat.S_ISDIR(status.st_mode):
            if version_control(f"{target[len(self._root) :] if inside else os.path.basename(target)}/") is not None:
                self._collector.exclude(path, NOT_ENTERED, seen=False)
            else:
                self._links.append((target, path))
        elif stat.S_ISREG(status.st_mode):
            self._collector.file(path, target)
        else:
            self._collector.exclude(path, "not a regular file")


_DIRECTORY, _FILE, _LINK, _OTHER = "d", "f", "l", "o"


def _entries(directory: str) -> list[tuple[str, str]]:
    """Name and kind of what a directory holds, by name."""
    with os.scandir(directory) as listing:
        return sorted((entry.name, _kind(entry)) for entry in listing)


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return _LINK
    if entry.is_dir(follow_symlinks=False):
        return _DIRECTORY
    return _FILE if entry.is_file(follow_symlinks=False) else _OTHER
