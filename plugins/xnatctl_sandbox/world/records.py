"""The records of a site: users, projects, sessions, files, prearchive rows, DICOM receivers.

Each field has its natural type here; `http.tables` makes it text where XNAT prints it (xnat-api 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xnatctl_sandbox.world.routing_expressions import NO_EXPRESSIONS, RoutingExpressions

#: The project that the prearchive shows for sessions without one.
UNASSIGNED = "Unassigned"
AUTO_ARCHIVE, AUTO_ARCHIVE_OVERWRITE = "AutoArchive", "AutoArchiveOverwrite"
#: `prearchive_code` of a project -> what its new prearchive rows carry in `autoarchive`.
AUTO_ARCHIVE_BY_CODE = {0: "Manual", 4: AUTO_ARCHIVE, 5: AUTO_ARCHIVE_OVERWRITE}


@dataclass
class User:
    """An account. `roles` of a project say what it may do there; `admin` may do everything."""

    login: str
    password: str
    admin: bool = False
    enabled: bool = True
    failed_logins: int = 0
    locked_until: float | None = None
    expired_password: bool = False
    email: str = ""


@dataclass
class AliasToken:
    """Alias and secret, which log in as their owner (xnat-api 1.5)."""

    alias: str
    secret: str
    login: str
    id: int = 0
    created: float = 0.0


@dataclass
class Project:
    """A project. `roles` maps login -> owner | member | collaborator (collaborators only read)."""

    id: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    description: str = ""
    accessibility: str = "private"  # private | protected | public
    prearchive_code: int = 4  # 0 manual, 4 auto-archive, 5 auto-archive and overwrite
    roles: dict[str, str] = field(default_factory=dict)
    series_filter: tuple[str, ...] = ()  # an import drops series whose description matches one
    inserted: float = 0.0
    resources: list[Resource] = field(default_factory=list)


@dataclass
class Subject:
    """A subject; its label is unique in its project, compared without case on archiving."""

    id: str
    label: str
    project: str
    inserted: float = 0.0
    inserted_by: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)


@dataclass(frozen=True)
class Received:
    """One received DICOM file; `path` is relative to the directory of its session."""

    path: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    scan: str
    modality: str
    series_description: str
    instance_number: str
    study_date: str
    study_time: str
    size: int
    md5: str
    sha256: str
    series_number: str = ""


@dataclass
class FileEntry:
    """One catalog entry. `path` is relative to the directory of its resource, `/`-separated."""

    path: str
    size: int
    md5: str = ""
    uid: str | None = None  # SOPInstanceUID of a cat:dcmEntry
    instance_number: str | None = None
    format: str = ""
    content: str = ""
    tags: str = ""


@dataclass
class Resource:
    """A resource folder: catalog entries in memory, files in `directory`."""

    pk: int
    label: str
    directory: Path
    format: str = ""
    content: str = ""
    description: str = ""
    tags: str = ""
    entries: dict[str, FileEntry] = field(default_factory=dict)
    file_count: int | None = None  # as the database has it: perhaps old, None = never counted
    file_size: int | None = None
    version: int = 0  # counts what is written to the catalog
    counted: int = -1  # the version whose files the two numbers are of
    unlisted: set[str] = field(default_factory=set)  # entries that file listings leave out: a fault
    uncatalogued: set[str] = field(default_factory=set)  # entries that the catalog document leaves out: a fault

    def count(self) -> None:
        """Update the database's numbers."""
        self.file_count = len(self.entries)
        self.file_size = sum(entry.size for entry in self.entries.values())
        self.counted = self.version

    def enter(self, entered: Mapping[str, FileEntry], *, count: bool) -> None:
        """Add entries to the catalog; `count` updates the numbers without counting everything again."""
        fresh = self.counted == self.version
        more = sum(
            entry.size - (self.entries[path].size if path in self.entries else 0) for path, entry in entered.items()
        )
        self.entries.update(entered)
        self.version += bool(entered)
        if not count:
            return
        if fresh and self.file_size is not None:
            self.file_count, self.file_size, self.counted = len(self.entries), self.file_size + more, self.version
        else:
            self.count()


@dataclass
class Scan:
    """A scan of a session; `uid` is the SeriesInstanceUID."""

    id: str
    xsi_type: str
    pk: int
    uid: str = ""
    type: str = ""
    series_description: str = ""
    quality: str = "usable"
    note: str = ""
    modality: str = ""
    frames: int = 0
    resources: list[Resource] = field(default_factory=list)


@dataclass
class Experiment:
    """An archived session; `uid` is the StudyInstanceUID."""

    id: str
    label: str
    project: str
    subject_id: str
    xsi_type: str
    directory: Path
    uid: str = ""
    date: str = ""
    modality: str = ""
    inserted: float = 0.0
    inserted_by: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    scans: dict[str, Scan] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)


@dataclass(kw_only=True)
class ReceivedSession:
    """A session that is being received, or was."""

    name: str  # session label
    tag: str  # StudyInstanceUID
    directory: Path
    subject: str = ""
    status: str = "RECEIVING"
    lastmod: float = 0.0
    uploaded: float = 0.0
    source: str = ""
    prevent_anon: bool | None = None
    files: dict[str, Received] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)  # SeriesInstanceUID -> scan folder


@dataclass(kw_only=True)
class PrearchiveRow(ReceivedSession):
    """A row of the prearchive table (xnat-import 4.2, 4.4, 6.1). Key: project + tag + name."""

    project: str | None  # None is shown as Unassigned
    timestamp: str
    folder: str
    autoarchive: str = ""  # Manual | AutoArchive | AutoArchiveOverwrite | ""
    prevent_auto_commit: bool | None = None
    visit: str = ""
    protocol: str = ""
    timezone: str = ""
    scan_date: str = ""
    scan_time: str = ""
    built: dict[str, Received] | None = None  # what the last build found, by path
    logs: list[tuple[float, str]] = field(default_factory=list)

    @property
    def uri(self) -> str:
        """The URI below `/data`, as the import service answers it."""
        return f"/data/prearchive/projects/{self.project or UNASSIGNED}/{self.timestamp}/{self.folder}"

    @property
    def auto_archives(self) -> bool:
        """True when the idle job archives this session after it has built it."""
        return self.autoarchive in (AUTO_ARCHIVE, AUTO_ARCHIVE_OVERWRITE)

    @property
    def auto_overwrites(self) -> bool:
        """True when archiving also replaces files of the same name."""
        return self.autoarchive == AUTO_ARCHIVE_OVERWRITE


@dataclass(kw_only=True)
class DirectRow(ReceivedSession):
    """A direct-archive session while it is being received (xnat-import 5)."""

    id: int
    project: str
    message: str = ""

    @property
    def uri(self) -> str:
        """The URI below the XAPI, as the import service answers it."""
        return f"/xapi/direct-archive/{self.project}/{self.tag}/{self.name}"


@dataclass
class ScpInstance:
    """A DICOM receiver as an administrator configures it (xnat-api 5.1); all of one site share a port."""

    id: int
    ae_title: str
    identifier: str = "dicomObjectIdentifier"
    enabled: bool = True
    direct_archive: bool = False
    anonymization_enabled: bool = True
    whitelist_enabled: bool = False
    whitelist: tuple[str, ...] = ()  # AE, address or network, AE@address
    routing: RoutingExpressions = NO_EXPRESSIONS
    routing_enabled: bool = False
    created: float = 0.0
