"""Warns of a study that the project holds under another session label: it would be stored twice (xnat-api 5.6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xnatctl.errors import Interrupted, XnatctlError
from xnatctl.model.refs import Destination
from xnatctl.model.words import listed
from xnatctl.xnat import listing
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.prearchive import PrearchiveRow


def warn_of_study_elsewhere(
    client: XnatClient, destination: Destination, study: str, rows: Iterable[PrearchiveRow] = ()
) -> Iterator[str]:
    """Warnings about other sessions of the project that hold the study, for a session label that is new.

    `rows` are those of the study in the prearchive. Makes one request. A server that cannot answer it gives no warning,
    because the upload does not depend on it. XNAT may change UIDs when it anonymises; such copies are not found.
    """
    project = destination.project
    try:
        sessions = listing.sessions_of_study(client, project, study)
    except Interrupted:
        raise
    except XnatctlError:
        sessions = []
    others = [session for session in sessions if session.label != destination.session]
    if others:
        named = listed([f"{session.label}{_of(session.subject_label)}" for session in others])
        noun, verb = ("Session", "holds") if len(others) == 1 else ("Sessions", "hold")
        yield (
            f"{noun} {named} in project {project} already {verb} this study (Study Instance UID {study}). "
            f"Is {destination.session} the right label? Compare them with: "
            + client.commands.command("session", "list", "-P", project, "--filter", f"uid={study}")
        )
    for row in rows:
        yield (
            f"Session {row.name}{_of(row.subject)} in the prearchive of project {project} already holds this "
            f"study (Study Instance UID {study}). Is {destination.session} the right label? Show it with: "
            + client.commands.command("prearchive", "show", *row.ref.triple)
        )


def _of(subject: str) -> str:
    return f" of subject {subject}" if subject else ""
