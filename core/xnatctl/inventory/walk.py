"""The inventory of a path: reads every regular file once, finds DICOM by content, excludes all else with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from xnatctl.errors import SourceChanged
from xnatctl.inventory import archives
from xnatctl.inventory.absent import ANNEX, fetch, not_packed, pointer_command
from xnatctl.inventory.elements import Odd, Read
from xnatctl.inventory.forward import Forward
from xnatctl.inventory.header_values import read_values
from xnatctl.inventory.links import Links
from xnatctl.inventory.names import NOT_ENTERED, hidden_part, version_control, why_hidden
from xnatctl.inventory.notes import paths_without_dicom, patient_warnings, pixel_notes
from xnatctl.inventory.packed import Content, content_holds_dicom
from xnatctl.inventory.packers import HEAD, TAIL, ZIP, packer_by_end, packer_of
from xnatctl.inventory.part10 import Header, Unreadable, read_header
from xnatctl.inventory.path_set import Place, Walks, common_root, name_below, places_of
from xnatctl.inventory.sources import same_content
from xnatctl.inventory.streams import Stream
from xnatctl.inventory.tree import Collector
from xnatctl.inventory.values import shared_number
from xnatctl.model.plan import Exclusion, FileStatus, Series, Source, UploadItem, by_study
from xnatctl.model.words import counted, listed
from xnatctl.operating_system.files import open_to_read

#: Why a packed file is skipped, also inside an archive file.
HOLDS_DICOM = "a packed file that holds DICOM"
#: The same for an encrypted or damaged file, or an unknown format.
MAY_HOLD_DICOM = "a packed file that may hold DICOM and cannot be inspected"
#: A session accepts each UID once (xnat-import 3.4).
_WAY_OUT = "give it a UID of its own, or upload its series alone under another label"
#: Bytes in which the Series Description is looked for, and its most characters (PS3.5 6.2, LO).
_DESCRIBED, _LONG_STRING = 64 * 1024, 64
#: Shared values that are remembered at once: where each file has its own, they would take as much as the files.
_MOST_SERIES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """The items of one study, and the number of patients in them."""

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
    studies, `notes` about everything that was found.
    `excluded` is not sent. `unreadable` and `invalid` belong to the upload, but cannot be read or are damaged.
    `patients` are the hashed patients of each study, by its UID; `begun` is the study time, for sorting.
    The rest is for planning the other files of an export. `others` are the files of a directory that are not DICOM
    (`name` is the path below the root); hidden files are included only if they look like archive files. `packed` are
    those `others` that look like archive files, `hidden` those of `packed` with a hidden name, `unsent_dicom` files
    that are DICOM by content but not items, and `empty_directories` is empty directories; these four hold displayed
    paths. `listing` is the text of a `Listing` of all files.

    An inventory of several paths is of kind `paths`: `sources` are these as they were named, and `root` is the
    directory that holds them all.
    """

    root: str
    kind: str
    items: Sequence[UploadItem] = ()
    excluded: tuple[Exclusion, ...] = ()
    unreadable: tuple[Exclusion, ...] = ()
    invalid: tuple[Exclusion, ...] = ()
    conflicts: tuple[Conflict, ...] = ()  # files with the UID of another file but different content
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files_seen: int = 0  # number of files examined
    patients: dict[str, set[str]] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    others: Sequence[UploadItem] = ()
    packed: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    unsent_dicom: frozenset[str] = frozenset()
    empty_directories: tuple[str, ...] = ()
    listing: str = ""
    sources: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """The paths, for messages."""
        return listed(self.sources) or self.root

    @property
    def bytes(self) -> int:
        """Size of all items."""
        return sum(item.size for item in self.items)

    @property
    def dicom(self) -> frozenset[str]:
        """The paths of all DICOM (by content) in a directory, sent or not."""
        return self.unsent_dicom.union(item.path for item in self.items)

    @property
    def studies(self) -> list[Study]:
        """The studies, in the order in which they were found."""
        studies = by_study(self.items)
        return [Study(uid=uid, items=items, patients=len(self.patients.get(uid, ()))) for uid, items in studies.items()]


def scan_path(path: str, *, follow_symlinks: bool = False, large_archive: bool = False) -> Inventory:
    """The inventory of a directory, a DICOM file or an archive file, which are recognised by content.

    Links out of the root are reported, or followed with `follow_symlinks`. Limits apply to an archive file, unless
    `large_archive` lifts them. Raises NotFound, PermissionDenied, Refused (a damaged or hostile archive file).
    """
    return scan_paths([path], follow_symlinks=follow_symlinks, large_archive=large_archive)


