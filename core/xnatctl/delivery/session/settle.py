"""Settling: builds a prearchive session, or finishes a direct archive.

`commit` archives a prearchive session. Nothing is sent to a session while it settles: files that arrive while the
server archives are accepted with 200 and lost (xnat-import 0.4, 4.4).
"""

from __future__ import annotations

from xnatctl.delivery.schedule import PollSchedule
from xnatctl.delivery.session.existing import ArchiveTarget, compare, elsewhere, find_existing
from xnatctl.errors import ConnectionFailed, NotArchived, NotFound, ServerError, XnatctlError
from xnatctl.model.commands import Commands
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.plan import Overwrite
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.words import human_duration
from xnatctl.xnat import direct_archive, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo


def archive_command(
    commands: Commands, ref: PrearchiveRef, subject: str, session: str, overwrite: Overwrite = Overwrite.NONE
) -> str:
    """The command that archives a row manually; `overwrite` is the policy for an existing session."""
    words = ["--overwrite", str(overwrite)] if overwrite is not Overwrite.NONE else []
    return commands.command("prearchive", "archive", *ref.triple, "--subject", subject, "--label", session, *words)


def build(client: XnatClient, ref: PrearchiveRef, schedule: PollSchedule, emit: Emit) -> None:
    """Make the server build the session, so that its files can be counted; the row becomes READY.

    Raises NotArchived when it does not.
    """
    emit(Event(kind=EventKind.SETTLING, message="the server is reading the session", data={"state": "building"}))
    _ask_to_build(client, ref, schedule, emit)
    polls = schedule.polls()
    while True:
        row = prearchive.get_row(client, ref)
        if row is None:
            raise gone(client, ref)
        if row.status == "READY":
            return
        if row.status in ("CONFLICT", "ERROR"):
            raise not_archived(client, ref, f"the session is {row.status}", stuck=True)
        if not polls():
            raise not_archived(client, ref, f"the session is still {row.status} after {human_duration(schedule.limit)}")
        if row.status == "RECEIVING":
            # The call did not arrive, or a file arrived just before the build (4.4).
            _ask_to_build(client, ref, schedule, silent)


def _ask_to_build(client: XnatClient, ref: PrearchiveRef, schedule: PollSchedule, emit: Emit) -> None:
    """Make the call once; the row shows the result. Raises the error of a refusal."""
    try:
        prearchive.build(client, ref, timeout=schedule.call_timeout)
    except (ConnectionFailed, NotFound, ServerError) as error:
        # 409: "session document locked", another build is running. 404: the row was removed.
        if isinstance(error, ServerError) and error.status < 500 and error.status not in (409, 429):
            raise not_archived(client, ref, error.message) from error
        say_lost(emit, error)


def finish_direct(client: XnatClient, target: ArchiveTarget, schedule: PollSchedule, emit: Emit) -> SessionInfo | None:
    """Finish a direct archive now and wait until it is archived (xnat-import 5).

    None if the server moved it to the prearchive, where the caller looks. Raises NotArchived, also if another session
    has the label and the data cannot be found.
    """
    emit(Event(kind=EventKind.SETTLING, message="the server is archiving the session", data={"state": "archiving"}))
    project, study, session = target.project, target.study, target.session
    polls = schedule.polls()
    asked = _trigger(client, target, schedule, emit)
    row = direct_archive.get(client, project, study, session)
    while row is not None:
        if row.get("status") == "ERROR":
            raise NotArchived(
                f"The server could not archive session {session}: "
                f"{client.clean(str(row.get('message') or 'no reason given'))}.",
                hint="Ask the administrator for the server's log; the data are on the server.",
            )
        if not polls():
            raise NotArchived(
                f"Session {session} is still {row.get('status')} after {human_duration(schedule.limit)}.",
                hint="The server continues by itself; check again with: "
                f"{client.commands.command('session', 'list', '-P', project)}",
            )
        row = direct_archive.get(client, project, study, session)
        if not asked and row is not None and row.get("status") == "RECEIVING":
            asked = _trigger(client, target, schedule, silent)  # its status shows that the call did not arrive
    # 404 means finished, moved to the prearchive, or never there (5): the session itself decides.
    mismatch = ""
    for _ in range(4):
        found = find_existing(client, target)
        against = compare(client, found, target) if found is not None else None
        if against is not None and against.objection is None:
            return found
        mismatch = against.message if against is not None else ""
        if leftovers(client, target):
            return None
        schedule.stop.wait(0.5)
    if not mismatch:
        return None
    raise NotArchived(
        f"{mismatch}. The uploaded data are not there: another upload has taken the label, or the site's "
        "anonymisation changed the Study Instance UID.",
        hint=elsewhere(client, target)
        or f"Ask the administrator for the server's log. Check with: {looks(client, project)}",
    )


