"""Archives one prearchive session: the only call that creates or changes an archived session.

An existing session with the label is compared immediately before each call. A call whose answer was lost is not
repeated blindly: the row and the session are read first, and it is repeated only if they show that it did not arrive.
Afterwards the session with the label is compared again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from xnatctl.delivery.schedule import WAIT, PollSchedule
from xnatctl.delivery.session.existing import ArchiveTarget, Objection, compare, elsewhere, find_existing, free_label
from xnatctl.delivery.session.overlap import Overlap, held_by_name, in_the_way
from xnatctl.delivery.session.preflight import is_busy
from xnatctl.delivery.session.settle import archive_command, looks, not_archived, say_lost, silent
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import ConnectionFailed, NotArchived, NotFound, PermissionDenied, ServerError, Throttled
from xnatctl.model.commands import Commands
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.plan import Overwrite
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.words import counted, human_duration
from xnatctl.xnat import archive, listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo

#: Polls of an idle row before the call counts as not arrived, because the server's queue may lag.
_LOOKS = 8
#: Most attempts of the call.
_CALLS = 3
#: Longest Retry-After that is obeyed, in seconds.
_LONGEST_PAUSE = 300.0
#: Statuses of a proxy that lost or never reached its server.
_BY_PROXIES = frozenset({502, 504})


class Commit(Enum):
    """The calls that archive a row, by the checks that XNAT makes (xnat-import 3.4, 6.3, 6.4).

    All compare label, project and subject. Only REPLACE overrides the check of the study, so it is used only for a
    session of the same study.
    """

    PLAIN = auto()  # services/archive without `overwrite`: refuses another study and equal instances
    APPEND = auto()  # action=commit: the same, also in projects whose settings replace equal instances
    REPLACE = auto()  # services/archive with `overwrite=delete`: replaces equal instances


class NotCommitted(NotArchived):
    """The existing session must not be changed, so no call was made; the row stays as it is."""


class Answer(Enum):
    """The meaning of the answer to a call."""

    ARCHIVED = auto()
    UNCLEAR = auto()  # the server got the call; the row shows the result
    LOST = auto()  # the call may not have arrived


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A row that left the prearchive, and the session that now has its label.

    `confirmed`: the server reported that it archived the row, the row was seen archiving, or the session holds all
    instances of the row and held none before. Otherwise the row may have been deleted, and the session may be an older
    one of the same study.
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

    An existing session with the label is compared immediately before each call. `overlap` returns which of the
    committed instances an existing session holds; without it none is assumed, and XNAT refuses an overlap. `on_new` is
    called with True before a call that may create a session, and with False if another upload has created it. `into` is
    the accession ID of the session that the row completes: with another ID the row would become a separate, partial
    session. `schedule` or `wait` seconds limit the time. Raises NotArchived if the existing session must not be
    changed, if the server refuses (with the reason from its log) or does not finish in time, and if another session has
    the label in the end. The row stays in place unless it was archived.
    """
    schedule = schedule or PollSchedule(stop=StopToken(), limit=wait)
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
                    # The session held none of the instances before the call, so holding them now proves that the call
                    # arrived.
                    confirmed = all(overlap(session).equal)
                return Committed(session=session, confirmed=confirmed)
        except NotArchived:
            # A session was created between comparison and call: decide once more with that session.
            refused += 1
            row = prearchive.get_row(client, ref) if existing is None and refused == 1 else None
            if row is None or row.status != "CONFLICT" or find_existing(client, target) is None:
                raise
            continue
        message = "the row shows that the call did not arrive; repeating it"
        tell(Event(kind=EventKind.SETTLING, message=message, data={"state": "archiving"}))


def _choose(
    client: XnatClient,
    ref: PrearchiveRef,
    target: ArchiveTarget,
    existing: SessionInfo | None,
    overwrite: Overwrite,
    overlap: Callable[[SessionInfo], Overlap] | None,
) -> Commit:
    """Choose the call for an existing session, if any. Raises NotArchived if none is allowed."""
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
            f"Session {existing.label} ({existing.id}) of project {target.project} was created by another upload "
            "meanwhile, and --overwrite none does not change existing sessions",
        )
    if not found.same_study:
        return Commit.PLAIN  # XNAT compares the study itself, and refuses equal instances
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
            f"Session {existing.label} ({existing.id}) of project {target.project} holds {len(held.differing):,} of "
            f"the instances with different content, first {held.differing[0]}",
        )
    return (
        Commit.REPLACE
    )  # replaces equal instances by equal ones, because XNAT would refuse the whole session otherwise


