"""Clashes with what the server holds already."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping

from xnatctl.api import Overwrite, clean_label
from xnatctl.api.xnat import SessionInfo, XnatClient, find_session
from xnatctl_campaign.codes import Code
from xnatctl_campaign.facts import Facts
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.server import Project

#: The format of accession IDs: `XNAT_E00012`.
_ACCESSION_ID = re.compile(r"_E\d+\Z")


def check_accession_id(client: XnatClient, facts: Facts, project: Project) -> Iterator[Finding]:
    """Yield a finding for a new label that is the accession ID of a session, because XNAT looks up IDs first.

    Only labels that look like an ID are looked up.
    """
    label = facts.row.session
    if project.session(label) is not None or clean_label(label) != label or not _ACCESSION_ID.search(label):
        return
    if (other := find_session(client, None, label)) is not None:
        yield facts.finding(
            Code.LABEL_IS_ID,
            f"{label} is the accession ID of session {other.label} in project {other.project}.",
            hint="Choose another session label.",
        )


def check_project(facts: Facts, project: Project, server: str, user: str) -> Iterator[Finding]:
    """Yield a finding for a project that does not exist or is read-only for this user."""
    if not project.exists:
        yield facts.finding(
            Code.PROJECT_MISSING,
            f"{server} has no project {facts.row.project}, or {user} may not see it.",
            hint="Check the project ID (it is case-sensitive), or ask its owner to add you.",
        )
    elif not project.writable:
        yield facts.finding(
            Code.PROJECT_READ_ONLY,
            f"{user} may read project {project.id} but not upload to it.",
            hint="Ask the project's owner for the member role.",
        )


def check_session(facts: Facts, project: Project, overwrite: Overwrite) -> Iterator[Finding]:
    """Yield the clashes of a row that makes a session with the sessions of the project and with its prearchive."""
    existing = project.session(facts.row.session)
    if existing is not None:
        yield from _existing(facts, existing, overwrite)
    elif (other := project.cases.get(facts.row.session.casefold())) is not None:
        yield facts.finding(
            Code.SESSION_CASE,
            f"Project {project.id} has session {other}, which differs from {facts.row.session} in case only.",
            hint="Check the label; a new session is made.",
            blocks=False,
        )
    yield from _elsewhere(facts, project, existing)
    yield from _waiting(facts, project)


def check_parent(
    facts: Facts, project: Project, makers: Mapping[tuple[str, str], int], blocked: Container[int]
) -> Iterator[Finding]:
    """Yield what prevents that a row attaches a resource to its session.

    `makers` are the rows that make sessions, by project and label in lower case; rows of `blocked` will not make them.
    """
    row = facts.row
    existing = project.session(row.session)
    if existing is not None:
        yield from _subject(facts, existing)
    elif (maker := makers.get((facts.project.casefold(), row.session.casefold()))) in blocked:
        yield facts.finding(
            Code.SESSION_MISSING,
            f"Project {project.id} has no session {row.session}, and row {maker}, which makes it, has errors.",
            hint=f"Correct row {maker}.",
        )
    elif maker is not None:
        yield facts.finding(
            Code.SESSION_LATER,
            f"Session {row.session} of project {project.id} does not exist yet: row {maker} makes it.",
            hint="campaign run delivers rows of kind resource last. In another shard than that row, this one may be "
            "tried too early and fail; campaign retry tries it again.",
            blocks=False,
        )
    else:
        yield facts.finding(
            Code.SESSION_MISSING,
            f"Project {project.id} has no session {row.session}, and no row makes it.",
            hint="Correct the session, or add a row that uploads it.",
        )


def _subject(facts: Facts, existing: SessionInfo) -> Iterator[Finding]:
    """A session without a visible subject causes no finding; XNAT compares the subject itself."""
    known = {existing.subject_label.casefold(), existing.subject_id.casefold()}
    if existing.subject_label and facts.row.subject.casefold() not in known:
        yield facts.finding(
            Code.SESSION_OTHER_SUBJECT,
            f"{_name(existing)} belongs to subject {existing.subject_label}, not to {facts.row.subject}.",
            hint=f"Use subject {existing.subject_label}, or choose another session label.",
        )


def _existing(facts: Facts, existing: SessionInfo, overwrite: Overwrite) -> Iterator[Finding]:
    yield from _subject(facts, existing)
    if existing.uid and facts.study and existing.uid != facts.study:
        yield facts.finding(
            Code.SESSION_OTHER_STUDY,
            f"{_name(existing)} holds study {existing.uid}, not study {facts.study}.",
            hint="One session holds one study: choose another session label.",
        )
    elif overwrite is Overwrite.NONE:
        yield facts.finding(
            Code.SESSION_EXISTS,
            f"{_name(existing)} exists already, and overwrite is none.",
            hint="Give the row an ignore_reason, or set overwrite to append or delete.",
        )
    else:
        what = "is missing or differs" if overwrite is Overwrite.DELETE else "is missing"
        yield facts.finding(
            Code.SESSION_THERE,
            f"{_name(existing)} exists already: the campaign compares it with the disk and sends what {what}.",
            blocks=False,
        )


def _elsewhere(facts: Facts, project: Project, existing: SessionInfo | None) -> Iterator[Finding]:
    """The study is in the project under another label: it would be stored twice."""
    others = [found for found in project.by_study.get(facts.study, ()) if existing is None or found.id != existing.id]
    if not facts.study or not others:
        return
    there = existing is not None and existing.uid == facts.study
    first = others[0]
    yield facts.finding(
        Code.STUDY_ELSEWHERE,
        f"Project {project.id} holds study {facts.study} already, as session {first.label} ({first.id})"
        + (f" of subject {first.subject_label}." if first.subject_label else "."),
        hint="It is a duplicate on the server."
        if there
        else f"Use session {first.label} to compare or complete it, or give the row an ignore_reason.",
        blocks=not there,
    )


def _waiting(facts: Facts, project: Project) -> Iterator[Finding]:
    """XNAT adds files to a prearchive session of the same study and label (xnat-import 4.2)."""
    for waiting in project.waiting.get(facts.study, ()):
        same = waiting.name == facts.row.session
        other = bool(waiting.subject) and waiting.subject.casefold() != facts.row.subject.casefold()
        yield facts.finding(
            Code.STUDY_WAITING,
            f"Study {facts.study} waits in the prearchive of project {project.id} as session {waiting.name}"
            f"{f' of subject {waiting.subject}' if waiting.subject else ''} ({waiting.timestamp}, {waiting.status}).",
            hint="Archive or delete it first."
            if same and other
            else "The upload adds the other files to it."
            if same
            else "Archive or delete it, or it may be archived a second time.",
            blocks=same and other,
        )


def _name(session: SessionInfo) -> str:
    return f"Session {session.label} ({session.id}) of project {session.project}"
