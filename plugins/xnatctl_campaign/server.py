"""What the server says about the projects of a campaign: each is listed once, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from xnatctl.api import PermissionDenied, UsageError
from xnatctl.api.xnat import (
    PrearchiveRow,
    SessionInfo,
    XnatClient,
    list_prearchive_rows,
    list_sessions,
    list_subjects,
    project_access,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project as far as the rows of a campaign need it.

    `sessions` are by label and by accession ID, `by_study` by StudyInstanceUID. `cases` are the labels of sessions in
    lower case. `waiting` are the sessions in the prearchive, by StudyInstanceUID.
    """

    id: str
    exists: bool = True
    writable: bool = True
    sessions: Mapping[str, SessionInfo] = field(default_factory=dict)
    by_study: Mapping[str, list[SessionInfo]] = field(default_factory=dict)
    cases: Mapping[str, str] = field(default_factory=dict)
    subjects: frozenset[str] = frozenset()
    waiting: Mapping[str, list[PrearchiveRow]] = field(default_factory=dict)

    def session(self, name: str) -> SessionInfo | None:
        """The session with this label or accession ID."""
        return self.sessions.get(name)

    def has_subject(self, name: str) -> bool:
        """Whether there is a subject with this label or accession ID."""
        return name.casefold() in self.subjects


def find_project(client: XnatClient, name: str) -> Project:
    """The real ID of a project, and whether this user may write to it."""
    try:
        access = project_access(client, name)
    except UsageError:  # no URL can address a project of this name
        return Project(id=name, exists=False, writable=False)
    return Project(id=access.id, exists=access.exists, writable=access.writable)


def read_project(
    client: XnatClient,
    project: Project,
    *,
    labels: Collection[str],
    subjects: Collection[str],
    studies: Collection[str],
) -> Project:
    """The project with those of its sessions and subjects that have one of these names or studies.

    Subjects are listed only if `subjects` names some.
    """
    folded, wanted = {label.casefold() for label in labels}, {subject.casefold() for subject in subjects}
    sessions: dict[str, SessionInfo] = {}
    by_study: dict[str, list[SessionInfo]] = {}
    cases: dict[str, str] = {}
    for session in list_sessions(client, project.id):
        if session.label.casefold() in folded:
            sessions[session.label] = session
            cases[session.label.casefold()] = session.label
        if session.id in labels:
            sessions[session.id] = session
        if session.uid in studies:
            by_study.setdefault(session.uid, []).append(session)
    listed = list_subjects(client, project.id) if wanted else []
    known = (name.casefold() for subject in listed for name in (subject.label, subject.id))
    return Project(
        id=project.id,
        exists=project.exists,
        writable=project.writable,
        sessions=sessions,
        by_study=by_study,
        cases=cases,
        subjects=frozenset(name for name in known if name in wanted),
        waiting=_waiting(client, project.id, studies),
    )


def _waiting(client: XnatClient, project: str, studies: Collection[str]) -> dict[str, list[PrearchiveRow]]:
    waiting: dict[str, list[PrearchiveRow]] = {}
    try:
        rows = list_prearchive_rows(client, project, lambda row: row.tag in studies)
    except PermissionDenied:
        return {}
    for row in rows:
        waiting.setdefault(row.tag, []).append(row)
    return waiting
