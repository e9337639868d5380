"""Resumes an earlier run: finds the items of its journal that are still valid on disk and on the server.

A journal records past answers; the session may have been archived, moved or deleted since. So an instance is skipped
only if its file is unchanged and the server still holds it.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from xnatctl.delivery.journal.journal import Journal, Phase
from xnatctl.delivery.journal.records import JournalEntry
from xnatctl.delivery.judgement import Finding, places_of
from xnatctl.delivery.schedule import PollSchedule
from xnatctl.delivery.session.preflight import Preflight, is_busy
from xnatctl.delivery.session.verify import Wanted, verify_archived
from xnatctl.errors import NotArchived, PermissionDenied, Refused, SourceChanged
from xnatctl.inventory.sources import has_content
from xnatctl.model.commands import Commands
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Placement, UploadItem
from xnatctl.model.refs import Destination
from xnatctl.model.words import counted, human_duration
from xnatctl.operating_system.command_line import split_command
from xnatctl.xnat import direct_archive, listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.importing import ImportUri
from xnatctl.xnat.prearchive import PrearchiveRow

#: States of a direct archive that is idle: it accepts files, or never will again. In other states the server works on
#: it.
_AT_REST = frozenset({"RECEIVING", "ERROR"})


#: Returns the indexes of the items that an archive holds.
Archive = Callable[[Sequence[UploadItem]], Iterable[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumeState:
    """The state from which a run resumes: a mark per item, and the open URIs that hold some of the items.

    `proven` marks the items that need not be sent, `archived` those that are already in the archive; empty marks mean
    none.
    """

    proven: Sequence[int] = ()
    archived: Sequence[int] = ()
    places: tuple[ImportUri, ...] = ()
    warnings: tuple[str, ...] = ()


class _Some:
    """The number of items of a kind and the path of the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, item: UploadItem) -> None:
        """Count an item."""
        self.first = self.first if self.count else item.path
        self.count += 1


def find_unchanged(
    items: Sequence[UploadItem], journal: Journal, changed: _Some
) -> Iterator[tuple[int, UploadItem, JournalEntry]]:
    """The delivered items whose files are unchanged, with their indexes; `changed` gets the others.

    A file is unchanged if path, size, times, device and inode are equal, or else the content is.
    """
    if not journal.resuming:
        return
    for number, (item, before) in enumerate(zip(items, journal.recorded(items), strict=True)):
        if before is None or not before.outcome.delivered or not before.attempts:
            continue  # never delivered, or found on the server by a run that did not send it
        if _unchanged(item, before):
            yield number, item, before
        else:
            changed.add(item)


def _unchanged(item: UploadItem, before: JournalEntry) -> bool:
    if before.describes(item):
        return True
    if item.size != before.size or before.digest is None:
        return False
    try:
        return has_content(item, before.digest)
    except SourceChanged:
        return False


def find_accepted(items: Sequence[UploadItem], journal: Journal, archive: Archive | None = None) -> ResumeState:
    """The items that a receiver accepted earlier.

    Items that an earlier run did not find in the archive behind the receiver are looked up again, if that is known:
    they may have been archived since, or be there under another name.
    """
    changed, proven = _Some(), bytearray(len(items))
    for number, _, _ in find_unchanged(items, journal, changed):
        proven[number] = 1
    if archive is not None and journal.resuming:
        recorded = zip(items, journal.recorded(items), strict=True)
        missed = [
            number
            for number, (item, before) in enumerate(recorded)
            if before is not None and before.outcome is Outcome.MISSING and _unchanged(item, before)
        ]
        for place in archive([items[number] for number in missed]) if missed else ():
            proven[missed[place]] = 1
    return ResumeState(proven=proven, warnings=_changed(changed))


