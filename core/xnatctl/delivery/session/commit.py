"""Archive one prearchive session: the one call that can make, change or spoil a session of the archive.

The session that has the label, if there is one, is compared immediately before each call. A call whose answer was lost
is never repeated blindly: the row and the session are read first, and only where they show that the call did not arrive
is it made again. Afterwards the session that has the label is compared once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from xnatctl.delivery.engine.retry import Pause
from xnatctl.delivery.schedule import WAIT, PollSchedule
from xnatctl.delivery.session.existing import ArchiveTarget, Objection, compare, elsewhere, find_existing, free_label
from xnatctl.delivery.session.overlap import Overlap, held_by_name, in_the_way
from xnatctl.delivery.session.preflight import is_busy
from xnatctl.delivery.session.settle import archive_command, looks, not_archived, say_lost, silent
from xnatctl.errors import ConnectionFailed, NotArchived, NotFound, PermissionDenied, ServerError, Throttled
from xnatctl.model.commands import Commands
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.plan import Overwrite
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.words import counted
from xnatctl.xnat import archive, listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo

#: A row at rest is looked at so often before the one call counts as not arrived: the server's queue may lag behind.
_LOOKS = 8
#: How often the one call is made at most.
_CALLS = 3
#: The longest Retry-After that is obeyed, in seconds.
_LONGEST_PAUSE = 300.0
#: Said by a proxy that lost the server behind it, or never reached it.
_BY_PROXIES = frozenset({502, 504})


class Commit(Enum):
    """The calls that archive a row, by what XNAT itself checks in them (xnat-import 3.4, 6.3, 6.4).

    All compare label, project and subject. Only REPLACE overrides the check of the study, so it is made over a session
    of the same study alone.
    """

    PLAIN = auto()  # services/archive without `overwrite`: refuses another study and equal instances
    APPEND = auto()  # action=commit: the same, also in projects whose settings replace equal instances
    REPLACE = auto()  # services/archive with `overwrite=delete`: replaces equal instances


class NotCommitted(NotArchived):
    """The session that has the label is not to be changed, so no call was made; the row stays as it is."""


class Answer(Enum):
    """What a call's answer says."""

    ARCHIVED = auto()
    UNCLEAR = auto()  # the server was asked; the row tells the rest
    LOST = auto()  # the call may not have arrived


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A row that left the prearchive, and the session that has its label now.

    `confirmed`: the server said that it archived the row, was seen doing it, or the session holds all instances of the
    row and held none before. Without that the row may have been deleted, and the session may be an older one of the
    same study.
    """

    session: SessionInfo
    confirmed: bool


def commit_row(
    client: XnatClient,
    ref: PrearchiveRef,
    target: ArchiveTarget,
    *,
    overwrite: Overwrite,
    overlap: Callable[[SessionInfo], Overlap] | None = None,
    on_new: Callable[[bool], None] | None = None,
    into: str | None = None,
    wait: float = WAIT,
    schedule: PollSchedule | None = None,
    emit: Emit | None = None,
) -> Committed:
    """Archive one prearchive session by the overwrite policy, once, and wait until it is archived.

    The session of that label, if there is one, is looked at immediately before each call. `overlap` tells which of the
    instances that are committed an existing session holds; without it none is assumed, and XNAT refuses an overlap.
    `on_new` is called with True before a call that may make a new session, and with False when somebody else has made
    it. `into` is the accession ID of the session that the row completes: under another one it would be a session of its
    own, which holds only a part. `schedule` bounds the time, or `wait` seconds do. Raises NotArchived when
    the existing session is not to be changed, when the server refuses (with the reason from its log) or does not finish
    in time, and when the session that has the label in the end is another one. The row stays where it is unless it was
    archived.
    """
    schedule = schedule or PollSchedule(pause=Pause(), limit=wait)
    tell = emit or silent
    tell(Event(kind=EventKind.SETTLING, message=f"archiving as {target.session}", data={"state": "archiving"}))
    call = refused = 0
    while True:
        existing = find_existing(client, target)
        if into is not None and (existing is None or existing.id != into):
            raise _moved(client.commands, ref, target, into)
        if on_new is not None and (existing is None or call):
            on_new(existing is None)
        how = _choose(client, ref, target, existing, overwrite, overlap)
        call += 1
        try:
            answer = _archive_once(client, ref, target, how, schedule, tell)
            final = answer is not Answer.LOST or call >= _CALLS
            if (left := _await_row_gone(client, ref, schedule, final=final)) is not None:
                session = _confirm(client, target, how, answer, schedule, tell)
                confirmed = answer is Answer.ARCHIVED or left.archiving
                if not confirmed and how is Commit.APPEND and overlap is not None:
                    # The session held none of the instances before the call: holding them now shows that it arrived.
                    confirmed = all(overlap(session).equal)
                return Committed(session=session, confirmed=confirmed)
        except NotArchived:
            # A session that was made between the look and the call: decide again, once, with that session in view.
            refused += 1
            row = prearchive.get_row(client, ref) if existing is None and refused == 1 else None
            if row is None or row.status != "CONFLICT" or find_existing(client, target) is None:
                raise
            continue
        message = "the row shows that the call did not arrive; making it again"
        tell(Event(kind=EventKind.SETTLING, message=message, data={"state": "archiving"}))


def _choose(
    client: XnatClient,
    ref: PrearchiveRef,
    target: ArchiveTarget,
    existing: SessionInfo | None,
    overwrite: Overwrite,
    overlap: Callable[[SessionInfo], Overlap] | None,
) -> Commit:
    """The call that the session of that label, if there is one, allows. Raises NotArchived when it allows none."""
    if existing is None:
        return Commit.PLAIN
    found = compare(client, existing, target)
    if found.objection is not None:
        raise _taken(client, ref, target, found.message)
    if overwrite is Overwrite.NONE:
        raise _taken(
            client,
            ref,
            target,
            f"Session {existing.label} ({existing.id}) of project {target.project} was made by somebody else "
            "meanwhile, and --overwrite none leaves existing sessions alone",
        )
    if not found.same_study:
        return Commit.PLAIN  # XNAT itself compares what it knows of the study, and refuses equal instances
    if overwrite is Overwrite.DELETE:
        return Commit.REPLACE
    held = overlap(existing) if overlap is not None else None
    if not (held is not None and held.any):
        if overlap is not None and held_by_name(client, ref, existing.id, target.study):
            message, hint, commands = in_the_way(client.commands, ref, target, existing)
            raise NotCommitted(message, hint=hint, commands=commands)
        return Commit.APPEND
    if held.differing:
        raise _taken(
            client,
            ref,
            target,
            f"Session {existing.label} ({existing.id}) of project {target.project} holds {len(held.differing)} of the "
            f"instances with other content, first {held.differing[0]}",
        )
    return Commit.REPLACE  # equal instances are replaced by equal ones, where XNAT would refuse the whole session


def _taken(client: XnatClient, ref: PrearchiveRef, target: ArchiveTarget, why: str) -> NotCommitted:
    """Nothing was changed; the data wait in the prearchive, and a person decides."""
    free = free_label(client, target)
    named = archive_command(client.commands, ref, target.subject, free)
    return NotCommitted(
        f"{why}. Nothing was added to it: the uploaded data wait in the prearchive as {ref}.",
        hint=f"Delete them with: {client.commands.command('prearchive', 'delete', *ref.triple)} "
        f"or archive them under another label, for example with: {named}",
        commands=(named,),
    )


def _moved(commands: Commands, ref: PrearchiveRef, target: ArchiveTarget, accession_id: str) -> NotCommitted:
    """The session that a row completes does not have the label any more; the row stays in the prearchive."""
    return NotCommitted(
        f"Session {accession_id} is no longer session {target.session} of project {target.project}: somebody renamed, "
        f"moved or deleted it while files were sent to it again. These files wait in the prearchive as {ref}.",
        hint=f"Give the session its label back, or delete the waiting files with: "
        f"{commands.command('prearchive', 'delete', *ref.triple)} Then run the same command again.",
    )


def merged_with_others(client: XnatClient, session: SessionInfo, sent: int) -> NotArchived | None:
    """The error of an upload with `--overwrite none` whose session holds more files than were `sent`.

    XNAT has no call that archives a waiting session and refuses every merge (xnat-import 6.4): a session of
    the same study that is made between the last look and the call is added to.
    """
    others = sum(listing.dicom_file_counts(client, session.id).values()) - sent
    if others <= 0:
        return None
    return NotArchived(
        f"Session {session.label} ({session.id}) holds {counted(others, 'file')} that this upload did not send: "
        "somebody else made it at the same moment, and XNAT added this upload to it in spite of --overwrite none.",
        hint=f"Look at it with: {client.commands.command('session', 'show', session.id)}",
    )


def _archive_once(
    client: XnatClient, ref: PrearchiveRef, target: ArchiveTarget, how: Commit, schedule: PollSchedule, tell: Emit
) -> Answer:
    """The one call. Raises what is a refusal."""
    try:
        if how is Commit.APPEND:
            prearchive.commit(client, ref, timeout=schedule.call_timeout)
        else:
            policy = "delete" if how is Commit.REPLACE else None
            archive.archive_row(
                client,
                ref,
                subject=target.subject,
                session=target.session,
                overwrite=policy,
                timeout=schedule.call_timeout,
            )
    except (ConnectionFailed, Throttled) as error:
        say_lost(tell, error)
        if isinstance(error, Throttled) and error.retry_after is not None:
            schedule.pause.wait(min(max(error.retry_after, 0.0), _LONGEST_PAUSE, schedule.left()))
        return Answer.LOST
    except ServerError as error:
        # 500 covers both a refusal and the server's own time-out, after which the job goes on (6.4).
        if error.status < 500:
            raise not_archived(client, ref, error.message) from error
        say_lost(tell, error)
        return Answer.LOST if error.status in _BY_PROXIES else Answer.UNCLEAR
    except PermissionDenied as error:
        # 403 is also "Operation already in progress on this prearchive entry" (6.4).
        row = prearchive.get_row(client, ref)
        if row is not None and not is_busy(row.status):
            raise
        say_lost(tell, error)
        return Answer.UNCLEAR
    except NotFound as error:
        # The row is gone: archived by someone else (an idle job, an earlier try), or deleted. Look.
        say_lost(tell, error)
        return Answer.UNCLEAR
    return Answer.ARCHIVED


def _confirm(
    client: XnatClient,
    target: ArchiveTarget,
    how: Commit,
    answer: Answer,
    schedule: PollSchedule,
    tell: Emit,
) -> SessionInfo:
    """The session that has the label now that the row is gone, after it was compared with what was target."""
    found = _await_session(client, target, schedule)
    against = compare(client, found, target)
    if against.objection is None:
        return found
    if against.objection is Objection.STUDY and how is Commit.PLAIN and answer is Answer.ARCHIVED:
        # XNAT refuses another study in this call, and said that it archived: anonymisation changed the UID.
        message = f"{against.message}: XNAT changed the Study Instance UID when it archived the session"
        tell(Event(kind=EventKind.WARNING, message=f"{message}."))
        return found
    merged = " XNAT may have added the data to it." if how is Commit.REPLACE else ""
    raise NotArchived(
        f"The session left the prearchive, but {_lower(against.message)}.{merged}",
        hint=elsewhere(client, target) or f"Compare what is where with: {looks(client, target.project)}",
    )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Left:
    """A row that has left the prearchive. `archiving`: it was seen being archived before."""

    archiving: bool


def _await_row_gone(client: XnatClient, ref: PrearchiveRef, schedule: PollSchedule, *, final: bool) -> _Left | None:
    """Wait until the row has left the prearchive.

    None when it stays at rest, so that the call for it did not arrive; NotArchived instead where the caller is not
    going to make it again (`final`).
    """
    polls = schedule.polls()
    idle, archiving = 0, False
    while True:
        row = prearchive.get_row(client, ref)
        if row is None:
            return _Left(archiving=archiving)
        archiving = row.status.endswith("ARCHIVING")
        if row.status in ("CONFLICT", "ERROR"):
            raise not_archived(client, ref, f"the session is {row.status}", stuck=True)
        idle = 0 if is_busy(row.status) else idle + 1
        if idle >= _LOOKS:
            if final:
                raise not_archived(client, ref, f"the session stays {row.status}")
            return None
        if not polls():
            raise not_archived(client, ref, f"the session is still {row.status} after {schedule.limit:.0f} s")


def _await_session(client: XnatClient, target: ArchiveTarget, schedule: PollSchedule) -> SessionInfo:
    """The archived session; a few looks, because a listing may lag behind the archiving."""
    for _ in range(6):
        found = find_existing(client, target)
        if found is not None:
            return found
        schedule.pause.wait(0.5)
    raise NotArchived(
        f"The session left the prearchive, but project {target.project} has no session {target.session}.",
        hint=elsewhere(client, target)
        or f"It may have been deleted or moved. Look with: {looks(client, target.project)}",
    )
