"""What is on disk: every regular file looked at once, DICOM told by content, everything else excluded with a reason."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from xnatctl.errors import PermissionDenied
from xnatctl.inventory import archives
from xnatctl.inventory.elements import Read
from xnatctl.inventory.part10 import Header, Unreadable, read_header
from xnatctl.inventory.sources import same_content
from xnatctl.inventory.tree import Gatherer, Walk, litter, status_of
from xnatctl.model.index import Index
from xnatctl.model.packed import Packer
from xnatctl.model.plan import Exclusion, Source, UploadItem
from xnatctl.model.sequences import grouped

#: Why a member that is an archive file itself is left out.
NESTED = "an archive inside the archive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """The items of one study, and how many patients they name."""

    uid: str
    items: Sequence[UploadItem]
    patients: int

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that hold the items."""
        return tuple(dict.fromkeys(os.path.dirname(item.path) or "." for item in self.items))


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Two files with one SOP Instance UID and different content."""

    sop_instance_uid: str
    first: str
    second: str


@dataclass(kw_only=True)
class Inventory:
    """What was found below `root`. `kind` is directory, file or archive; sizes in bytes.

    `items` are in the order in which they were found, those of one series together. `warnings` are about
    studies, `notes` about all that was found.
    `excluded` is not to be sent. `unreadable` and `invalid` would be, if they could be read, or were not damaged.
    `patients` are the hashed patient IDs of each study, by its UID, and `begun` puts studies in order of time.
    Of a directory also what planning the rest of an export needs: `others` are its files that are not DICOM (`name` is
    the path below the root), `packed` those among them that look like archive files, `unsent_dicom` what is DICOM by
    content and no item all the same, and `empty_directories`; the last three are paths as people read them.
    """

    root: str
    kind: str
    items: Sequence[UploadItem] = ()
    excluded: tuple[Exclusion, ...] = ()
    unreadable: tuple[Exclusion, ...] = ()
    invalid: tuple[Exclusion, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files_seen: int = 0
    patients: dict[str, set[str]] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    others: Sequence[UploadItem] = ()
    packed: frozenset[str] = frozenset()
    unsent_dicom: frozenset[str] = frozenset()
    empty_directories: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all items."""
        return sum(item.size for item in self.items)

    @property
    def dicom(self) -> frozenset[str]:
        """The paths of everything in a directory that is DICOM by content, sent or not."""
        return self.unsent_dicom.union(item.path for item in self.items)

    @property
    def studies(self) -> list[Study]:
        """The studies, in the order in which they were found."""
        groups: dict[str, Sequence[UploadItem]] = dict.fromkeys(self.patients, self.items)
        if len(groups) != 1:
            groups = grouped(self.items, lambda item: item.study_instance_uid)
        return [Study(uid=uid, items=items, patients=len(self.patients.get(uid, ()))) for uid, items in groups.items()]


def scan_path(path: str, *, follow_symlinks: bool = False) -> Inventory:
    """The inventory of a directory, a single DICOM file or a ready-made archive (told by content).

    Links out of the root are reported, or with `follow_symlinks` followed. Raises NotFound, PermissionDenied, Refused
    (a broken or hostile archive).
    """
    status = status_of(path)
    collector = _Collector()
    if stat.S_ISDIR(status.st_mode):
        Walk(path, collector, follow=follow_symlinks).run()
        return collector.inventory(path, "directory")
    try:
        kind = archives.kind_of(path)
    except OSError as error:
        raise PermissionDenied(f"Cannot read {path}: {error.strerror}.") from error
    if kind is None:
        collector.file(os.path.basename(path), os.path.abspath(path))
        return collector.inventory(path, "file")
    with archives.refusing_damage(path):
        for member in archives.members(path, kind):
            collector.member(path, kind, status, member)
    return collector.inventory(path, "archive")


