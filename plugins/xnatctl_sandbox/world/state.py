"""The tables of one sandbox; the bytes lie on disk beside them.

One `State` per sandbox, with one re-entrant lock. The directory of a sandbox, for people who look into it::

    archive/<project>/arc001/<session label>/SCANS/<scan>/DICOM/<file>.dcm
    archive/<project>/arc001/<session label>/RESOURCES/<label>/<path>
    archive/<project>/subjects/<subject label>/<label>/<path>, archive/<project>/resources/<label>/<path>
    prearchive/<project or Unassigned>/<timestamp>/<folder>/SCANS/<scan>/DICOM/<file>.dcm
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xnatctl_sandbox.world.clock import Clock
from xnatctl_sandbox.world.records import (
    UNASSIGNED,
    AliasToken,
    DirectRow,
    Experiment,
    PrearchiveRow,
    Project,
    ScpInstance,
    Subject,
    User,
)
from xnatctl_sandbox.world.routing_expressions import NO_EXPRESSIONS


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
        self.routing = NO_EXPRESSIONS  # of the site itself
        self.series_filter: tuple[str, ...] = ()  # every import drops series whose description matches one
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
        self.dicom_port: int | None = None  # of all DICOM receivers; None = none runs
        self.dirty = False  # True = changed since it was last written to disk

    @property
    def version_tuple(self) -> tuple[int, ...]:
        """The version as numbers."""
        return tuple(int(piece) for piece in self.version.split("-")[0].split("."))

    # new records

    def furnish(self) -> None:
        """Add the users and projects of a new sandbox."""
        self.add_user("admin", "admin", admin=True)
        self.add_user("alice", "alice")
        self.add_user("bob", "bob")
        self.add_project("DEMO", roles={"alice": "owner", "bob": "collaborator"})
        self.add_project("MANUAL", prearchive_code=0, roles={"alice": "owner"})
        self.add_project("PRIVATE", roles={})

    def add_user(self, login: str, password: str, *, admin: bool = False) -> User:
        """Add an account."""
        user = User(login=login, password=password, admin=admin)
        self.users[login] = user
        return user

    def add_project(self, name: str, *, prearchive_code: int = 4, roles: Mapping[str, str] | None = None) -> Project:
        """Add a project; `roles` maps login to owner, member or collaborator."""
        project = Project(
            id=name, name=name, prearchive_code=prearchive_code, roles=dict(roles or {}), inserted=self.clock.now()
        )
        self.projects[name] = project
        return project

    def add_subject(self, project: str, label: str, login: str | None = None) -> Subject:
        """Add a subject of this label."""
        subject = Subject(
            id=self.new_subject_id(), label=label, project=project, inserted=self.clock.now(), inserted_by=login or ""
        )
        self.subjects[subject.id] = subject
        return subject

    def add_scp(self, ae_title: str, **settings: Any) -> ScpInstance:
        """Add a DICOM receiver; `settings` are fields of `ScpInstance`."""
        with self.lock:
            number = self.next_number("scp")
            scp = ScpInstance(id=number, ae_title=ae_title, created=self.clock.now(), **settings)
            self.scps.append(scp)
        return scp

    def remove_experiment(self, experiment: Experiment) -> None:
        """Remove a session from the archive, with its files."""
        with self.lock:
            self.experiments.pop(experiment.id, None)
            shutil.rmtree(experiment.directory, ignore_errors=True)
            self.dirty = True

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
