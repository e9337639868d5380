"""The stage `session`: preflight, sending, settling and verifying of DICOM, in this order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.journal.journal import Phase
from xnatctl.delivery.journal.states import StateView
from xnatctl.delivery.reporting import filtered, helps_again, incomplete
from xnatctl.delivery.session import settle
from xnatctl.delivery.session.commit import NotCommitted, commit_row, merged_with_others
from xnatctl.delivery.session.counting import short_series
from xnatctl.delivery.session.existing import ArchiveTarget
from xnatctl.delivery.session.http import SessionHttp
from xnatctl.delivery.session.importer import SessionImporter
from xnatctl.delivery.session.overlap import find_overlap, refuse_waiting, skip_existing
from xnatctl.delivery.session.preflight import Preflight, preflight
from xnatctl.delivery.session.resume import (
    CommittedPlaces,
    ResumeState,
    find_delivered,
    held,
    rows_of_others,
    wait_until_idle,
)
from xnatctl.delivery.session.staged import count_staged, read_staged
from xnatctl.delivery.session.verifier import SessionVerifier
from xnatctl.delivery.session.verify import Comparison
from xnatctl.errors import NotArchived, NotFound
from xnatctl.model.events import EventKind
from xnatctl.model.plan import Overwrite, Placement, Stage, UploadItem, UploadPlan
from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.model.report import PlaceState
from xnatctl.model.words import counted
from xnatctl.xnat.importing import ImportUri
from xnatctl.xnat.listing import SessionInfo
from xnatctl.xnat.prearchive import PrearchiveRow

#: The suffix of the timestamp of a direct archive that the server moved to the prearchive.
_MOVED = "_DA"


class SessionRunner:
    """Sends the DICOM of a plan, settles and verifies. After `run` the context has the session."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self._context = context
        self._send = stage
        self._tell = context.services.tell
        self._client = context.client
        self._journal = context.journal
        self._stop = context.stop
        self._was_there = False
        #: Whether earlier runs of this journal delivered items without proving them.
        self._unfinished = context.journal.unfinished
        #: Whether this journal created the session, or began to.
        self._made = False
        #: Whether this run created the session by its commit.
        self._new = False
        self._archived: Sequence[int] = ()
        self._committed = CommittedPlaces(context.journal)
        #: Prearchive rows that held files of others before this journal sent to them.
        self._joined: Mapping[str, Mapping[str, int] | None] = {}
        #: Items of a direct archive that a session of another upload also holds, in the same folder.
        self._overwritten: Sequence[UploadItem] = ()
        #: True once the sent items were compared with the archive.
        self.compared = False
        self.report = context.report
        context.images = self

    def check(self) -> None:
        """Nothing; preflight checks the server when the stage runs, before anything is sent."""

    def give_up(self) -> None:
        """The engine stops its workers, and the stop of the run ends waiting."""

    @property
    def planned(self) -> Sequence[UploadItem]:
        """The instances of the plan."""
        return self._send.items

    def delivered(self) -> Sequence[UploadItem]:
        """The instances that the server accepted."""
        return self._delivered()

    def compare(self, session: SessionInfo) -> None:
        """Compare the items that were left in the prearchive with the archived session. Raises VerificationFailed."""
        if (verifier := self._verifier()) is not None:
            verifier.verify(session.id, self._delivered(), was_there=True)
            self.compared = True

    @property
    def _plan(self) -> UploadPlan:
        """The part of the plan that this runner delivers."""
        return replace(self._context.plan, stages=(self._send,))

    def run(self) -> None:
        """Run every step. Raises XnatctlError with the report holding what is known."""
        check = self._look()
        journal, plan = self._journal, self._plan
        # After a review, the session belongs in the archive.
        archive_counts = plan.placement is Placement.ARCHIVE or journal.before("placement") == Placement.PREARCHIVE
        strict = plan.overwrite is Overwrite.NONE
        resumed = find_delivered(
            self._client,
            check,
            plan.items,
            journal,
            archive_counts=archive_counts,
            rerun=self._context.rerun,
            strict=strict,
        )
        resumed, there = self._leave_out_overlap(check, resumed)
        for warning in [*check.warnings, *resumed.warnings]:
            self._context.warn(warning)
        self._was_there = check.existing is not None and not self._is_ours(check.existing)
        importer = self._importer(check, resumed)
        self._archived = resumed.archived
        # A direct archive creates the session with the first file; otherwise the commit creates it.
        made = self._made or (check.direct and plan.placement is Placement.ARCHIVE)
        foreign = [row for row in check.rows if row.tag == self._study and not self._is_mine(row)]
        self._joined = rows_of_others(self._client, journal, foreign)
        self._context.begin(
            was_there="yes" if self._was_there else "",
            made="yes" if made else "",
            joined=json.dumps(self._joined),
            study=self._study,
        )
        left = journal.open(plan.items, resumed.proven, there=there)
        others = [stage.items for stage in self._context.plan.stages if stage.resource is not None]
        self._context.started([*left, *chain.from_iterable(others)])
        self._send_items(importer, left)
        self._refuse_incomplete(importer)
        journal.enter(Phase.SETTLING)
        self._settle(check, importer)
        if (error := filtered(self._states())) is not None:
            raise error

    def _is_ours(self, existing: SessionInfo) -> bool:
        """Whether this journal created the session without other contents."""
        journal = self._journal
        return not journal.before("was_there") and (self._made or journal.before("session_id") == existing.id)

    def _look(self) -> Preflight:
        """Run preflight; waits until the server has finished what an earlier run began."""
        resuming = self._journal.resuming

        def quiet(destination: Destination) -> None:
            if not resuming:
                return
            context = self._context
            try:
                wait_until_idle(self._client, destination, self._study, context.schedule, self._tell, context.rerun)
            except NotArchived:
                self.report.next.append(context.rerun)
                raise

        journal = self._journal
        self._made = journal.unfinished and journal.before("made") == "yes" and journal.before("study") == self._study
        check = preflight(self._client, self._plan, ours=self._made, mine=self._is_mine, quiet=quiet)
        self._made = check.ours
        self._context.go_to(check.destination)
        return check

    @property
    def _policy(self) -> Overwrite:
        """The overwrite policy of the commit; a session that this journal created is always completed."""
        return Overwrite.DELETE if self._made else self._plan.overwrite

    def _leave_out_overlap(self, check: Preflight, resumed: ResumeState) -> tuple[ResumeState, Sequence[int]]:
        """With `append`, skip items that an existing session holds; returns a mark for each item."""
        existing = check.existing
        if existing is None or self._policy is not Overwrite.APPEND:
            return resumed, ()
        self._context.tell(EventKind.SETTLING, "comparing with the existing session", state="comparing")
        foreign = (row for row in check.rows if row.tag == self._study and not self._is_mine(row))
        refuse_waiting(self._client, existing, self._target(check), foreign)
        return skip_existing(self._client, existing, self._plan.items, resumed, self._is_sent_again)

    def _is_sent_again(self, item: UploadItem) -> bool:
        """Whether an earlier, unfinished run was going to send a delivered instance again."""
        return self._unfinished and self._journal.stored_before(item) is not None

    def _is_mine(self, row: PrearchiveRow) -> bool:
        """Whether earlier runs of this journal sent to a row, with or without an answer."""
        if row.tag != self._study:
            return False
        staged = {uri.ref for text in self._journal.places if (uri := ImportUri.parse(text)).kind == "prearchive"}
        return row.ref in staged or (not staged and self._journal.unfinished)

    # sending

    def _importer(self, check: Preflight, resumed: ResumeState) -> SessionImporter:
        return SessionImporter(
            self._client,
            check.destination,
            version=check.version,
            direct=check.direct,
            project_id=check.destination.project,
            study_instance_uid=self._study,
            known=resumed.places,
        )

    def _send_items(self, importer: SessionImporter, items: Sequence[UploadItem]) -> None:
        self._context.schedule.suspend()
        self._context.tell(EventKind.STAGE_STARTED, stage=self._send.name)
        self._context.send(
            self._send,
            items,
            importer=importer,
            http=SessionHttp(self._client),
            placed=importer.placed,
            anchored=lambda: bool(importer.uris),
        )
        self._context.tell(EventKind.STAGE_DONE, stage=self._send.name)

    def _refuse_incomplete(self, importer: SessionImporter) -> None:
        """Raise if a file is missing, so that nothing is archived; the next run completes the session."""
        lost = self._context.lost_login
        error = incomplete(self._states(), self._plan.unsendable, importer.uris, self._context.commands, lost=lost)
        if error is not None:
            undelivered = self._states().undelivered
            if not undelivered or helps_again(undelivered):
                self.report.next.append(self._context.rerun)
            raise error

    # settling

    def _settle(self, check: Preflight, importer: SessionImporter) -> None:
        self._context.tell(EventKind.STAGE_STARTED, stage="settle")
        staged = [uri.ref for uri in importer.uris if uri.kind == "prearchive"]
        if self._plan.placement is Placement.PREARCHIVE and staged:
            self._leave_in_prearchive(check, importer, staged[0])
            return
        # An earlier run archived everything, and all of it was found.
        session = check.existing if not importer.uris else None
        if direct := [uri.text for uri in importer.uris if uri.kind == "direct"]:
            self._committed.add(*direct)
            with self._context.archiving():
                session = settle.finish_direct(self._client, self._target(check), self._context.schedule, self._tell)
            staged = self._left_by_direct(check, session, staged)
        for ref in staged:
            session = self._archive(check, importer, ref)
        if session is None:
            raise self._nowhere(check)
        self._context.session = session
        self.report.state = PlaceState.ARCHIVED
        self.report.uri = f"/data/experiments/{session.id}"
        if not self._was_there:
            self._journal.remember(session_id=session.id)
        strict = self._plan.overwrite is Overwrite.NONE and self._new
        merged = merged_with_others(self._client, session, len(self._delivered())) if strict else None
        if merged is not None:
            self._was_there = True
            self._journal.remember(was_there="yes")
        if self._overwritten:
            self._context.warn(
                f"Somebody else made session {session.label} in the folder to which this upload was written. Sending "
                f"the {counted(len(self._overwritten), 'instance')} again that both have."
            )
            self._send_again(check, self._overwritten)
        if (verifier := self._verifier(check)) is not None:
            self.compared = True
            verifier.verify(session.id, self._delivered(), was_there=self._was_there)
        if merged is not None:
            raise merged

    def _nowhere(self, check: Preflight) -> NotArchived:
        """The error for a session that nothing shows after the transport delivered it."""
        look = f"Check with: {settle.looks(self._client, check.destination.project)}"
        if any(state.uri is None for state in self._states().delivered):
            return NotArchived(
                f"Transport {self._send.transport} did not say where the server has the files, so the session cannot "
                "be archived.",
                hint=f"Report this to the author of the plugin. {look}",
            )
        return NotArchived(
            "The server accepted every file, but neither the archive nor the prearchive shows the session.",
            hint=f"Ask the administrator for the server's log. {look}",
        )

    def _leave_in_prearchive(self, check: Preflight, importer: SessionImporter, ref: PrearchiveRef) -> None:
        counted = self._build_and_count(importer, ref, self._delivered(staged=True))
        self.report.state = PlaceState.PREARCHIVE
        self.report.uri = ref.path
        self._context.staged = ref
        wanted = check.destination
        overwrite = self._plan.overwrite if check.existing is not None else Overwrite.NONE
        self.report.next.append(
            settle.archive_command(self._client.commands, ref, wanted.subject, wanted.session, overwrite)
        )
        if (verifier := self._verifier()) is not None:
            verifier.conclude(read_staged(self._context, ref, counted, exact=verifier.exact))

    def _target(self, check: Preflight) -> ArchiveTarget:
        where = check.destination
        series = frozenset(item.series_instance_uid for item in self._plan.items)
        return ArchiveTarget(
            project=where.project, subject=where.subject, session=where.session, study=self._study, series=series
        )

    def _left_by_direct(
        self, check: Preflight, session: SessionInfo | None, named: Sequence[PrearchiveRef]
    ) -> list[PrearchiveRef]:
        """The rows to commit after a direct archive: those in answers, and those that the server moved there.

        A row whose timestamp ends with `_DA` is a failed direct archive, moved by the server (xnat-import 5). Another
        upload of the same study may have its own row, which must not be committed while it receives: if the archived
        session holds all our items, a row that no answer named is not changed.
        """
        rows = settle.leftovers(self._client, self._target(check))
        others = [ref for ref in rows if ref not in named]
        before = {row.ref for row in check.rows}
        moved = any(ref.timestamp.endswith(_MOVED) and ref not in before for ref in others)
        if session is not None and not moved and (not others or self._holds_direct(session)):
            for ref in others:
                self._context.warn(
                    f"The prearchive holds {ref} of the same study, which this upload did not send and does not change."
                )
            return list(named)
        # The server moved the failed direct archive to the prearchive, so an existing session belongs to another
        # upload.
        if session is not None and self._plan.overwrite is Overwrite.DELETE:
            self._overwritten = self._held_of_direct(session)
            self._journal.send_again((item, "") for item in self._overwritten)
        self._made = False
        self._journal.remember(made="")
        return [*named, *others]

    def _holds_direct(self, session: SessionInfo) -> bool:
        """Whether the archived session holds every instance that was accepted for direct archive."""
        return len(self._held_of_direct(session)) == len(self._direct())

    def _held_of_direct(self, session: SessionInfo) -> Sequence[UploadItem]:
        direct = self._direct()
        return [direct[place] for place in held(self._client, session.id, direct)]

    def _direct(self) -> Sequence[UploadItem]:
        """The items that were accepted for direct archive."""
        return tuple(state.item for state in self._states().delivered if "/prearchive/" not in (state.uri or ""))

    def _archive(
        self,
        check: Preflight,
        importer: SessionImporter,
        ref: PrearchiveRef,
        again: Sequence[UploadItem] | None = None,
    ) -> SessionInfo:
        """Archive a row, which holds the delivered items, or those that were sent `again` to replace them."""
        self.report.state = PlaceState.PREARCHIVE
        self.report.uri = ref.path
        if not importer.direct:
            self._build_and_count(importer, ref, self._delivered(staged=True) if again is None else again)
        made_before = self._new or self._made
        self._committed.add(*(uri.text for uri in importer.uris if uri.kind == "prearchive" and uri.ref == ref))
        try:
            with self._context.archiving():
                committed = commit_row(
                    self._client,
                    ref,
                    self._target(check),
                    overwrite=self._policy if again is None else Overwrite.DELETE,
                    overlap=lambda session: find_overlap(
                        self._client, session.id, self._delivered(staged=True), self._is_sent_again
                    ),
                    on_new=lambda new: self._makes(new=new),
                    into=self._context.session.id if again is not None and self._context.session is not None else None,
                    schedule=self._context.schedule,
                    emit=self._context.forward,
                )
        except NotCommitted:
            self._committed.take_back()
            raise
        if not committed.confirmed and not (self._new or made_before):
            # The archiving of the row is not confirmed: it may have been deleted, and the session may hold older files.
            self._committed.take_back()
            self.report.next.append(self._context.rerun)
            raise NotArchived(
                f"{ref.folder} left the prearchive, but the server did not confirm that it was archived. Session "
                f"{committed.session.label} was there before and may hold other files under the same UIDs.",
                hint=f"Run the same command again to send the files once more: {self._context.rerun}",
            )
        return committed.session

    def _makes(self, *, new: bool) -> None:
        """Record that the session is about to be created, in case the answer is lost; or that it was not."""
        self._made = self._new = new
        self._journal.remember(made="yes" if new else "")

    def _send_again(self, check: Preflight, items: Sequence[UploadItem]) -> None:
        """Send instances of the archived session again, and archive them in place of the stored ones."""
        importer = SessionImporter(
            self._client,
            check.destination,
            version=check.version,
            direct=False,
            project_id=check.destination.project,
            study_instance_uid=self._study,
        )
        self._send_items(importer, items)
        self._refuse_incomplete(importer)
        for uri in importer.uris:
            session = self._archive(check, importer, uri.ref, items)
            self.report.state, self.report.uri = PlaceState.ARCHIVED, f"/data/experiments/{session.id}"

    def _build_and_count(
        self, importer: SessionImporter, ref: PrearchiveRef, items: Sequence[UploadItem]
    ) -> Comparison:
        """Build and count a row. Raises NotArchived if that fails, for example because the row was removed."""
        try:
            return self._count_staged(importer, ref, items)
        except NotFound as error:
            raise settle.uncounted(self._client, ref) from error

    def _count_staged(self, importer: SessionImporter, ref: PrearchiveRef, of: Sequence[UploadItem]) -> Comparison:
        """Build and count a row; items of incomplete series are sent again once and counted again."""
        exact = bool(self._send.options.get("exact"))
        before = self._joined.get(ref.path, {})
        settle.build(self._client, ref, self._context.schedule, self._tell)
        comparison = count_staged(self._client, self._journal, ref, of, before=before, exact=exact)
        if missing := short_series(comparison.verification, of):
            self._context.warn(f"The server holds fewer files than were sent; sending {len(missing):,} again.")
            self._send_items(importer, missing)
            self._refuse_incomplete(importer)
            settle.build(self._client, ref, self._context.schedule, self._tell)
            comparison = count_staged(self._client, self._journal, ref, of, before=before, exact=exact)
            if not self._send.options.get("verify") and (lacking := comparison.verification.differences):
                self._context.warn(f"After sending again: {lacking[0].message}. --no-verify accepts that.")
        return comparison

    # verifying

    @property
    def _study(self) -> str:
        return self._plan.items[0].study_instance_uid

    def _verifier(self, check: Preflight | None = None) -> SessionVerifier | None:
        """The verifier; None if the plan requests no verification. Without `check` nothing is sent again."""
        if not self._send.options.get("verify"):
            return None
        resend = partial(self._send_again, check) if check is not None else None
        replaces = self._policy is Overwrite.DELETE

        def may_resend(item: UploadItem) -> bool:
            journal = self._journal
            if replaces or not journal.skipped(item):
                return True
            # An earlier run delivered it but did not compare it.
            return self._unfinished and not journal.was_there(item)

        return SessionVerifier(self._context, self._send, resend=resend, may_resend=may_resend)

    def _delivered(self, *, staged: bool = False) -> Sequence[UploadItem]:
        """The items that the server accepted: all, or those that are not archived yet."""
        states = self._states()
        if not staged or not any(self._archived):
            return states.delivered.items
        both = zip(states, self._archived, strict=True)
        return [state.item for state, archived in both if state.outcome.delivered and not archived]

    def _states(self) -> StateView:
        return self._journal.states(None)