def scan_paths(paths: Sequence[str], *, follow_symlinks: bool = False, large_archive: bool = False) -> Inventory:
    """The inventory of several paths together, in whatever order; raises what `scan_path` raises, and UsageError.

    A path that is named twice, or that is inside another one, is read once. An archive file inside a directory is read
    if it is named itself. Paths of files are relative to the directory that holds all of these.
    """
    places = places_of(paths)
    several = len(places) > 1
    root = common_root(places) if several else places[0].path
    collector = _DicomCollector()
    walks = Walks(collector, follow=follow_symlinks, apart=[place.real for place in places if not place.is_directory])
    limits = archives.UNLIMITED if large_archive else archives.LIMITS
    for place in places:
        name = name_below(root, place.path) if several else "" if place.is_directory else os.path.basename(place.path)
        if place.is_directory:
            walks.run(place.path, name)
        elif place.container is None:
            collector.file(name, os.path.abspath(place.path))
        else:
            collector.listing.add(name, place.status)
            collector.archive(place, limits, f"{name}/" if several else "")
    inventory = collector.inventory(root, "paths" if several else places[0].kind)
    if not several:
        return inventory
    holders = {name_below(root, place.path): place.path for place in places if place.kind != "file"}
    notes = (*paths_without_dicom(holders, _dicom_of(inventory)), *inventory.notes)
    return replace(inventory, sources=tuple(place.path for place in places), notes=notes)


def _dicom_of(inventory: Inventory) -> Iterator[str]:
    """The paths of everything that is DICOM or may be, whether it can be sent or not."""
    yield from (item.path for item in inventory.items)
    yield from (entry.path for entry in (*inventory.unreadable, *inventory.invalid))
    yield from (conflict.second for conflict in inventory.conflicts)
    yield from inventory.packed
    yield from (entry.path for entry in inventory.excluded if entry.reason.startswith("duplicate of "))


def scan_listed(root: str, paths: Iterable[str]) -> Inventory:
    """The inventory of some files below a directory, which a caller has listed; looks for no others.

    `paths` are relative to `root`, which should be absolute. The listing of the inventory is empty: files beside these
    are not compared.
    """
    collector = _DicomCollector()
    for path in sorted(paths):
        collector.file(path, os.path.join(root, *path.split("/")))
    return replace(collector.inventory(root, "directory"), listing="")