def find_delivered(
    client: XnatClient,
    check: Preflight,
    items: Sequence[UploadItem],
    journal: Journal,
    *,
    archive_counts: bool,
    rerun: str,
    strict: bool = False,
) -> ResumeState:
    """The items that earlier runs delivered and the server still holds in the requested place.

    `archive_counts`: items in the archive are in the right place. `strict`: existing sessions must not be changed.
    `rerun` is the command of this upload. Raises Refused if the session was moved to another project or got another
    label.
    """
    changed, proven, archived = _Some(), bytearray(len(items)), bytearray(len(items))
    study = items[0].study_instance_uid
    live: dict[str, ImportUri] | None = None
    needed: set[str] = set()
    others, committed = array("I"), bytearray()
    ours = CommittedPlaces(journal)
    for number, _, before in find_unchanged(items, journal, changed):
        if live is None:  # ask the server only if something was delivered
            live = {uri.text: uri for uri in _live(client, check, study, journal.places)}
        if before.uri in live:
            proven[number] = 1
            needed.add(before.uri)
        else:
            others.append(number)
            committed.append(before.uri in ours)
    if live is None:
        return ResumeState(warnings=_changed(changed))
    if others and check.existing is not None and archive_counts:
        for number in _archived(client, check.existing.id, items, others, committed, journal):
            proven[number] = archived[number] = 1
    warnings = [*_changed(changed)]
    lost = [number for number in others if not proven[number]]
    if lost and (archive_counts or check.existing is None):
        if not live:
            _refuse_moved(client, check, study, journal.places, rerun, strict=strict)
        are = "is" if len(lost) == 1 else "are"
        warnings.append(
            f"{counted(len(lost), 'file')} delivered before {are} missing or changed on the server, and sent again "
            f"(first {items[lost[0]].path})."
        )
    return ResumeState(
        proven=proven,
        archived=archived,
        places=tuple(uri for text, uri in live.items() if text in needed),
        warnings=tuple(warnings),
    )


def _archived(
    client: XnatClient,
    session_id: str,
    items: Sequence[UploadItem],
    numbers: Sequence[int],
    committed: Sequence[int],
    journal: Journal,
) -> Iterator[int]:
    """The `numbers` whose items the archive holds as they were delivered.

    `committed` marks the items that this journal asked the server to archive. An item that a person archived and whose
    stored size is suspicious is sent again once.
    """
    found = verify_archived(
        client, session_id, [items[number] for number in numbers], Wanted(seen=journal.stored_before)
    )
    reviewed = journal.before("placement") == Placement.PREARCHIVE
    odd = []
    for place, (number, ours) in enumerate(zip(numbers, committed, strict=True)):
        finding = Finding(found.findings[place])
        if _is_there(finding, committed=bool(ours), reviewed=reviewed):
            yield number
        elif reviewed and finding.suspicious:
            odd.append((items[number], found.stored_as(place)))
    journal.send_again(odd)


def _changed(changed: _Some) -> tuple[str, ...]:
    if not changed.count:
        return ()
    return (f"{counted(changed.count, 'file')} changed since delivery; sending again (first {changed.first}).",)


def _live(client: XnatClient, check: Preflight, study: str, places: Collection[str]) -> list[ImportUri]:
    """The URIs of earlier runs whose sessions are not complete."""
    rows = {row.ref for row in check.rows}
    found: list[ImportUri] = []
    for text in sorted(places):
        uri = ImportUri.parse(text)
        if uri.kind == "prearchive" and uri.ref in rows:
            found.append(uri)
        elif uri.kind == "direct" and check.direct:
            state = direct_archive.get(client, check.destination.project, study, check.destination.session)
            if state is not None and state.get("status") == "RECEIVING":
                found.append(uri)
    return found


