"""Finds the parents of resources: resolves labels to accession IDs (xnat-api 0.4, 2.4)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from xnatctl.api import (
    Destination,
    NotFound,
    PermissionDenied,
    Refused,
    ResourceLevel,
    ResourceRef,
    UploadPlan,
    UsageError,
)
from xnatctl.api.xnat import (
    ProjectAccess,
    SessionInfo,
    SubjectInfo,
    XnatClient,
    find_prearchive_rows,
    find_session,
    list_scans,
    list_subjects,
    project_access,
    scan_names,
)
from xnatctl_resource.rest import ResourceParent, project_parent, session_parent, subject_parent

_ON_SESSION = frozenset({ResourceLevel.SESSION, ResourceLevel.SCAN})


def locate(client: XnatClient, plan: UploadPlan) -> tuple[UploadPlan, SessionInfo | None]:
    """The plan with the destination as the server names it, and the session, if any.

    Different names of one place give the same plan and journal. Raises NotFound, PermissionDenied (a read-only
    project), UsageError (a plan without a parent of its resources).
    """
    levels = {stage.resource.level for stage in plan.stages if stage.resource is not None}
    destination, session, access = _resolve(client, plan.destination, levels)
    if not access.writable:
        raise PermissionDenied(
            f"{client.login_name} may read project {destination.project} but not write to it.",
            hint="Ask the project's owner for the member role. Nothing was sent.",
        )
    return replace(plan, destination=destination), session


def resolve_destination(client: XnatClient, destination: Destination, levels: Collection[ResourceLevel]) -> Destination:
    """The destination as the server names it, for resources of these levels.

    A session may be named by its accession ID, or by its label in the project. Raises NotFound, UsageError.
    """
    return _resolve(client, destination, levels)[0]


def _resolve(
    client: XnatClient, destination: Destination, levels: Collection[ResourceLevel]
) -> tuple[Destination, SessionInfo | None, ProjectAccess]:
    session = None
    if _ON_SESSION.isdisjoint(levels) and not destination.project:
        raise UsageError("A resource of a project or a subject needs -P PROJECT.")
    if not _ON_SESSION.isdisjoint(levels):
        session = require_session(client, destination.project, destination.session)
        own = not destination.project or session.project == destination.project
        destination = replace(
            destination,
            project=session.project if own else destination.project,
            subject=session.subject_label or destination.subject,
            session=session.label if own else destination.session,
        )
    access = project_access(client, destination.project)
    if not access.exists:
        raise _no_project(client, destination.project)
    destination = replace(destination, project=access.id)
    if ResourceLevel.SUBJECT in levels:
        destination = replace(destination, subject=_subject(client, destination).label)
    return destination, session, access


def find_parent(
    client: XnatClient, destination: Destination, ref: ResourceRef, session: SessionInfo | None = None
) -> ResourceParent:
    """The parent of a resource; `session` is that of the destination, if known. Raises NotFound."""
    if ref.level is ResourceLevel.PROJECT:
        return project_parent(destination.project)
    if ref.level is ResourceLevel.SUBJECT:
        subject = _subject(client, destination)
        return subject_parent(subject.id, subject.label, destination.project)
    session = session or require_session(client, destination.project, destination.session)
    name = _scan_name(client, session, ref.scan) if ref.level is ResourceLevel.SCAN else ""
    return session_parent(session.id, session.label, session.project, ref.scan, name)


def require_session(client: XnatClient, project: str, name: str) -> SessionInfo:
    """A session by accession ID, or by label in a project. Raises NotFound with where else to look."""
    found = find_session(client, project or None, name)
    if found is not None:
        return found
    if not project:
        raise NotFound(
            f"There is no session with the accession ID {name}, or you may not see it.",
            hint="A label is looked up in a project: add -P PROJECT.",
        )
    if not project_access(client, project).exists:
        raise _no_project(client, project)
    try:
        waits = find_prearchive_rows(client, project, label=name)
    except PermissionDenied:
        waits = []
    raise NotFound(
        f"Project {project} has no session {name} in its archive.",
        hint="It is in the prearchive, where resources cannot be attached: "
        + client.commands.command("prearchive", "list", "-P", project)
        if waits
        else "See what is there: " + client.commands.command("session", "list", "-P", project),
    )


def _scan_name(client: XnatClient, session: SessionInfo, scan: str) -> str:
    """The name of a scan in a URL. Raises NotFound, Refused.

    XNAT would treat an unknown scan as a scan type (xnat-api 2.4, 2.5).
    """
    names = scan_names(list_scans(client, session.id))
    if scan not in names:
        raise NotFound(
            f"Session {session.label} ({session.id}) has no scan {scan}.",
            hint=f"Its scans are: {', '.join(names)}." if names else "It has no scans at all.",
        )
    if (name := names[scan]) is None:
        raise Refused(
            f"No URL can address scan {scan} of session {session.label} ({session.id}): neither its ID nor its type.",
            hint="Give the scan a type in XNAT that no other scan of the session has, or attach to the session itself.",
        )
    return name


def _subject(client: XnatClient, destination: Destination) -> SubjectInfo:
    known = list_subjects(client, destination.project, destination.subject)
    by_label = [subject for subject in known if subject.label == destination.subject]
    found = by_label or [subject for subject in known if subject.id == destination.subject]
    if not found:
        raise NotFound(
            f"Project {destination.project} has no subject {destination.subject}.",
            hint="A subject is created with its first session: xnatctl session upload.",
        )
    return found[0]


def _no_project(client: XnatClient, project: str) -> NotFound:
    return NotFound(
        f"{client.server} has no project {project}, or {client.login_name} may not see it.",
        hint="Check the project ID (it is case-sensitive), or ask its owner to add you.",
    )
