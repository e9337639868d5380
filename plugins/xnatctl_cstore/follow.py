"""Follows each study from a DICOM receiver into the archive of XNAT (xnat-api 5.6).

A receiver names no session, so a study is found by its UID: first as the tag of a row in the project's prearchive, then
as a session of the archive, where it can be compared with the disk.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from xnatctl.api import (
    EventKind,
    Level,
    NotArchived,
    NotFound,
    PermissionDenied,
    PlaceState,
    RunContext,
    Stage,
    StudyReport,
    UploadItem,
    UsageError,
    Verification,
    VerificationFailed,
    XnatctlError,
    clean_label,
    counted,
    human_duration,
)
from xnatctl.api.xnat import (
    DOUBTFUL,
    Comparison,
    PrearchiveRow,
    SessionInfo,
    Wanted,
    archive_command,
    find_session,
    held,
    last_prearchive_log,
    list_prearchive_rows,
    project_access,
    sessions_of_study,
    verify_archived,
    verify_staged,
)
from xnatctl_cstore import receivers

#: Seconds within which the row of a study appears if it was sent to this project ("seconds", 5.6).
_APPEARS = 30.0
#: Seconds by which listings may lag behind archiving.
_LAGS = 10.0
_STUCK = frozenset({"CONFLICT", "ERROR"})
#: The fact of the journal with the sessions that hold older copies, by study.
_OLDER = "older"


@dataclass(kw_only=True)
class _Study:
    """The state of one study: `row` as last seen, `left` when it was gone, `done` when it will not change.

    `unseen`: it did not appear in time. `older` is a session that held instances of it before.
    """

    uid: str
    items: Sequence[UploadItem]
    row: PrearchiveRow | None = None
    left: float | None = None
    session: SessionInfo | None = None
    older: SessionInfo | None = None
    verification: Verification = field(default_factory=Verification)
    comparison: Comparison | None = None
    error: XnatctlError | None = None
    done: bool = False
    unseen: bool = False


def _by_study(items: Sequence[UploadItem]) -> dict[str, list[UploadItem]]:
    studies: dict[str, list[UploadItem]] = {}
    for item in items:
        studies.setdefault(item.study_instance_uid, []).append(item)
    return studies


class ArchiveTracker:
    """The stage that follows studies behind a receiver; its options name the project, and the session if known."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self._context = context
        self._client = context.client
        self._project = str(stage.options["project"])
        self._label = str(stage.options.get("session") or "")
        self._manual = self._patient = False
        #: Seconds until the site archives a session that has gone quiet; None if it is not known.
        self._delay: float | None = None
        #: By study, the IDs of sessions that held some of its instances before sending.
        self._older: dict[str, list[str]] = {}
        #: Whether an earlier run sent without looking at the archive, so that old and new copies look alike.
        self._looked_late = False

    def check(self) -> None:
        """Check before sending that the studies can be found. Raises NotFound, UsageError."""
        access = project_access(self._client, self._project)
        if not access.exists:
            raise NotFound(
                f"{self._client.server} has no project {self._project}, or {self._client.login_name} may not see it.",
                hint="Check the project ID (it is case-sensitive), or ask its owner to add you.",
            )
        self._project, self._manual = access.id, access.prearchive_code == 0
        if self._label and len({item.study_instance_uid for item in self._context.plan.items}) > 1:
            raise UsageError("-E names one session, but there are several studies.", hint="Omit it, or send one study.")
        # Without a row a study is not visible until it is archived, so only the time limit applies.
        address = urlsplit(self._context.plan.destination.server)
        title = unquote(address.path.strip("/"))
        known = [receiver for receiver in receivers.dicom_receivers(self._client) if receiver.title == title]
        self._patient = not known or any(receiver.direct for receiver in known)
        self._context.facts[_OLDER] = json.dumps(self._remember(self._context.plan.items))
        self._context.arrived = self.found

    def give_up(self) -> None:
        """The stop of the run ends waiting."""

    def run(self) -> None:
        """Poll until each study is archived or will not be. Raises NotArchived, VerificationFailed."""
        journal = self._context.journal
        self._context.settling()
        duplicates = self._context.duplicates()
        self._follow(journal.states().delivered.items)
        journal.prove(item.name for item in duplicates)

    def _warn_of_delay(self) -> None:
        self._delay = delay = receivers.archiving_delay(self._client)
        wait = self._context.schedule.limit
        if delay is not None and delay > wait and not self._manual:
            self._context.warn(
                f"This site archives a session up to {human_duration(delay)} after its last file, and --wait is "
                f"{human_duration(wait)}, so the session will probably not be archived in time."
            )

    def _remember(self, items: Sequence[UploadItem]) -> dict[str, list[str]]:
        """Record in the journal which sessions held instances of these studies before sending.

        An older copy in another session does not prove that the new instances arrive. Where an earlier run did not
        follow what it sent, every session that holds instances now may be one of those.
        """
        journal = self._context.journal
        if recorded := journal.before(_OLDER):
            self._older = _parsed(recorded)
        else:
            self._looked_late = journal.resuming
            groups = _by_study(items)
            self._older = {uid: older for uid, group in groups.items() if (older := self._holders(uid, group))}
        return self._older

    def _holders(self, uid: str, items: Sequence[UploadItem]) -> list[str]:
        """The sessions of a study that hold some of these instances."""
        sessions = sessions_of_study(self._client, self._project, uid)
        if self._label and not self._looked_late:
            self._warn_of_others([session for session in sessions if session.label != self._label], uid)
        return [session.id for session in sessions if any(True for _ in held(self._client, session.id, items))]

    def _warn_of_others(self, sessions: Sequence[SessionInfo], uid: str) -> None:
        """Warn that the project holds the study under other labels than that of `-E`."""
        for session in sessions:
            of = f" of subject {session.subject_label}" if session.subject_label else ""
            self._context.warn(
                f"Session {session.label}{of} in project {self._project} already holds this study (Study Instance UID "
                f"{uid}). Show it with: "
                + self._context.commands.command("session", "list", "-P", self._project, "--filter", f"uid={uid}")
            )

    def _follow(self, items: Sequence[UploadItem]) -> None:
        context = self._context
        groups = _by_study(items)
        studies = [_Study(uid=uid, items=group) for uid, group in groups.items()]
        begun, polls, shown = context.stop.now(), context.schedule.polls(), ""
        while True:
            rows = self._rows(groups)
            now = context.stop.now()
            for study in studies:
                if not study.done:
                    self._look(study, rows, now, waited=now - begun)
            waiting = [study for study in studies if not study.done]
            if not waiting:
                break
            if not shown:
                self._warn_of_delay()
            if shown != (shown := self._shown(_describe(waiting))):
                context.tell(EventKind.SETTLING, shown, state="waiting")
            if not polls():
                for study in waiting:
                    self._too_late(study)
                break
        self._conclude(studies)

    # looking

    def _rows(self, studies: Container[str]) -> Sequence[PrearchiveRow]:
        """The rows of these studies, and of the session that was named."""
        try:
            return list_prearchive_rows(
                self._client,
                self._project,
                lambda row: row.tag in studies or bool(self._label and row.name == self._label),
            )
        except PermissionDenied:
            return ()  # without access to the prearchive, only the archive can be checked

    def _look(self, study: _Study, rows: Sequence[PrearchiveRow], now: float, *, waited: float) -> None:
        """Update the state of one study; sets `done` if it will not change without a person."""
        own = [row for row in rows if row.tag == study.uid or (self._label and row.name == self._label)]
        if own:
            study.row, study.left = own[0], None
            stuck = next((row for row in own if row.status in _STUCK), None)
            if stuck is not None:
                study.row, study.done = stuck, True
                study.error = self._stuck(stuck)
            elif all(row.status == "READY" for row in own) and self._needs_a_person(own[0]):
                study.done = True
                self._keep(study, verify_staged(self._client, own[0].ref, study.items))
                study.error = self._left_for_review(study)
            return
        if study.row is not None and study.left is None:
            study.left = now
        if self._compare(study):
            study.done = True
            return
        patience = _LAGS if study.left is not None else _APPEARS
        since = now - study.left if study.left is not None else waited
        if since > patience and (study.left is not None or study.session is not None or not self._patient):
            study.done = True
            study.error = self._missing(study)

    def _needs_a_person(self, row: PrearchiveRow) -> bool:
        return row.autoarchive == "Manual" or (not row.autoarchive and self._manual)

    def _compare(self, study: _Study) -> bool:
        """Compare with the archive; True if nothing is missing."""
        sessions = self._sessions(study)
        if not sessions:
            return False
        # Other data may have been there before, so that more than was sent is no difference. The receiver would not
        # replace an instance that the archive has, so a stored size that is odd is judged as it is.
        wanted = Wanted(was_there=True, final=True)
        looks = [verify_archived(self._client, session.id, study.items, wanted) for session in sessions]
        best = min(range(len(looks)), key=lambda number: len(looks[number].verification.differences))
        study.session = sessions[best]
        self._keep(study, looks[best])
        return bool(study.verification.ok)

    def _sessions(self, study: _Study) -> list[SessionInfo]:
        """The sessions that may hold what was sent: the named one, or those of the study without older copies."""
        if self._label:
            found = find_session(self._client, self._project, self._label)
            return [found] if found is not None else []
        sessions = sessions_of_study(self._client, self._project, study.uid)
        older = self._older.get(study.uid, ())
        study.older = next((session for session in sessions if session.id in older), None)
        merged = clean_label(study.row.name).casefold() if study.row is not None else ""
        return [
            session
            for session in sessions
            if session.id not in older or clean_label(session.label).casefold() == merged
        ]

    def _keep(self, study: _Study, comparison: Comparison) -> None:
        study.comparison, study.verification = comparison, comparison.verification

    def found(self, items: Sequence[UploadItem]) -> Iterator[int]:
        """The places of those items that the archive holds now."""
        numbers_of: dict[str, list[int]] = {}
        for number, item in enumerate(items):
            numbers_of.setdefault(item.study_instance_uid, []).append(number)
        for uid, numbers in numbers_of.items():
            study = _Study(uid=uid, items=[items[number] for number in numbers])
            self._compare(study)
            if study.comparison is not None:
                levels = zip(numbers, study.comparison.levels, strict=True)
                yield from (number for number, level in levels if level is not Level.NONE)

    # what to say

    def _stuck(self, row: PrearchiveRow) -> NotArchived:
        try:
            reason = last_prearchive_log(self._client, row.ref)
        except XnatctlError:
            reason = None
        return NotArchived(
            f"{self._shown(row.folder)} was received but is not archived: the session is {row.status}."
            + (f" The server says: {self._shown(reason)}" if reason else ""),
            hint=f"Show it with: {self._look_at(row)}",
        )

    def _left_for_review(self, study: _Study) -> NotArchived:
        assert study.row is not None
        short = "" if study.verification.ok else f", {study.verification.differences[0].message}"
        return NotArchived(
            f"{self._shown(study.row.folder)} waits in the prearchive of project {self._project} and must be "
            f"archived manually{short}.",
            hint=f"Archive it with: {self._archive(study.row)}",
        )

    def _differs(self, study: _Study) -> VerificationFailed:
        differences = study.verification.differences
        label = self._shown(study.session.label) if study.session is not None else ""
        return VerificationFailed(
            f"Session {label} of project {self._project} does not hold what is on disk: "
            f"{counted(len(differences), 'difference')}, first: {differences[0]}.",
            hint="A series import filter or an anonymisation script of the site may have dropped or renamed instances; "
            "the report names each one, and the same command sends what is missing once more.",
        )

    def _missing(self, study: _Study) -> XnatctlError:
        """The error for a study that is not archived and will not be without a person."""
        if study.session is not None:
            return self._differs(study)
        return self._only_older(study.older) if study.older is not None else self._nowhere(study)

    def _only_older(self, session: SessionInfo) -> VerificationFailed:
        label = self._shown(session.label)
        held = (
            "holds instances of this study, and this upload first ran without --verify, so it is not known whether "
            "they were there before it."
            if self._looked_late
            else "held instances of this study before this upload, and it is not proven that the new ones arrived."
        )
        return VerificationFailed(
            f"Session {label} ({session.id}) of project {self._project} {held}",
            hint=f"If the receiver adds to that session, name it: -E {label}. Otherwise ask the "
            "administrator where the receiver stores this study.",
        )

    def _shown(self, text: str) -> str:
        """A label or folder that XNAT derived from the headers, with patient data masked."""
        return self._client.redact(text)

    def _look_at(self, row: PrearchiveRow) -> str:
        """The command that shows a row; a list when its name identifies the patient."""
        if self._shown(row.folder) == row.folder:
            return self._client.commands.command("prearchive", "show", *row.ref.triple)
        return self._client.commands.command("prearchive", "list", "-P", self._project)

    def _nowhere(self, study: _Study) -> NotArchived:
        """See xnat-api 5.6, step 5."""
        if study.left is not None:
            return NotArchived(
                f"Study {study.uid} left the prearchive, but project {self._project} has no session with it.",
                hint="It may have been moved or deleted, or anonymisation changed its UIDs: name the session with "
                "-E; --no-resume sends everything again. Check with: "
                + self._client.commands.command("session", "list", "-P", self._project),
            )
        study.unseen = self._context.schedule.limit >= _APPEARS
        again = " The same command sends it again." if study.unseen else ""
        return NotArchived(
            f"The receiver accepted study {study.uid}, but project {self._project} does not show it.",
            hint="The receiver may have stored it in another project (the headers decide) or in Unassigned, which "
            f"only administrators see, or a filter may have dropped it: ask the administrator.{again}",
        )

    def _too_late(self, study: _Study) -> None:
        study.done = True
        limit = self._context.schedule.limit
        if study.row is None or study.left is not None:
            study.error = self._missing(study)
            return
        waited = f"after {human_duration(limit)}" if limit else "yet"
        until = ""
        if self._delay is not None:
            until = f": this site archives a session up to {human_duration(self._delay)} after its last file"
        study.error = NotArchived(
            f"{self._shown(study.row.folder)} is not in the archive {waited}: it is {study.row.status} in the "
            f"prearchive of project {self._project}.",
            hint=f"XNAT continues by itself{until}. The same command then checks the archive, and sends nothing twice.",
        )

    def _archive(self, row: PrearchiveRow) -> str:
        """The command that archives a row; a list when its names identify the patient."""
        if any(self._shown(name) != name for name in (row.folder, row.subject, row.name)):
            return self._client.commands.command("prearchive", "list", "-P", self._project)
        return archive_command(self._client.commands, row.ref, row.subject, row.name)

    # the end

    def _conclude(self, studies: Sequence[_Study]) -> None:
        """Fill the report. Raises the error of the first study that is not archived."""
        report = self._context.report
        report.studies = [self._study_report(study) for study in studies]
        for study in studies:
            if study.comparison is not None:
                self._context.journal.reached(study.items, study.comparison.findings)
            study.verification.ok = study.verification.ok and study.error is None
        report.verification = Verification.joined([study.verification for study in studies])
        report.next += [self._archive(s.row) for s in studies if s.row and s.error and s.row.status == "READY"]
        states = {entry.state for entry in report.studies}
        report.state = states.pop() if len(states) == 1 else PlaceState.UNKNOWN
        only = report.studies[0] if len(report.studies) == 1 else None
        report.uri = only.uri if only is not None else None
        report.destination = replace(
            report.destination,
            project=self._project,
            subject=only.subject if only is not None else "",
            session=only.session if only is not None else "",
        )
        errors = [study.error for study in studies if study.error is not None]
        for study in studies:
            self._context.journal.doubt(self._doubtful(study))
        if errors:
            # Of a study that has an older copy only, the same command shows no more: the session must be named.
            if any(study.error and (study.older is None or study.session is not None) for study in studies):
                report.next.append(self._context.rerun)
            others = f" ({len(errors):,} of {len(studies):,} studies are not archived.)" if len(studies) > 1 else ""
            raise type(errors[0])(errors[0].message + others, hint=errors[0].hint)

    def _doubtful(self, study: _Study) -> Sequence[UploadItem]:
        """The items that the next run sends again: those that differ, and all of a study that never appeared."""
        if isinstance(study.error, VerificationFailed):
            wrong = {d.sop_instance_uid for d in study.verification.differences if d.kind in DOUBTFUL}
            return [item for item in study.items if item.sop_instance_uid in wrong]
        return study.items if study.unseen else ()

    def _study_report(self, study: _Study) -> StudyReport:
        if study.session is not None and (study.row is None or study.left is not None):
            return StudyReport(
                study_instance_uid=study.uid,
                state=PlaceState.ARCHIVED,
                uri=f"/data/experiments/{study.session.id}",
                subject=self._shown(study.session.subject_label),
                session=self._shown(study.session.label),
            )
        if study.row is not None and study.left is None:
            return StudyReport(
                study_instance_uid=study.uid,
                state=PlaceState.PREARCHIVE,
                uri=self._shown(study.row.ref.path),
                subject=self._shown(study.row.subject),
                session=self._shown(study.row.name),
            )
        return StudyReport(study_instance_uid=study.uid, state=PlaceState.RECEIVER)


def _parsed(fact: str) -> dict[str, list[str]]:
    """A fact of the journal as JSON; empty if an earlier version wrote none."""
    try:
        found = json.loads(fact or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _describe(waiting: Sequence[_Study]) -> str:
    """One line about the first study that is waited for."""
    study = waiting[0]
    more = f" (and {len(waiting) - 1:,} studies more)" if len(waiting) > 1 else ""
    if study.row is not None and study.left is None:
        return f"waiting for {study.row.folder} to be archived: it is {study.row.status} in the prearchive{more}"
    return f"waiting for study {study.uid} to appear{more}"
