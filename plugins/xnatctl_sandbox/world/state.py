"""What the sandbox knows: users, projects, sessions, prearchive rows; the bytes lie on disk beside it.

One `State` per server, one re-entrant lock. Every table cell that XNAT prints as a string is kept here
in its natural type and turned into text where it is printed (xnat-api 2.1).

Layout below the directory of the sandbox, so that a person can look at it::

    archive/<project>/arc001/<session label>/SCANS/<scan>/DICOM/<file>.dcm
    archive/<project>/arc001/<session label>/RESOURCES/<label>/<path>
    archive/<project>/subjects/<subject label>/<label>/<path>, archive/<project>/resources/<label>/<path>
    prearchive/<project or Unassigned>/<timestamp>/<folder>/SCANS/<scan>/DICOM/<file>.dcm
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xnatctl_sandbox.receive.routing import NO_RULES, Expressions
from xnatctl_sandbox.world.clock import Clock

UNASSIGNED = "Unassigned"


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
    """A pair that logs in as its owner (xnat-api 1.5)."""

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
    series_filter: tuple[str, ...] = ()  # SeriesDescription regexes that are dropped on import
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
    """A DICOM file as it came in; `path` is relative to the directory of its session."""

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
        """Bring the database's numbers up to date."""
        self.file_count = len(self.entries)
        self.file_size = sum(entry.size for entry in self.entries.values())
        self.counted = self.version

    def enter(self, entered: Mapping[str, FileEntry], *, count: bool) -> None:
        """Write new entries to the catalog, and perhaps the numbers, without counting everything again."""
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


@dataclass
class PrearchiveRow:
    """A row of the prearchive table (xnat-import 4.2, 4.4, 6.1). Key: project + tag + name."""

    project: str | None  # None is shown as Unassigned
    timestamp: str
    folder: str
    name: str
    tag: str  # StudyInstanceUID
    directory: Path
    subject: str = ""
    status: str = "RECEIVING"
    lastmod: float = 0.0
    uploaded: float = 0.0
    autoarchive: str = ""  # Manual | AutoArchive | AutoArchiveOverwrite | ""
    prevent_anon: bool | None = None
    prevent_auto_commit: bool | None = None
    source: str = ""
    visit: str = ""
    protocol: str = ""
    timezone: str = ""
    scan_date: str = ""
    scan_time: str = ""
    built: dict[str, Received] | None = None  # what the last build found, by path
    files: dict[str, Received] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)  # SeriesInstanceUID -> scan folder
    logs: list[tuple[float, str]] = field(default_factory=list)


@dataclass
class DirectRow:
    """A direct-archive session while it is being received (xnat-import 5)."""

    id: int
    project: str
    tag: str
    name: str
    directory: Path
    subject: str = ""
    status: str = "RECEIVING"
    message: str = ""
    lastmod: float = 0.0
    uploaded: float = 0.0
    source: str = ""
    prevent_anon: bool | None = None
    files: dict[str, Received] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)


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
    routing: Expressions = NO_RULES
    routing_enabled: bool = False
    created: float = 0.0