class _Collector(Gatherer):
    """Takes files one by one and sorts them into items, exclusions and conflicts."""

    def __init__(self) -> None:
        super().__init__()
        self._items = Packer()
        self._places = array("Q")
        self._known = Index(lambda number: self._items.at(self._places[number]).sop_instance_uid)
        self._invalid: list[Exclusion] = []
        self._conflicts: list[Conflict] = []
        self._patients: dict[str, set[str]] = {}
        self._begun: dict[str, str] = {}
        self._others = Packer()
        self._packed: set[str] = set()
        self._unsent: set[str] = set()
        self._named: dict[str, int] = {}
        self._without_pixels: list[str] = []

    def unsendable(self, path: str, problem: Unreadable) -> None:
        """A damaged instance is no less missing for that; what only looks like one is left out."""
        if not problem.certain:
            self.exclude(path, str(problem))
            return
        self.seen += 1
        self._invalid.append(Exclusion(path=path, reason=str(problem)))

    def take(self, path: str, full: str, status: os.stat_result, read: Read) -> None:
        source = Source(path=full)
        if status.st_size == 0:
            self.exclude(path, "empty file")
            self._other(path, source, status)
            return
        try:
            header = read_header(read, status.st_size)
        except Unreadable as problem:
            self._unsent.add(path)
            self.unsendable(path, problem)
            return
        if not self._add(path, source, status.st_size, status, header):
            if header is not None:
                self._unsent.add(path)
                return
            self._other(path, source, status)
            if archives.looks_like_archive(read(512)):
                self._packed.add(path)

    def _other(self, path: str, source: Source, status: os.stat_result) -> None:
        self._others.add(
            UploadItem(
                path=path,
                source=source,
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
                ctime_ns=status.st_ctime_ns,
                device=status.st_dev,
                inode=status.st_ino,
                name=path,
            )
        )

    def member(self, archive: str, kind: str, status: os.stat_result, member: archives.Member) -> None:
        """One member of a ready-made archive.

        Names may repeat there (`tar -r`); a path stands for one file everywhere else, so a later one gets a number.
        """
        path = self._path_of(member.name)
        if (reason := member.rule or litter(member.name)) is not None:
            self.exclude(path, reason)
            return
        if member.size == 0:
            self.exclude(path, "empty file")
            return
        if member.obstacle is not None:
            self.cannot_read(path, member.obstacle)
            return
        if archives.looks_like_archive(member.head):
            self.exclude(path, NESTED)
            return
        try:
            header = read_header(member.read, member.size)
        except Unreadable as problem:
            self.unsendable(path, problem)
            return
        source = Source(
            path=os.path.abspath(archive), container=kind, member=member.name, offset=member.offset,
            packed_size=member.packed_size,
        )  # fmt: skip
        self._add(path, source, member.size, status, header)

    def _path_of(self, name: str) -> str:
        path = name
        while path in self._named:
            self._named[name] += 1
            path = f"{name} [{self._named[name]}]"
        self._named[path] = 1
        return path

    def _add(self, path: str, source: Source, size: int, status: os.stat_result, header: Header | None) -> bool:
        """Whether it became an item."""
        if header is None:
            self.exclude(path, "not DICOM")
            return False
        if header.is_directory:
            self.exclude(path, "DICOMDIR")
            return False
        item = UploadItem(
            path=path,
            source=source,
            size=size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            device=status.st_dev,
            inode=status.st_ino,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            series_number=header.series_number,
            modality=header.modality,
            transfer_syntax_uid=header.transfer_syntax_uid,
            number_of_frames=header.number_of_frames,
            tail=header.tail,
        )
        if header.lacks_pixels:
            self._without_pixels.append(path)
        number = self._known.add(header.sop_instance_uid)
        if number == len(self._places):
            self._places.append(self._items.add(item, (header.study_instance_uid, header.series_instance_uid)))
            self.seen += 1
            self._patients.setdefault(header.study_instance_uid, set()).add(header.patient_hash)
            if header.study_time:
                known = self._begun.setdefault(header.study_instance_uid, header.study_time)
                self._begun[header.study_instance_uid] = min(known, header.study_time)
            return True
        first = self._items.at(self._places[number])
        if same_content(first, item):
            self.exclude(path, f"duplicate of {first.path}")
        else:
            self.seen += 1
            self._conflicts.append(Conflict(sop_instance_uid=item.sop_instance_uid, first=first.path, second=item.path))
        return False

    def inventory(self, root: str, kind: str) -> Inventory:
        """Everything that was collected; nothing is, afterwards."""
        del self._known, self._places
        return Inventory(
            root=root,
            kind=kind,
            items=self._items.build(),
            excluded=tuple(self.excluded),
            unreadable=tuple(self.unreadable),
            invalid=tuple(self._invalid),
            conflicts=tuple(self._conflicts),
            warnings=patient_warnings(self._patients),
            notes=_pixel_notes(self._without_pixels),
            files_seen=self.seen,
            patients=self._patients,
            begun=self._begun,
            others=self._others.build(),
            packed=frozenset(self._packed),
            unsent_dicom=frozenset(self._unsent),
            empty_directories=tuple(self.empty),
        )


def _pixel_notes(paths: Sequence[str]) -> tuple[str, ...]:
    """A word on images without Pixel Data: by its lengths, a file that was cut off exactly there is whole."""
    if not paths:
        return ()
    images = "1 file is an image" if len(paths) == 1 else f"{len(paths)} files are images"
    return (f"{images} without Pixel Data, first {paths[0]}: compare with the original if that is unexpected.",)


def patient_warnings(patients: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """What is to be said of studies that more than one patient is in; hashed patient IDs by study."""
    return tuple(f"Study {uid} names more than one patient ID." for uid, ids in patients.items() if len(ids) > 1)
