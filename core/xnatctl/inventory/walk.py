"""What is on disk: every regular file looked at once, DICOM told by content, everything else excluded with a reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from xnatctl.errors import NotFound, PermissionDenied
from xnatctl.inventory import archives
from xnatctl.inventory.part10 import Header, Unreadable, read_header
from xnatctl.inventory.sources import same_content
from xnatctl.model.plan import Exclusion, Source, UploadItem

#: Directories that operating systems leave behind; nothing in them is an image.
_LITTER = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """The items of one study, the folders that hold them, and how many patients they name."""

    uid: str
    items: tuple[UploadItem, ...]
    folders: tuple[str, ...]
    patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Two files with one SOP Instance UID and different content."""

    sop_instance_uid: str
    first: str
    second: str


@dataclass(kw_only=True)
class Inventory:
    """What was found below `root`. `kind` is directory, file or archive; sizes in bytes.

    `excluded` is not to be sent. `unreadable` and `invalid` would be, if they could be read, or were not damaged.
    """

    root: str
    kind: str
    items: tuple[UploadItem, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    unreadable: tuple[Exclusion, ...] = ()
    invalid: tuple[Exclusion, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    files_seen: int = 0
    patients: dict[str, set[str]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size of all items."""
        return sum(item.size for item in self.items)

    @property
    def studies(self) -> list[Study]:
        """The studies, in the order in which they were found."""
        groups: dict[str, list[UploadItem]] = {}
        for item in self.items:
            groups.setdefault(item.study_instance_uid, []).append(item)
        return [
            Study(
                uid=uid,
                items=tuple(items),
                folders=tuple(dict.fromkeys(os.path.dirname(item.path) or "." for item in items)),
                patients=len(self.patients.get(uid, ())),
            )
            for uid, items in groups.items()
        ]


def scan_path(path: str, *, follow_symlinks: bool = False) -> Inventory:
    """The inventory of a directory, a single DICOM file or a ready-made archive (told by content).

    Links out of the root are reported, or with `follow_symlinks` followed. Raises NotFound, PermissionDenied, Refused
    (a broken or hostile archive).
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"There is no file or directory {path}.") from None
    except OSError as error:
        raise PermissionDenied(f"Cannot look at {path}: {error.strerror}.") from error
    collector = _Collector()
    if stat.S_ISDIR(status.st_mode):
        _Walk(os.path.realpath(path), collector, follow=follow_symlinks).run()
        return collector.inventory(path, "directory")
    if not stat.S_ISREG(status.st_mode):
        raise NotFound(f"{path} is neither a file nor a directory.")
    try:
        kind = archives.kind_of(path)
    except OSError as error:
        raise PermissionDenied(f"Cannot read {path}: {error.strerror}.") from error
    if kind is None:
        collector.file(os.path.basename(path), path)
        return collector.inventory(path, "file")
    with archives.refusing_damage(path):
        for member in archives.members(path, kind):
            collector.member(path, kind, status, member)
    return collector.inventory(path, "archive")


class _Collector:
    """Takes files one by one and sorts them into items, exclusions and conflicts."""

    def __init__(self) -> None:
        self._items: dict[str, UploadItem] = {}
        self._excluded: list[Exclusion] = []
        self._unreadable: list[Exclusion] = []
        self._invalid: list[Exclusion] = []
        self._conflicts: list[Conflict] = []
        self._patients: dict[str, set[str]] = {}
        self._seen = 0

    def exclude(self, path: str, reason: str, *, seen: bool = True) -> None:
        self._seen += seen
        self._excluded.append(Exclusion(path=path, reason=reason))

    def unreadable(self, path: str, reason: str) -> None:
        self._seen += 1
        self._unreadable.append(Exclusion(path=path, reason=reason))

    def unsendable(self, path: str, problem: Unreadable) -> None:
        """A damaged instance is no less missing for that; what only looks like one is left out."""
        if not problem.certain:
            self.exclude(path, str(problem))
            return
        self._seen += 1
        self._invalid.append(Exclusion(path=path, reason=str(problem)))

    def file(self, path: str, full: str) -> None:
        """One regular file; `path` is what people read, `full` what is opened."""
        try:
            # Non-blocking, and looked at again when open: a FIFO may have taken its place.
            descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            self.unreadable(path, "it vanished while the files were listed")
            return
        except OSError as error:
            self.unreadable(path, f"cannot be read: {error.strerror}")
            return
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self.exclude(path, "not a regular file")
                return
            if status.st_size == 0:
                self.exclude(path, "empty file")
                return
            header = read_header(lambda count: os.pread(descriptor, count, 0), status.st_size)
        except Unreadable as problem:
            self.unsendable(path, problem)
            return
        except OSError as error:
            self.unreadable(path, f"cannot be read: {error.strerror}")
            return
        finally:
            os.close(descriptor)
        source = Source(path=os.path.abspath(full))
        self._add(path, source, status.st_size, status, header)

    def member(self, archive: str, kind: str, status: os.stat_result, member: archives.Member) -> None:
        """One member of a ready-made archive."""
        if member.problem is not None:
            self.exclude(member.name, member.problem)
            return
        reason = _litter(member.name)
        if reason is not None:
            self.exclude(member.name, reason)
            return
        if member.size == 0:
            self.exclude(member.name, "empty file")
            return
        if archives.looks_like_archive(member.head):
            self.exclude(member.name, "an archive inside the archive")
            return
        try:
            header = read_header(member.read, member.size)
        except Unreadable as problem:
            self.unsendable(member.name, problem)
            return
        source = Source(
            path=os.path.abspath(archive), container=kind, member=member.name, offset=member.offset,
            packed_size=member.packed_size,
        )  # fmt: skip
        self._add(member.name, source, member.size, status, header)

    def _add(self, path: str, source: Source, size: int, status: os.stat_result, header: Header | None) -> None:
        if header is None:
            self.exclude(path, "not DICOM")
            return
        if header.is_directory:
            self.exclude(path, "DICOMDIR")
            return
        item = UploadItem(
            path=path,
            source=source,
            size=size,
            mtime_ns=status.st_mtime_ns,
            inode=status.st_ino,
            name=f"{header.sop_instance_uid}.dcm",
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            series_number=header.series_number,
            modality=header.modality,
            transfer_syntax_uid=header.transfer_syntax_uid,
            number_of_frames=header.number_of_frames,
        )
        first = self._items.setdefault(header.sop_instance_uid, item)
        if first is item:
            self._seen += 1
            self._patients.setdefault(header.study_instance_uid, set()).add(header.patient_hash)
        elif same_content(first, item):
            self.exclude(path, f"duplicate of {first.path}")
        else:
            self._seen += 1
            self._conflicts.append(Conflict(sop_instance_uid=item.sop_instance_uid, first=first.path, second=item.path))

    def inventory(self, root: str, kind: str) -> Inventory:
        """Everything that was collected."""
        several = [uid for uid, patients in self._patients.items() if len(patients) > 1]
        return Inventory(
            root=root,
            kind=kind,
            items=tuple(self._items.values()),
            excluded=tuple(self._excluded),
            unreadable=tuple(self._unreadable),
            invalid=tuple(self._invalid),
            conflicts=tuple(self._conflicts),
            warnings=tuple(f"Study {uid} names more than one patient ID." for uid in several),
            files_seen=self._seen,
            patients=self._patients,
        )


class _Walk:
    """A directory tree, in sorted order; loops are found, links are held against the root."""

    def __init__(self, root: str, collector: _Collector, *, follow: bool) -> None:
        self._root = root
        self._collector = collector
        self._follow = follow
        self._entered: set[tuple[int, int]] = set()

    def run(self) -> None:
        stack = [(self._root, "")]
        while stack:
            full, relative = stack.pop()
            stack.extend(reversed(list(self._directory(full, relative))))

    def _directory(self, full: str, relative: str) -> Iterator[tuple[str, str]]:
        """Take the files of one directory; yields its sub-directories."""
        try:
            status = os.stat(full)
            if (key := (status.st_dev, status.st_ino)) in self._entered:
                self._collector.exclude(relative, "symbolic link to a directory that is looked at already", seen=False)
                return
            self._entered.add(key)
            with os.scandir(full) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self._collector.unreadable(relative or ".", f"directory cannot be read: {error.strerror}")
            return
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if (reason := _litter(entry.name)) is not None:
                self._collector.exclude(path, reason, seen=not entry.is_dir(follow_symlinks=False))
            elif entry.is_symlink():
                yield from self._link(entry, path)
            elif entry.is_dir(follow_symlinks=False):
                yield entry.path, path
            elif entry.is_file(follow_symlinks=False):
                self._collector.file(path, entry.path)
            else:
                self._collector.exclude(path, "not a regular file")

    def _link(self, entry: os.DirEntry[str], path: str) -> Iterator[tuple[str, str]]:
        target = os.path.realpath(entry.path)
        inside = target == self._root or target.startswith(self._root.rstrip("/") + "/")
        if not os.path.exists(target):
            self._collector.exclude(path, "symbolic link to nothing")
        elif not inside and not self._follow:
            self._collector.exclude(path, "symbolic link that leads out of the directory (--follow-symlinks takes it)")
        elif os.path.isdir(target):
            yield target, path
        elif os.path.isfile(target):
            self._collector.file(path, target)
        else:
            self._collector.exclude(path, "not a regular file")


def _litter(name: str) -> str | None:
    """Why a name is passed over without a look, or None."""
    for piece in name.split("/"):
        if piece in _LITTER:
            return "left behind by an operating system"
        if piece.startswith(".") and piece not in (".", ".."):
            return "hidden"
    return None
