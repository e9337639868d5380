"""Compares an existing session in the archive with the one to be archived under its label.

XNAT always refuses a merge into a session of another subject. It refuses a merge into another study only in a commit
without overrides (xnat-import 3.4, checks 5 and 6). So the study is compared here before each commit, and overrides are
used only for a session that is known to be of the same study.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

from xnatctl.model.refs import clean_label
from xnatctl.xnat import listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo


class Objection(StrEnum):
    """The reason why nothing may be added to an existing session."""

    SUBJECT = "subject"
    STUDY = "study"


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveTarget:
    """The session to be archived. `series` are its Series Instance UIDs, empty if not known."""

    project: str  # project ID
    subject: str  # subject label
    session: str  # session label
    study: str  # StudyInstanceUID
    series: Collection[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The result. `same_study` is False if the study is unknown; then `objection` may be None.

    `message` explains the objection in one sentence without its period.
    """

    objection: Objection | None = None
    message: str = ""
    same_study: bool = False


def compare(client: XnatClient, existing: SessionInfo, target: ArchiveTarget) -> Comparison:
    """Compare subject and study.

    A session without a visible subject causes no objection: XNAT always compares the subject itself. A session without
    a Study Instance UID is compared by its series: one common series means the same study, because a series belongs to
    one study. The study stays unknown if either side has no known series, as in an empty, prepared session.
    """
    where = f"Session {existing.label} ({existing.id}) of project {target.project}"
    known = {existing.subject_label.casefold(), existing.subject_id.casefold()}
    if existing.subject_label and target.subject.casefold() not in known:
        return Comparison(
            objection=Objection.SUBJECT,
            message=f"{where} belongs to subject {existing.subject_label}, not to {target.subject}",
        )
    if existing.uid and target.study:
        if existing.uid == target.study:
            return Comparison(same_study=True)
        return Comparison(
            objection=Objection.STUDY, message=f"{where} holds study {existing.uid}, not study {target.study}"
        )
    there = {scan.uid for scan in listing.scans(client, existing.id)} - {""}
    if there.intersection(target.series):
        return Comparison(same_study=True)
    if there and target.series:
        return Comparison(
            objection=Objection.STUDY,
            message=f"{where} has no Study Instance UID and holds different series than study {target.study}",
        )
    return Comparison()


def find_existing(client: XnatClient, target: ArchiveTarget) -> SessionInfo | None:
    """The session that currently has the label."""
    return listing.find_session(client, target.project, target.session)


def free_label(client: XnatClient, target: ArchiveTarget) -> str:
    """The first free label of `LABEL_2`, `LABEL_3`... that XNAT would not change."""
    stem = clean_label(target.session)
    labels = (f"{stem}_{number}" for number in count(2))
    return next(label for label in labels if listing.find_session(client, target.project, label) is None)


def elsewhere(client: XnatClient, target: ArchiveTarget) -> str:
    """A sentence about where the study is under another label; empty if it was not found."""
    rows = prearchive.find_rows(client, target.project, study_uid=target.study) if target.study else []
    if rows:
        return (
            f"The prearchive holds this study as {rows[0].ref} ({rows[0].status}). Show it with: "
            f"{client.commands.command('prearchive', 'show', *rows[0].ref.triple)}"
        )
    sessions = listing.sessions_of_study(client, target.project, target.study) if target.study else []
    for session in sessions:
        if session.label != target.session:
            return (
                f"The archive holds this study as session {session.label} ({session.id}), subject "
                f"{session.subject_label or '(none)'}: it was archived there. Show it with: "
                f"{client.commands.command('session', 'show', session.id)}"
            )
    return ""
