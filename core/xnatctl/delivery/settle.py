"""After the last file: make the session what the user asked for, once, and wait until it is (DESIGN 5, "Settling").

Nothing else is sent to the session while it settles: files that arrive while the server archives are accepted with 200
and lost (contract xnat-import 0.4, 4.4). A call whose answer was lost is never repeated blindly: the row and
the experiment are read first, and only where they show that the call did not arrive is it made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xnatctl.delivery.preflight import is_busy
from xnatctl.delivery.retry import Pause
from xnatctl.errors import (
    ConnectionFailed,
    Interrupted,
    NotArchived,
    NotFound,
    PermissionDenied,
    Refused,
    ServerError,
    Throttled,
    XnatctlError,
)
from xnatctl.model.commands import command
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.plan import Overwrite
from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.xnat import archive, direct_archive, listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo
from xnatctl.xnat.replies import tidy

#: Seconds between looks at a row, growing to the second figure.
_POLL = (0.2, 5.0)
#: A row at rest is looked at so often before the one call counts as not arrived: the server's queue may lag behind.
_LOOKS = 8
#: How often the one call is made at most.
_CALLS = 3
#: The longest Retry-After that is obeyed, in seconds.
_LONGEST_PAUSE = 300.0
#: Said by a proxy that lost the server behind it, or never reached it.
_BY_PROXIES = frozenset({502, 504})
#: How long a session may take to settle, in seconds; the server's own limit for one archiving is 600 (6.4).
WAIT = 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Clockwork:
    """How settling waits: `pause` is cut short by an interrupt, `limit` is in seconds."""

    pause: Pause
    limit: float = WAIT

    def polls(self) -> Callable[[], bool]:
        """A function that waits before the next look; False when the limit is reached. Raises Interrupted."""
        deadline = self.pause.now() + self.limit
        interval = _POLL[0]

        def wait() -> bool:
            nonlocal interval
            left = deadline - self.pause.now()
            if left <= 0:
                return False
            if not self.pause.wait(min(interval, left)):
                raise Interrupted("Interrupted while the server was archiving; it goes on by itself.")
            interval = min(interval * 1.5, _POLL[1])
            return True

        return wait


def commit_row(
    client: XnatClient,
    ref: PrearchiveRef,
    *,
    subject: str,
    session: str,
    overwrite: Overwrite,
    exists: bool,
    wait: float = WAIT,
    emit: Emit | None = None,
    pause: Pause | None = None,
) -> SessionInfo:
    """Archive one prearchive session by the overwrite policy, once, and wait until it is archived.

    `exists` says whether the archive holds a session of that label already. Raises Refused when the policy
    forbids it, NotArchived when the server refuses (with the reason from its log) or does not finish in `wait` seconds.
    """
    clockwork = Clockwork(pause=pause or Pause(), limit=wait)
    tell = emit or _silent
    if exists and overwrite is Overwrite.NONE:
        raise Refused(
            f"Session {session} exists already in project {ref.project}, and --overwrite none leaves it alone.",
            hint="Choose another label, or --overwrite append to add to it.",
        )
    tell(Event(kind=EventKind.SETTLING, message=f"archiving as {session}", data={"state": "archiving"}))
    for call in range(1, _CALLS + 1):
        answered = _archive_once(client, ref, subject, session, overwrite, clockwork, exists=exists, tell=tell)
        if _await_row_gone(client, ref, clockwork, final=answered or call == _CALLS):
            break
        message = "the row shows that the call did not arrive; making it again"
        tell(Event(kind=EventKind.SETTLING, message=message, data={"state": "archiving"}))
    return _await_session(client, ref.project, session, clockwork)


def _archive_once(
    client: XnatClient,
    ref: PrearchiveRef,
    subject: str,
    session: str,
    overwrite: Overwrite,
    clockwork: Clockwork,
    *,
    exists: bool,
    tell: Emit,
) -> bool:
    """The one call; True when it was answered, False when it may not have arrived. Raises what is a refusal."""
    try:
        _archive(client, ref, subject=subject, session=session, overwrite=overwrite, exists=exists)
    except (ConnectionFailed, Throttled) as error:
        _say_lost(tell, error)
        if isinstance(error, Throttled) and error.retry_after is not None:
            clockwork.pause.wait(min(max(error.retry_after, 0.0), _LONGEST_PAUSE))
        return False
    except ServerError as error:
        # 500 covers both a refusal and the server's own time-out, after which the job goes on (6.4).
        if error.status < 500:
            raise _not_archived(client, ref, error.message) from error
        _say_lost(tell, error)
        return error.status not in _BY_PROXIES
    except PermissionDenied as error:
        # 403 is also "Operation already in progress on this prearchive entry" (6.4).
        row = prearchive.get_row(client, ref)
        if row is not None and not is_busy(row.status):
            raise
        _say_lost(tell, error)
    except NotFound as error:
        # The row is gone: archived by someone else (an idle job, an earlier try), or deleted. Look.
        _say_lost(tell, error)
    return True


def _archive(
    client: XnatClient, ref: PrearchiveRef, *, subject: str, session: str, overwrite: Overwrite, exists: bool
) -> None:
    """Strict append is `action=commit`; `services/archive` always replaces what matches (6.4)."""
    if exists and overwrite is Overwrite.APPEND:
        prearchive.commit(client, ref)
        return
    policy = "delete" if exists and overwrite is Overwrite.DELETE else None
    archive.archive_row(client, ref, subject=subject, session=session, overwrite=policy)


def archive_command(ref: PrearchiveRef, subject: str, session: str) -> str:
    """The command that archives a row by hand."""
    return command("prearchive", "archive", *ref.triple, "--subject", subject, "--label", session)


def build(client: XnatClient, ref: PrearchiveRef, clockwork: Clockwork, emit: Emit) -> None:
    """Have the server read what it received, so that it can be counted; the row becomes READY.

    Raises NotArchived when it does not.
    """
    emit(Event(kind=EventKind.SETTLING, message="the server is reading the session", data={"state": "building"}))
    _ask_to_build(client, ref, emit)
    polls = clockwork.polls()
    while True:
        row = prearchive.get_row(client, ref)
        if row is None:
            raise _gone(client, ref)
        if row.status == "READY":
            return
        if row.status in ("CONFLICT", "ERROR"):
            raise _not_archived(client, ref, f"the session is {row.status}")
        if not polls():
            raise _not_archived(client, ref, f"the session is still {row.status} after {clockwork.limit:.0f} s")
        if row.status == "RECEIVING":
            # The call did not arrive, or a file did in the instant before the build (4.4).
            _ask_to_build(client, ref, _silent)


def _ask_to_build(client: XnatClient, ref: PrearchiveRef, emit: Emit) -> None:
    """Ask once; whatever became of it, the row tells. Raises what is a refusal."""
    try:
        prearchive.build(client, ref)
    except (ConnectionFailed, ServerError) as error:
        # 409: "session document locked", somebody builds it at this moment.
        if isinstance(error, ServerError) and error.status < 500 and error.status not in (409, 429):
            raise _not_archived(client, ref, error.message) from error
        _say_lost(emit, error)


def finish_direct(
    client: XnatClient, destination: Destination, study: str, clockwork: Clockwork, emit: Emit
) -> SessionInfo | None:
    """End a direct-archive session now and wait until it is archived (contract xnat-import 5).

    None when the server moved it to the prearchive instead; the caller looks there. Raises NotArchived.
    """
    emit(Event(kind=EventKind.SETTLING, message="the server is archiving the session", data={"state": "archiving"}))
    polls = clockwork.polls()
    asked = _trigger(client, destination, study, emit)
    row = direct_archive.get(client, destination.project, study, destination.session)
    while row is not None:
        if row.get("status") == "ERROR":
            raise NotArchived(
                f"The server could not archive session {destination.session}: "
                f"{client.discreet(tidy(str(row.get('message') or 'no reason given')))}.",
                hint="Ask the administrator for the server's log; the data are on the server.",
            )
        if not polls():
            raise NotArchived(
                f"Session {destination.session} is still {row.get('status')} after {clockwork.limit:.0f} s.",
                hint="The server goes on by itself; look again with: "
                f"{command('session', 'list', '-P', destination.project)}",
            )
        row = direct_archive.get(client, destination.project, study, destination.session)
        if not asked and row is not None and row.get("status") == "RECEIVING":
            asked = _trigger(client, destination, study, _silent)  # it says itself that nobody has asked yet
    # 404 means finished, moved to the prearchive, or never there (5): the session itself decides.
    for _ in range(4):
        found = listing.find_session(client, destination.project, destination.session)
        if found is not None:
            return found
        if prearchive.find_rows(client, destination.project, label=destination.session, study_uid=study):
            return None
        clockwork.pause.wait(0.5)
    return None


def _trigger(client: XnatClient, destination: Destination, study: str, emit: Emit) -> bool:
    """Ask for the archiving; False when that may not have arrived, or a file lock said "still receiving"."""
    try:
        direct_archive.trigger(client, destination.project, study, destination.session)
    except (ConnectionFailed, ServerError) as error:
        _say_lost(emit, error)
        return False
    return True


def leftovers(client: XnatClient, destination: Destination, study: str) -> tuple[PrearchiveRef, ...]:
    """Prearchive rows that hold part of this session after a direct archive."""
    rows = prearchive.find_rows(client, destination.project, label=destination.session, study_uid=study)
    return tuple(row.ref for row in rows)


def _await_row_gone(client: XnatClient, ref: PrearchiveRef, clockwork: Clockwork, *, final: bool) -> bool:
    """Wait until the row has left the prearchive; True when it has.

    False when it stays at rest, so that the call for it did not arrive; NotArchived instead where the caller is not
    going to make it again (`final`).
    """
    polls = clockwork.polls()
    idle = 0
    while True:
        row = prearchive.get_row(client, ref)
        if row is None:
            return True
        if row.status in ("CONFLICT", "ERROR"):
            raise _not_archived(client, ref, f"the session is {row.status}")
        idle = 0 if is_busy(row.status) else idle + 1
        if idle >= _LOOKS:
            if final:
                raise _not_archived(client, ref, f"the session stays {row.status}")
            return False
        if not polls():
            raise _not_archived(client, ref, f"the session is still {row.status} after {clockwork.limit:.0f} s")


def _await_session(client: XnatClient, project: str, session: str, clockwork: Clockwork) -> SessionInfo:
    """The archived session; a few looks, because a listing may lag behind the archiving."""
    for _ in range(6):
        found = listing.find_session(client, project, session)
        if found is not None:
            return found
        clockwork.pause.wait(0.5)
    raise NotArchived(
        f"The session left the prearchive, but project {project} has no session {session}.",
        hint=f"It may have been deleted or moved. Look with: {looks(project)}",
    )


def _gone(client: XnatClient, ref: PrearchiveRef) -> NotArchived:
    return NotArchived(
        f"The session {ref.folder} is no longer in the prearchive of {client.server}: "
        "somebody archived, moved or deleted it while it was being uploaded.",
        hint=f"Run the command again. Look before with: {looks(ref.project)}",
    )


def _not_archived(client: XnatClient, ref: PrearchiveRef, what: str) -> NotArchived:
    """With the reason from the server's own log (6.2: `/logs/last` is where it is)."""
    try:
        reason = prearchive.last_log(client, ref)
    except XnatctlError:
        reason = None
    said = f" The server says: {reason}" if reason else ""
    return NotArchived(
        f"{ref.folder} was received but is not archived: {what}.{said}",
        hint=f"Look at it with: {command('prearchive', 'show', *ref.triple)}",
    )


def looks(project: str) -> str:
    """The commands that show where a session may be."""
    return f"{command('session', 'list', '-P', project)} and {command('prearchive', 'list', '-P', project)}"


def _silent(event: Event) -> None:
    """For callers that do not want to be told."""


def _say_lost(emit: Emit, error: XnatctlError) -> None:
    message = f"no clear answer ({error.message}); watching the session instead"
    emit(Event(kind=EventKind.SETTLING, message=message, data={"state": "waiting"}))