def _taken(client: XnatClient, ref: PrearchiveRef, target: ArchiveTarget, why: str) -> NotCommitted:
    """The error for a session that was not changed; the data stay in the prearchive for the user to decide."""
    free = free_label(client, target)
    named = archive_command(client.commands, ref, target.subject, free)
    return NotCommitted(
        f"{why}. Nothing was added to it. The uploaded data are in the prearchive as {ref}.",
        hint=f"Delete them with: {client.commands.command('prearchive', 'delete', *ref.triple)} "
        f"or archive them under another label, for example with: {named}",
        commands=(named,),
    )


def _moved(commands: Commands, ref: PrearchiveRef, target: ArchiveTarget, accession_id: str) -> NotCommitted:
    """The error for a session that lost its label; the row that completes it stays in the prearchive."""
    return NotCommitted(
        f"Session {accession_id} is no longer session {target.session} of project {target.project}: it was "
        f"renamed, moved or deleted while files were sent to it again. These files are in the prearchive as {ref}.",
        hint="Give the session its label back and run the same command again, or delete the waiting files with: "
        f"{commands.command('prearchive', 'delete', *ref.triple)}",
    )


def merged_with_others(client: XnatClient, session: SessionInfo, sent: int) -> NotArchived | None:
    """The error of an upload with `--overwrite none` whose session holds more files than it `sent`.

    XNAT has no call that archives a session and refuses every merge (xnat-import 6.4): a session of the same study that
    is created between comparison and call gets merged.
    """
    others = sum(listing.dicom_file_counts(client, session.id).values()) - sent
    if others <= 0:
        return None
    return NotArchived(
        f"Session {session.label} ({session.id}) holds {counted(others, 'file')} that this upload did not send: "
        "another upload created it at the same moment, and XNAT merged this upload into it despite --overwrite "
        "none.",
        hint=f"Show it with: {client.commands.command('session', 'show', session.id)}",
    )


def _archive_once(
    client: XnatClient, ref: PrearchiveRef, target: ArchiveTarget, how: Commit, schedule: PollSchedule, tell: Emit
) -> Answer:
    """Make the call once. Raises the error of a refusal."""
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
            schedule.stop.wait(min(max(error.retry_after, 0.0), _LONGEST_PAUSE, schedule.left()))
        return Answer.LOST
    except ServerError as error:
        # 500 covers both a refusal and the server's own time-out, after which the job goes on (xnat-import 6.4).
        if error.status < 500:
            raise not_archived(client, ref, error.message) from error
        say_lost(tell, error)
        return Answer.LOST if error.status in _BY_PROXIES else Answer.UNCLEAR
    except PermissionDenied as error:
        # 403 is also "Operation already in progress on this prearchive entry" (xnat-import 6.4).
        row = prearchive.get_row(client, ref)
        if row is not None and not is_busy(row.status):
            raise
        say_lost(tell, error)
        return Answer.UNCLEAR
    except NotFound as error:
        # The row is gone: archived by another job or an earlier attempt, or deleted. Find out which.
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
    """Return the session that has the label after the row is gone, compared with the target."""
    found = _await_session(client, target, schedule)
    against = compare(client, found, target)
    if against.objection is None:
        return found
    if against.objection is Objection.STUDY and how is Commit.PLAIN and answer is Answer.ARCHIVED:
        # XNAT refuses another study in this call but reported success, so anonymisation changed the UID.
        message = f"{against.message}: XNAT changed the Study Instance UID when it archived the session"
        tell(Event(kind=EventKind.WARNING, message=f"{message}."))
        return found
    merged = " XNAT may have added the data to it." if how is Commit.REPLACE else ""
    raise NotArchived(
        f"The session left the prearchive, but {_lower(against.message)}.{merged}",
        hint=elsewhere(client, target) or f"Compare the sessions with: {looks(client, target.project)}",
    )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Left:
    """A row that has left the prearchive. `archiving`: it was seen archiving before."""

    archiving: bool


def _await_row_gone(client: XnatClient, ref: PrearchiveRef, schedule: PollSchedule, *, final: bool) -> _Left | None:
    """Wait until the row has left the prearchive.

    None if the row stays idle, so that the call did not arrive; with `final`, raises NotArchived instead.
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
            raise not_archived(client, ref, f"the session is still {row.status} after {human_duration(schedule.limit)}")


def _await_session(client: XnatClient, target: ArchiveTarget, schedule: PollSchedule) -> SessionInfo:
    """Find the archived session; polls a few times, because listings may lag behind archiving."""
    for _ in range(6):
        found = find_existing(client, target)
        if found is not None:
            return found
        schedule.stop.wait(0.5)
    raise NotArchived(
        f"The session left the prearchive, but project {target.project} has no session {target.session}.",
        hint=elsewhere(client, target)
        or f"It may have been deleted or moved. Check with: {looks(client, target.project)}",
    )