class CommittedPlaces:
    """The URIs that runs of a journal asked the server to archive; their items are looked up in the archive."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._before = frozenset(filter(None, journal.before("committed").split("\n")))
        self._places = self._before
        # A journal of an earlier version does not record this.
        unknown = not self._before and journal.phase == Phase.DONE
        self._all = unknown and journal.before("placement") != Placement.PREARCHIVE

    def __contains__(self, place: object) -> bool:
        return self._all or place in self._places

    def add(self, *places: str) -> None:
        """Add URIs that are about to be archived."""
        self._places |= set(places)
        self._journal.remember(committed="\n".join(sorted(self._places)))

    def take_back(self) -> None:
        """Remove the URIs of this run, because they were not archived."""
        self._places = self._before
        self._journal.remember(committed="\n".join(sorted(self._places)))


def rows_of_others(
    client: XnatClient, journal: Journal, rows: Sequence[PrearchiveRow]
) -> dict[str, dict[str, int] | None]:
    """The rows, by path, that held files before this journal sent to them, with their file counts by scan if known.

    `rows` are those that hold nothing of this journal yet.
    """
    joined: dict[str, dict[str, int] | None] = json.loads(journal.before("joined") or "{}")
    for row in rows:
        if row.ref.path not in joined:
            built = row.status in ("READY", "CONFLICT")
            joined[row.ref.path] = prearchive.scan_file_counts(client, row.ref) if built else None
    return joined


def _is_there(finding: Finding, *, committed: bool, reviewed: bool) -> bool:
    """Whether an instance in the archive is the delivered one, whose URI is gone.

    A URI that this upload did not ask to archive may have been deleted, and the archive may hold the instance of
    another upload. If the session was left for review, the stored size decides.
    """
    if finding in (Finding.ABSENT, Finding.UNDECIDED):
        return False
    if committed:
        return True  # verification judges it later
    return reviewed and not finding.suspicious


def held(client: XnatClient, session_id: str, items: Sequence[UploadItem]) -> Iterator[int]:
    """The indexes of the items that an archived session holds: by UID, or by count if it shows no UIDs."""
    findings = verify_archived(client, session_id, items).findings
    return places_of(findings, lambda finding: finding not in (Finding.ABSENT, Finding.UNDECIDED))


def _under(label: str, rerun: str, *, strict: bool) -> str:
    """How to upload to the session that an earlier upload became: a command, or text if the command has no label."""
    words = split_command(rerun)
    for option in ("-E", "--session"):
        if option in words:
            joining = {"--overwrite": "append"} if strict else {}
            return f"upload under that label: {Commands.with_options(rerun, {option: label, **joining})}"
    return f"upload with -E {label}" + " --overwrite append" * strict


def _refuse_moved(
    client: XnatClient, check: Preflight, study: str, places: Collection[str], rerun: str, *, strict: bool
) -> None:
    """Refuse to send a session that was moved or renamed, because that would create a second one.

    A row keeps its timestamp when it is moved or renamed, which identifies the rows of this upload.
    """
    destination = check.destination
    again = "Upload everything again with --no-resume"
    if check.existing is None:
        for session in listing.sessions_of_study(client, destination.project, study):
            raise Refused(
                f"The earlier upload is in the archive as session {session.label} ({session.id}) of project "
                f"{session.project} now, not as {destination.session}: it was archived under that label.",
                hint=f"{again}, or {_under(session.label, rerun, strict=strict)}",
            )
    times = {uri.timestamp for uri in map(ImportUri.parse, places) if uri.kind == "prearchive"}

    def may_be_ours(row: PrearchiveRow) -> bool:
        same = check.existing is None and row.name == destination.session
        return row.tag == study and (same or row.timestamp in times)

    try:
        rows = prearchive.list_rows(client, keep=may_be_ours)
    except PermissionDenied:
        return
    for row in rows:
        triple = row.ref.triple
        if row.project != destination.project:
            raise Refused(
                f"The earlier upload is in the prearchive of project {row.project} now, not of "
                f"{destination.project}: it was moved.",
                hint=f"{again}, move it back, or archive it there with: "
                f"{client.commands.command('prearchive', 'archive', *triple)}",
            )
        if row.name != destination.session:
            raise Refused(
                f"The earlier upload is in the prearchive as {row.name} now, not as {destination.session}: it was "
                "renamed.",
                hint=f"{again}, delete it with: {client.commands.command('prearchive', 'delete', *triple)} "
                f"or {_under(row.name, rerun, strict=strict)}",
            )


def wait_until_idle(
    client: XnatClient, destination: Destination, study: str, schedule: PollSchedule, tell: Emit, rerun: str
) -> None:
    """Wait while the server processes data of the earlier run. Raises NotArchived if it does not finish."""
    polls = schedule.polls()
    announced = False
    while (busy := _busy(client, destination, study)) is not None:
        if not announced:
            message = f"the server is still processing the earlier upload ({busy})"
            tell(Event(kind=EventKind.SETTLING, message=message, data={"state": "waiting"}))
            announced = True
        if not polls():
            raise NotArchived(
                f"The server is still processing the earlier upload: the session is {busy} after "
                f"{human_duration(schedule.limit)}.",
                hint=f"It continues by itself. Run the same command again later: {rerun}",
            )


def _busy(client: XnatClient, destination: Destination, study: str) -> str | None:
    for row in prearchive.find_rows(client, destination.project, label=destination.session, study_uid=study):
        if is_busy(row.status):
            return row.status
    state = direct_archive.get(client, destination.project, study, destination.session)
    status = str(state.get("status", "")) if state is not None else ""
    return status if status and status not in _AT_REST else None
