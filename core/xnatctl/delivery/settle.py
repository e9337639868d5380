"""After the last file: make the session what the user asked for, once, and wait until it is (DESIGN 5, "Settling").

Nothing else is sent to the session while it settles: files that arrive while the server archives are accepted with 200
and lost (contract xnat-import 0.4, 4.4). A call whose answer was lost is never repeated blindly: the row and
the experiment are read first.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from xnatctl.delivery.preflight import is_busy
from xnatctl.delivery.retry import Pause
from xnatctl.errors import (
    Interrupted,
    NotArchived,
    NotFound,
    PermissionDenied,
    Refused,
    ServerError,
    Throttled,
    TransportError,
    XnatctlError,
)
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.plan import Overwrite
from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.xnat import archive, direct_archive, listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo

#: Seconds between looks at a row, growing to the second figure.
_POLL = (0.5, 5.0)
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
    try:
        _archive_once(client, ref, subject=subject, session=session, overwrite=overwrite, exists=exists)
    except (TransportError, Throttled) as error:
        _say_lost(tell, error)
    except ServerError as error:
        # 500 covers both a refusal and the server's own time-out, after which the job goes on (6.4).
        if error.status < 500:
            raise _not_archived(client, ref, error.message) from error
        _say_lost(tell, error)
    except PermissionDenied as error:
        # 403 is also "Operation already in progress on this prearchive entry" (6.4).
        row = prearchive.get_row(client, ref)
        if row is not None and not is_busy(row.status):
            raise
        _say_lost(tell, error)
    except NotFound as error:
        # The row is gone: archived by someone else (an idle job, an earlier try), or deleted. Look.
        _say_lost(tell, error)
    _await_row_gone(client, ref, clockwork)
    return _await_session(client, ref.project, session, clockwork)


def _archive_once(
    client: XnatClient, ref: PrearchiveRef, *, subject: str, session: str, overwrite: Overwrite, exists: bool
) -> None:
    """The one call. Strict append is `action=commit`; `services/archive` always replaces what matches (6.4)."""
    if exists and overwrite is Overwrite.APPEND:
        prearchive.commit(client, ref)
        return
    policy = "delete" if exists and overwrite is Overwrite.DELETE else None
    archive.archive_row(client, ref, subject=subject, session=session, overwrite=policy)


def archive_command(ref: PrearchiveRef, subject: str, session: str) -> str:
    """The command that archives a row by hand, quoted for a shell."""
    words = ["xnatctl", "prearchive", "archive", ref.project, ref.timestamp, ref.folder]
    return shlex.join([*words, "--subject", subject, "--label", session])


def build(client: XnatClient, ref: PrearchiveRef, clockwork: Clockwork, emit: Emit) -> None:
    """Have the server read what it received, so that it can be counted; the row becomes READY.

    Raises NotArchived when it does not.
    """
    emit(Event(kind=EventKind.SETTLING, message="the server is reading the session", data={"state": "building"}))
    try:
        prearchive.build(client, ref)
    except (TransportError, ServerError) as error:
        if isinstance(error, ServerError) and error.status < 500 and error.status != 409:
            raise _not_archived(client, ref, error.message) from error
        _say_lost(emit, error)
    polls = clockwork.polls()
    while True:
        row = prearchive.get_row(client, ref)
        if row is None:
            raise _gone(client, ref)
        if row.status == "READY":
            return
        if row.status in ("CONFLICT", "ERROR"):
            raise _not_archived(client, ref, f"the session is {row.status}")
        if row.status == "RECEIVING":
            _build_again(client, ref)
        if not polls():
            raise _not_archived(client, ref, f"the session is still {row.status} after {clockwork.limit:.0f} s")


def _build_again(client: XnatClient, ref: PrearchiveRef) -> None:
    """A file that arrived in the instant before the build puts the row back to RECEIVING (4.4)."""
    try:
        prearchive.build(client, ref)
    except ServerError as error:
        if error.status != 409:  # 409: "session document locked", somebody builds it at this moment
            raise


def finish_direct(
    client: XnatClient, destination: Destination, study: str, clockwork: Clockwork, emit: Emit
) -> SessionInfo | None:
    """End a direct-archive session now and wait until it is archived (contract xnat-import 5).

    None when the server moved it to the prearchive instead; the caller looks there. Raises NotArchived.
    """
    emit(Event(kind=EventKind.SETTLING, message="the server is archiving the session", data={"state": "archiving"}))
    polls = clockwork.polls()
    triggered = False
    while True:
        if not triggered:
            triggered = _trigger(client, destination, study)
        row = direct_archive.get(client, destination.project, study, destination.session)
        if row is None:
            break
        if row.get("status") == "ERROR":
            raise NotArchived(
                f"The server could not archive session {destination.session}: "
                f"{row.get('message') or 'no reason given'}.",
                hint="Ask the administrator for the server's log; the data are on the server.",
            )
        if not polls():
            raise NotArchived(
                f"Session {destination.session} is still {row.get('status')} after {clockwork.limit:.0f} s.",
                hint="The server goes on by itself; look again with xnatctl session list.",
            )
    # 404 means finished, moved to the prearchive, or never there (5): the session itself decides.
    for _ in range(4):
        found = listing.find_session(client, destination.project, destination.session)
        if found is not None:
            return found
        if prearchive.find_rows(client, destination.project, label=destination.session, study_uid=study):
            return None
        clockwork.pause.wait(0.5)
    return None


def _trigger(client: XnatClient, destination: Destination, study: str) -> bool:
    """Ask for the archiving; False when a file lock said "still receiving" and it must be asked again."""
    try:
        direct_archive.trigger(client, destination.project, study, destination.session)
    except TransportError:
        return True  # the answer was lost; the row tells
    except ServerError:
        return False
    return True


def leftovers(client: XnatClient, destination: Destination, study: str) -> tuple[PrearchiveRef, ...]:
    """Prearchive rows that hold part of this session after a direct archive."""
    rows = prearchive.find_rows(client, destination.project, label=destination.session, study_uid=study)
    return tuple(row.ref for row in rows)


def _await_row_gone(client: XnatClient, ref: PrearchiveRef, clockwork: Clockwork) -> None:
    """Wait until the row has left the prearchive. Raises NotArchived when it stays."""
    polls = clockwork.polls()
    idle = 0
    while True:
        row = prearchive.get_row(client, ref)
        if row is None:
            return
        if row.status in ("CONFLICT", "ERROR"):
            raise _not_archived(client, ref, f"the session is {row.status}")
        # READY after the one call: the call had no effect. A few looks, because the queue may lag behind.
        idle = 0 if is_busy(row.status) else idle + 1
        if idle > 5:
            raise _not_archived(client, ref, f"the session stays {row.status}")
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
        hint="It may have been deleted or moved; look with xnatctl session list and xnatctl prearchive list.",
    )


def _gone(client: XnatClient, ref: PrearchiveRef) -> NotArchived:
    return NotArchived(
        f"The session {ref.folder} is no longer in the prearchive of {client.server}: "
        "somebody archived, moved or deleted it while it was being uploaded.",
        hint="Look with xnatctl session list and xnatctl prearchive list, then run the command again.",
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
        hint=f"Look at it with: xnatctl prearchive show {ref.project} {ref.timestamp} {ref.folder}",
    )


def _silent(event: Event) -> None:
    """For callers that do not want to be told."""


def _say_lost(emit: Emit, error: XnatctlError) -> None:
    message = f"no clear answer ({error.message}); watching the session instead"
    emit(Event(kind=EventKind.SETTLING, message=message, data={"state": "waiting"}))