class _DicomCollector(Collector):
    """Divides files into items, exclusions and conflicts."""

    def __init__(self) -> None:
        super().__init__()
        self._by_series: dict[tuple[str, str], list[UploadItem]] = {}
        self._by_uid: dict[str, UploadItem] = {}
        self._invalid: list[Exclusion] = []
        self._conflicts: list[Conflict] = []
        self._patients: dict[str, set[str]] = {}
        self._series: dict[tuple[str | int, ...], Series] = {}
        self._begun: dict[str, str] = {}
        self._others: list[UploadItem] = []
        self._packed: set[str] = set()
        self._unsent: set[str] = set()
        self._named: dict[str, int] = {}
        self._without_pixels, self._first_without = 0, ""
        self._links = Links()
        self._prefix = ""
        self._nowhere: list[str] = []
        self._not_entered: set[str] = set()

    def unsendable(self, path: str, problem: Unreadable) -> None:
        """Record a damaged instance as invalid; exclude a file that only resembles DICOM."""
        if not problem.certain:
            self.exclude(path, str(problem))
            return
        self._refuse(path, str(problem))
        self.keep(path)

    def _refuse(self, path: str, reason: str) -> None:
        """Record an instance that cannot be sent."""
        self.seen += 1
        self._invalid.append(Exclusion(path=path, reason=reason))

    def take(self, path: str, full: str, status: os.stat_result, read: Read) -> None:
        source = self.source(path, full)
        if status.st_size == 0:
            self.exclude(path, why_hidden(path) or "empty file")
            if hidden_part(path) is None:
                self._other(path, source, status)
            return
        try:
            header = read_header(read, status.st_size)
        except Unreadable as problem:
            self._unsent.add(path)
            self.unsendable(path, problem)
            return
        if header is None:
            self._take_other(path, full, status, read(512))
        elif not self._add(path, source, status.st_size, status, header, read):
            self._unsent.add(path)

    def _take_other(self, path: str, full: str, status: os.stat_result, head: bytes) -> None:
        """Record a file that is not DICOM."""
        if (command := pointer_command(head, status.st_size, path)) is not None:
            self.cannot_read(path, fetch(command, full))
            return
        hidden = why_hidden(path)
        self.exclude(path, hidden or "not DICOM")
        packed = archives.packer_at(full) is not None
        if packed:
            self._packed.add(path)
            self.keep(path)
        if packed or hidden is None:
            self._other(path, self.source(path, full), status)

    def _other(self, path: str, source: Source, status: os.stat_result) -> None:
        stamp = FileStatus.pack(status)
        self._others.append(UploadItem(path=path, source=source, size=status.st_size, stamp=stamp, resource_name=path))

    def archive(self, place: Place, limits: archives.Limits, prefix: str) -> None:
        """Take the members of an archive file; `prefix` precedes their names. Raises Refused."""
        assert place.container is not None
        self._prefix, self._named, self._links = prefix, {}, Links()
        before = self._others_so_far
        with archives.refusing_damage(place.path):
            for member in archives.members(place.path, place.container, limits):
                self.count_file()
                self.member(place.status, member)
                if self._others_so_far - before > limits.others:
                    raise limits.beyond(place.path, f"holds more than {limits.others:,} members that are not DICOM")
            self.links(place.path, place.status)

    @property
    def _others_so_far(self) -> int:
        """The number of files and of members of the current archive file that are not items."""
        return len(self.excluded) + len(self.unreadable) + len(self._invalid) + len(self._links)

    def member(self, status: os.stat_result, member: archives.Member) -> None:
        """Take one member of an archive file.

        Names may repeat there (`tar -r`), but a path identifies one file elsewhere, so a repeated name gets a number.
        """
        path = self._path_of(member.name)
        if (folder := version_control(member.name)) is not None:
            folder = f"{self._prefix}{folder}"
            self.seen += 1
            if folder not in self._not_entered:
                self._not_entered.add(folder)
                self.exclude(folder, NOT_ENTERED, seen=False)
            self._links.leave_out(member)
        elif member.target is not None:
            self._links.add(path, member)
        elif member.rule is not None:
            self.exclude(path, member.rule)
            self._links.leave_out(member)
        else:
            self._whole_member(path, member, status)

    def _whole_member(self, path: str, member: archives.Member, status: os.stat_result) -> None:
        """Take a member by its content. In a zip each member has a checksum, so damage affects that member alone."""
        try:
            self._member(path, member, status)
        except archives.Damaged as error:
            if member.source.container != ZIP:
                raise
            self._refuse(path, f"damaged: {error}")

    def _member(self, path: str, member: archives.Member, status: os.stat_result) -> None:
        if member.size == 0:
            self.exclude(path, why_hidden(path) or "empty file")
        elif member.obstacle is not None:
            self.cannot_read(path, member.obstacle)
        elif packer_of(member.content.peek(HEAD), member.size) is not None:
            self._packed_member(path, member)
        else:
            read = Forward(member.content.some, member.content.skip)
            self._content(path, member.source, member.size, status, read)

    def _packed_member(self, path: str, member: archives.Member) -> None:
        holds = content_holds_dicom(Content(member.content, member.size))
        if holds is False:
            self.exclude(path, why_hidden(path) or "not DICOM")
        else:
            self.cannot_read(path, HOLDS_DICOM if holds else MAY_HOLD_DICOM)

    def _content(self, path: str, source: Source, size: int, status: os.stat_result, read: Read) -> None:
        try:
            header = read_header(read, size)
        except Unreadable as problem:
            self.unsendable(path, problem)
            return
        if header is not None:
            self._add(path, source, size, status, header, read)
        elif (command := pointer_command(read(512), size, path)) is not None:
            self.cannot_read(path, not_packed(command))
        elif packer_by_end(read(TAIL, max(0, size - TAIL)), size) is not None:
            self.cannot_read(path, MAY_HOLD_DICOM)
        else:
            self.exclude(path, why_hidden(path) or "not DICOM")

    def links(self, archive: str, status: os.stat_result) -> None:
        """Resolve the links of an archive file, after all of its members."""
        for link, target, unseen in self._links.resolve(self._named):
            for path, member in unseen:
                descriptor = open_to_read(archive)
                try:
                    content = Stream(archives.open_member(descriptor, member.source, member.size))
                    self._whole_member(path, replace(member, content=content), status)
                finally:
                    os.close(descriptor)
            if unseen:
                continue
            if target is not None:
                self.exclude(link.path, f"{link.kind} to {target}")
            elif link.is_symbolic and "/annex/objects/" in f"/{link.target}":
                self.cannot_read(link.path, not_packed(ANNEX))
            elif link.is_symbolic:
                self.exclude(link.path, f"symbolic link to {link.target}, which is not in the archive file")
                self._nowhere.append(link.path)
            else:
                self.cannot_read(link.path, f"hard link to {link.target}, which is not in the archive file")

    def _packed_notes(self) -> Iterator[str]:
        """A note on links of archive files to nothing: one, however many archive files there are."""
        if self._nowhere:
            lead = "leads" if len(self._nowhere) == 1 else "lead"
            links = counted(len(self._nowhere), "symbolic link")
            yield f"{links} in archive files {lead} to nothing there, first {self._nowhere[0]}."

    def _path_of(self, name: str) -> str:
        path = name
        while path in self._named:
            self._named[name] += 1
            path = f"{name} [{self._named[name]}]"
        self._named[path] = 1
        return f"{self._prefix}{path}" if self._prefix else path  # the same string: there may be a hundred thousand

    def _add(self, path: str, source: Source, size: int, status: os.stat_result, header: Header, read: Read) -> bool:
        """Add an instance; returns whether it became an item."""
        self.keep(path)
        if header.is_directory:
            self.exclude(path, "DICOMDIR")
            return False
        series = self._series_of(header, read, size)
        item = UploadItem(
            path=path,
            source=source,
            size=shared_number(size),
            stamp=FileStatus.pack(status),
            tail=shared_number(header.tail),
            sop_instance_uid=header.sop_instance_uid,
            series=series,
        )
        if header.lacks_pixels:
            self._without_pixels += 1
            self._first_without = self._first_without or path
        first = self._by_uid.setdefault(item.sop_instance_uid, item)
        if first is item:
            study = series.study_instance_uid
            self._by_series.setdefault((study, series.series_instance_uid), []).append(item)
            self.seen += 1
            self._patients.setdefault(study, set()).add(header.patient_hash)
            if header.study_time:
                self._begun[study] = min(self._begun.get(study, header.study_time), header.study_time)
            return True
        if first.series_instance_uid != item.series_instance_uid:
            self._refuse(path, f"has the SOP Instance UID of {first.path}, in another series; {_WAY_OUT}")
            return False
        try:
            same = same_content(first, item)
        except SourceChanged as error:
            self.cannot_read(path, f"cannot be compared with {first.path}: {error.message}")
            return False
        if same:
            self.exclude(path, f"duplicate of {first.path}")
        else:
            self.seen += 1
            self._conflicts.append(Conflict(sop_instance_uid=item.sop_instance_uid, first=first.path, second=item.path))
        return False

    def _series_of(self, header: Header, read: Read, size: int) -> Series:
        """The values that a file shares with others of its series, in one object."""
        key = (
            header.study_instance_uid,
            header.series_instance_uid,
            header.series_number,
            header.modality,
            header.sop_class_uid,
            header.transfer_syntax_uid,
            header.number_of_frames,
        )
        if (series := self._series.get(key)) is None:
            if len(self._series) == _MOST_SERIES:
                self._series.clear()
            series = self._series[key] = Series(
                study_instance_uid=header.study_instance_uid,
                series_instance_uid=header.series_instance_uid,
                series_number=header.series_number,
                modality=header.modality,
                sop_class_uid=header.sop_class_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                number_of_frames=header.number_of_frames,
                series_description=_description(read, size),
            )
        return series

    def inventory(self, root: str, kind: str) -> Inventory:
        """Everything that was collected. Call it once: it releases the index of UIDs."""
        self._by_uid.clear()
        return Inventory(
            root=root,
            kind=kind,
            items=tuple(chain.from_iterable(self._by_series.values())),
            excluded=tuple(self.left_out()),
            unreadable=tuple(self.unreadable),
            invalid=tuple(self._invalid),
            conflicts=tuple(self._conflicts),
            warnings=patient_warnings(self._patients),
            notes=(*self._packed_notes(), *pixel_notes(self._without_pixels, self._first_without), *self.link_notes()),
            files_seen=self.seen,
            patients=self._patients,
            begun=self._begun,
            others=tuple(self._others),
            packed=frozenset(self._packed),
            hidden=frozenset(path for path in self._packed if hidden_part(path) is not None),
            unsent_dicom=frozenset(self._unsent),
            empty_directories=tuple(self.empty_directories()),
            listing=self.listing.text(),
        )


def _description(read: Read, size: int) -> str:
    """The Series Description of a file whose header was read; empty if it has none, or one that is not understood."""
    try:
        return read_values(read, min(size, _DESCRIBED), ("SeriesDescription",))["SeriesDescription"][:_LONG_STRING]
    except (Odd, OSError, ValueError):
        return ""