class State:
    """All tables of one sandbox, guarded by `lock` (take it for every read-modify-write)."""

    def __init__(self, directory: Path, *, version: str = "1.8.11", clock: Clock | None = None) -> None:
        self.directory = directory
        self.version = version
        self.clock = clock or Clock()
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.tokens: dict[str, AliasToken] = {}
        self.projects: dict[str, Project] = {}
        self.subjects: dict[str, Subject] = {}
        self.experiments: dict[str, Experiment] = {}
        self.prearchive: list[PrearchiveRow] = []
        self.direct: list[DirectRow] = []
        self.scps: list[ScpInstance] = []
        self.routing = NO_RULES  # the site's own rules
        self.series_filter: tuple[str, ...] = ()  # SeriesDescription regexes that are dropped wherever they go
        self.site: dict[str, object] = {
            "siteId": "XNAT",
            "siteUrl": "",
            "checksums": True,
            "sessionXmlRebuilderRepeat": 60000,  # ms
            "sessionXmlRebuilderInterval": 5,  # minutes
            "sessionTimeout": "15 minutes",
            "concurrentMaxSessions": 1000,
            "maxFailedLogins": 20,
            "requireLogin": True,
            "sessionArchiveTimeoutInterval": 600,  # s
            "receivedFileUser": "admin",
            "preventCrossModalityMerge": False,
            "enableCsrfToken": True,
            "aliasTokenTimeout": "2 days",
            "siteHome": "/",
            "siteLogoPath": "/images/logo.png",
            "zipExtensions": ["zip", "jar", "rar", "ear", "gar", "xar"],
            "defaultProjectAutoArchiveSetting": 4,
            "enableSitewideAnonymizationScript": True,
            "enableDicomReceiver": True,
            "dicomFileNameTemplate": (
                "${StudyInstanceUID}-${SeriesNumber}-${InstanceNumber}-${HashSOPClassUIDWithSOPInstanceUID}"
            ),
        }
        self.counters: dict[str, int] = {}

    @property
    def version_tuple(self) -> tuple[int, ...]:
        """The version as numbers."""
        return tuple(int(piece) for piece in self.version.split("-")[0].split("."))

    # numbers and identifiers

    def next_number(self, kind: str) -> int:
        with self.lock:
            self.counters[kind] = self.counters.get(kind, 0) + 1
            return self.counters[kind]

    def new_experiment_id(self) -> str:
        return f"XNAT_E{self.next_number('experiment'):05d}"

    def new_subject_id(self) -> str:
        return f"XNAT_S{self.next_number('subject'):05d}"

    # places

    def session_directory(self, project: str, label: str) -> Path:
        return self.directory / "archive" / project / "arc001" / label

    def prearchive_directory(self, project: str | None, timestamp: str, folder: str) -> Path:
        return self.directory / "prearchive" / (project or UNASSIGNED) / timestamp / folder

    # look-ups

    def find_project(self, name: str | None) -> Project | None:
        """By ID or alias."""
        if not name:
            return None
        with self.lock:
            if name in self.projects:
                return self.projects[name]
            return next((p for p in self.projects.values() if name in p.aliases), None)

    def subjects_of(self, project: str) -> Iterator[Subject]:
        return iter([s for s in self.subjects.values() if s.project == project])

    def experiments_of(self, project: str) -> Iterator[Experiment]:
        return iter([e for e in self.experiments.values() if e.project == project])

    def find_subject(self, project: str, name: str) -> Subject | None:
        """By label in the project first, then by ID when it belongs to the project (xnat-api 2.4)."""
        with self.lock:
            subjects = list(self.subjects_of(project))
        by_label = next((subject for subject in subjects if subject.label == name), None)
        return by_label or next((subject for subject in subjects if subject.id == name), None)

    def find_experiment(self, project: str | None, name: str) -> Experiment | None:
        """By ID first, then, with a project, by label in it (xnat-api 2.4)."""
        with self.lock:
            if name in self.experiments:
                return self.experiments[name]
            if project is None:
                return None
            return next((e for e in self.experiments_of(project) if e.label == name), None)

    # rights (xnat-api 1.8)

    def may_read(self, login: str | None, project: Project) -> bool:
        user = self.users.get(login or "")
        return bool(user and (user.admin or login in project.roles)) or project.accessibility == "public"

    def may_edit(self, login: str | None, project: Project) -> bool:
        user = self.users.get(login or "")
        return bool(user and (user.admin or project.roles.get(user.login) in ("owner", "member")))

    def may_delete(self, login: str | None, project: Project) -> bool:
        user = self.users.get(login or "")
        return bool(user and (user.admin or project.roles.get(user.login) == "owner"))

    def is_admin(self, login: str | None) -> bool:
        user = self.users.get(login or "")
        return bool(user and user.admin)