def _trigger(client: XnatClient, target: ArchiveTarget, schedule: PollSchedule, emit: Emit) -> bool:
    """Request archiving; returns False if the call may not have arrived or a lock reported "still receiving"."""
    try:
        direct_archive.trigger(client, target.project, target.study, target.session, timeout=schedule.call_timeout)
    except (ConnectionFailed, ServerError) as error:
        say_lost(emit, error)
        return False
    return True


def leftovers(client: XnatClient, target: ArchiveTarget) -> tuple[PrearchiveRef, ...]:
    """Prearchive rows that hold part of this session after a direct archive."""
    rows = prearchive.find_rows(client, target.project, label=target.session, study_uid=target.study)
    return tuple(row.ref for row in rows)


def uncounted(client: XnatClient, ref: PrearchiveRef) -> NotArchived:
    """The error for a built session whose files the server does not list: it is gone or receives files again."""
    row = prearchive.get_row(client, ref)
    if row is None:
        return gone(client, ref)
    return NotArchived(
        f"{ref.folder} was received, but the server does not list its files, so they cannot be counted: the session is "
        f"{row.status}.",
        hint="Run the command again. Before that, check with: "
        f"{client.commands.command('prearchive', 'show', *ref.triple)}",
    )


def gone(client: XnatClient, ref: PrearchiveRef) -> NotArchived:
    """The error for a row that left the prearchive while it was being settled."""
    return NotArchived(
        f"The session {ref.folder} is no longer in the prearchive of {client.server}: it was archived, moved or "
        "deleted during the upload.",
        hint=f"Run the command again. Before that, check with: {looks(client, ref.project)}",
    )


def not_archived(client: XnatClient, ref: PrearchiveRef, what: str, *, stuck: bool = False) -> NotArchived:
    """The error for a session that was not archived, with the reason from the server's log (6.2: `/logs/last`).

    `stuck`: a retry would fail alike.
    """
    try:
        reason = prearchive.last_log(client, ref)
    except XnatctlError:
        reason = None
    server_text = f" The server says: {reason}" if reason else ""
    look = client.commands.command("prearchive", "show", *ref.triple)
    return NotArchived(
        f"{ref.folder} was received but is not archived: {what}.{server_text}",
        hint=("Fix the cause and run the same command again. " if stuck else "") + f"Show it with: {look}",
        commands=(look,) if stuck else None,
    )


def looks(client: XnatClient, project: str) -> str:
    """The commands that show where a session may be."""
    command = client.commands.command
    return f"{command('session', 'list', '-P', project)} and {command('prearchive', 'list', '-P', project)}"


def silent(event: Event) -> None:
    """The default `emit`: ignores events."""


def say_lost(emit: Emit, error: XnatctlError) -> None:
    """Emit that a call got no clear answer."""
    message = f"no clear answer ({error.message}); watching the session instead"
    emit(Event(kind=EventKind.SETTLING, message=message, data={"state": "waiting"}))
