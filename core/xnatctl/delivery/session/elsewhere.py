"""Warns of a study that the project holds under another session label: it would be stored twice (xnat-api 5.6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xnatctl.errors import Interrupted, XnatctlError
from xnatctl.model.refs import Destination
from xnatctl.xnat import listing
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.prearchive import PrearchiveRow

#: Sessions that are named before "and N more".
_NAMED = 3


def warn_of_study_elsewhere(
    client: XnatClient, destination: Destination, study: str, rows: Iterable[PrearchiveRow] = ()
) -> Iterator[str]:
    """A warning for each other session of the project that holds the study, for a session label that is new.

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
    for session in others[:_NAMED]:
        of = f" of subject {session.subject_label}" if session.subject_label else ""
        yield (
            f"Session {session.label}{of} in project {project} already holds this study (Study Instance UID {study}). "
            f"Is {destination.session} the right label? Compare them with: "
            + client.commands.command("session", "list", "-P", project, "--filter", f"uid={study}")
        )
    if len(others) > _NAMED:
        yield f"{len(others) - _NAMED:,} more sessions of project {project} hold this study."
    for row in rows:
        of = f" of subject {row.subject}" if row.subject else ""
        yield (
            f"Session {row.name}{of} in the prearchive of project {project} already holds this study (Study Instance "
            f"UID {study}). Is {destination.session} the right label? Show it with: "
            + client.commands.command("prearchive", "show", *row.ref.triple)
        )
