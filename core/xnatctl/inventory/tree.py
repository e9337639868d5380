"""Walks a directory tree and opens its regular files; every inventory uses this walk."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
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
from xnatctl.inventory.progress import FileCounter
from xnatctl.model.plan import Exclusion, Source
from xnatctl.operating_system.files import is_link, open_to_read, read_at, real_path, reason, verbatim
from xnatctl.operating_system.files import status as status_at


def status_of(path: str) -> os.stat_result:
    """The status of a path that the user named. Raises NotFound, PermissionDenied."""
    try:
        status = status_at(path)
    except FileNotFoundError:
        close = _similar_path(path)
        hint = f"Did you mean {close}?" if close else "Check the spelling, and the folder in which you run the command."
        raise NotFound(f"No such file or directory: {path}", hint=hint) from None
    except OSError as error:
        raise PermissionDenied(f"Cannot read {path}: {reason(error)}.") from error
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        raise NotFound(f"{path} is neither a file nor a directory.")
    return status


def _similar_path(path: str) -> str:
    """A path beside one that does not exist, with a similar name; "" if there is none."""
    import difflib

    folder, name = os.path.split(path.rstrip(os.sep))
    try:
        beside = os.listdir(folder or os.curdir)
    except OSError:
        return ""
    close = difflib.get_close_matches(name, beside, n=1)
    return os.path.join(folder, close[0]) if close else ""


class Collector:
    """Takes files one by one: a subclass handles each in `take`, and this class records those that cannot be read."""

    def __init__(self) -> None:
        self.excluded: list[Exclusion] = []
        self.unreadable: list[Exclusion] = []
        self.empty: list[str] = []
        self.seen = 0
        self.listing = Listing()
        self.count_file = FileCounter()
        self._source: Source | None = None
        self._kept: set[str] = set()
        self._folder, self._is_hidden = "", False
        self._dangling: list[str] = []
        self._outside: list[str] = []

    def take(self, path: str, full: str, status: os.stat_result, read: Read) -> None:
        """Handle a regular file that is open: `full` is absolute, `read` returns its bytes. May raise OSError."""
        raise NotImplementedError

    def source(self, path: str, full: str) -> Source:
        """The source of a file; files below one directory share one object."""
        self._source = Source.of_file(full, path, self._source)
        return self._source

    def exclude(self, path: str, reason: str, *, seen: bool = True) -> None:
        """Record a file that is skipped by a rule."""
        self.seen += seen
        self.excluded.append(Exclusion(path=path, reason=reason))
        if reason not in (HIDDEN, LEFT_BEHIND):
            self.keep(path)

    def cannot_read(self, path: str, reason: str) -> None:
        """Record a file that cannot be read."""
        self.seen += 1
        self.unreadable.append(Exclusion(path=path, reason=reason))
        self.keep(path)

    def keep(self, path: str) -> None:
        """Record that a path is reported on its own, so that its hidden folder is not reported in its place."""
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
        """Record a link whose target is missing."""
        self.exclude(path, "symbolic link to nothing")
        self._dangling.append(path)

    def leads_out(self, path: str) -> None:
        """Record a link to a target outside the root."""
        self.exclude(path, "symbolic link that leads out of the directory (--follow-symlinks takes it)")
        self._outside.append(path)

    def left_out(self) -> list[Exclusion]:
        """All exclusions; a hidden folder with nothing of interest is one exclusion."""
        shown: dict[str, Exclusion] = {}
        for entry in self.excluded:
            path, hidden = entry.path, hidden_part(entry.path)
            if hidden is not None and hidden not in self._kept and entry.reason in (HIDDEN, LEFT_BEHIND):
                path = hidden
            shown.setdefault(path, replace(entry, path=path))
        return list(shown.values())

    def empty_directories(self) -> list[str]:
        """The directories that are empty except for hidden files of no interest."""
        return [path for path in self.empty if path not in self._kept]

    def link_notes(self) -> tuple[str, ...]:
        """Notes on links that were not followed."""
        notes = []
        if (count := len(self._dangling)) > 0:
            links = "1 symbolic link leads" if count == 1 else f"{count:,} symbolic links lead"
            notes.append(f"{links} to nothing, first {self._dangling[0]}; what is missing there is not sent.")
        if (count := len(self._outside)) > 0:
            links = "1 symbolic link leads" if count == 1 else f"{count:,} symbolic links lead"
            notes.append(
                f"{links} out of the directory, first {self._outside[0]}; --follow-symlinks sends what is there."
            )
        return tuple(notes)

    def file(self, path: str, full: str) -> None:
        """Open one file and take it; `path` is the displayed path, `full` the absolute one."""
        self.count_file()
        try:
            # Non-blocking, and checked again after opening: a FIFO may have replaced it.
            descriptor = open_to_read(full)
        except FileNotFoundError:
            self.cannot_read(path, "it vanished while the files were listed")
            return
        except OSError as error:
            self.listing.add(path, None)
            self.cannot_read(path, f"cannot be read: {reason(error)}")
            return
        try:
            status = os.fstat(descriptor)
            self.listing.add(path, status)
            if not stat.S_ISREG(status.st_mode):
                self.cannot_read(path, "it is no longer a regular file")
                return
            self.take(path, full, status, lambda count, offset=0: read_at(descriptor, count, offset))
        except OSError as error:
            self.cannot_read(path, f"cannot be read: {reason(error)}")
        finally:
            os.close(descriptor)


class Walk:
    """Walks a directory tree in sorted order; detects loops, and compares the targets of links with the root.

    Links to directories come last, so that everything in the tree is found under its own name. `name` precedes the
    names of the files. `entered` are directories that are not entered again, and `apart` the real paths of files to
    pass over: both are for walks through several directories of one upload.
    """

    def __init__(
        self,
        root: str,
        collector: Collector,
        *,
        follow: bool,
        name: str = "",
        entered: set[tuple[int, int]] | None = None,
        apart: Collection[str] = (),
    ) -> None:
        self._root = real_path(root)
        self._collector = collector
        self._follow = follow
        self._name = name
        self._entered: set[tuple[int, int]] = set() if entered is None else entered
        self._apart = apart
        self._links: deque[tuple[str, str]] = deque()

    def run(self) -> None:
        """Pass everything below the root to the collector."""
        stack = [(self._root, self._name)]
        while stack or self._links:
            full, relative = stack.pop() if stack else self._links.popleft()
            stack.extend(reversed(list(self._directory(full, relative))))

    def _directory(self, full: str, relative: str) -> Iterator[tuple[str, str]]:
        """Take the files of one directory; yields its subdirectories."""
        try:
            status = status_at(full)
            if (key := (status.st_dev, status.st_ino)) in self._entered:
                self._collector.exclude(relative, "symbolic link to a directory that is already included", seen=False)
                return
            self._entered.add(key)
            names, kinds = _entries(full)
        except OSError as error:
            if relative and is_system_folder(os.path.basename(relative)):
                self._collector.exclude(relative, f"{LEFT_BEHIND}, and cannot be read", seen=False)
            else:
                self._collector.cannot_read(relative or ".", f"directory cannot be read: {reason(error)}")
            return
        if all(hidden_part(name) for name in names):
            self._collector.empty.append(relative or ".")
        for name in names:
            kind = kinds.get(name, _FILE)
            path, there = f"{relative}/{name}" if relative else name, os.path.join(full, name)
            if kind == _LINK:
                self._link(there, path)
            elif kind == _DIRECTORY:
                if name in VERSION_CONTROL:
                    self._collector.exclude(path, NOT_ENTERED, seen=False)
                else:
                    yield there, path
            elif kind == _FILE:
                self._file(path, there)
            else:
                self._collector.exclude(path, "not a regular file")

    def _file(self, path: str, full: str) -> None:
        if full not in self._apart:
            self._collector.file(path, full)

    def _link(self, full: str, path: str) -> None:
        """Follow a link inside the root, and a link into the annex of its own git repository."""
        target = real_path(full)
        inside = target == self._root or target.startswith(self._root.rstrip(os.sep) + os.sep)
        try:
            status = status_at(target)
        except OSError as error:
            if (problem := missing_annex_link(full, target)) is not None:
                self._collector.cannot_read(path, problem)
            elif isinstance(error, PermissionError) and (inside or self._follow):
                self._collector.cannot_read(path, f"cannot be read: {reason(error)}")
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
            self._file(path, target)
        else:
            self._collector.exclude(path, "not a regular file")


_DIRECTORY, _FILE, _LINK, _OTHER = "d", "f", "l", "o"


def _entries(directory: str) -> tuple[list[str], dict[str, str]]:
    """The names of the entries of a directory in order, and the kinds of those that are not regular files."""
    names: list[str] = []
    kinds: dict[str, str] = {}
    with os.scandir(verbatim(directory)) as listing:
        for entry in listing:
            names.append(entry.name)
            if (kind := _kind(entry)) != _FILE:
                kinds[entry.name] = kind
    names.sort()
    return names, kinds


def _kind(entry: os.DirEntry[str]) -> str:
    if is_link(entry):
        return _LINK
    if entry.is_dir(follow_symlinks=False):
        return _DIRECTORY
    return _FILE if entry.is_file(follow_symlinks=False) else _OTHER
