"""The stage `session` of a run: preflight, send DICOM, settle, verify, in this order, each behind a barrier."""

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
from xnatctl.delivery.session.importer import SessionImporter
from xnatctl.delivery.session.overlap import find_overlap, leave_out, refuse_waiting
from xnatctl.delivery.session.preflight import Preflight, preflight
from xnatctl.delivery.session.resume import (
    CommittedPlaces,
    ResumeState,
    await_quiet,
    find_delivered,
    held,
    rows_of_others,
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

#: How the server ends the timestamp of a direct archive that it moved to the prearchive.
_MOVED = "_DA"


class SessionRunner:
    """Sends the DICOM of a plan, settles and verifies. After `run` the context has the session."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self._context = context
        self._send = stage
        self._tell = context.services.tell
        self._client = context.client
        self._journal = context.journal
        self._pause = context.pause
        self._was_there = False
        #: Whether earlier runs of this journal delivered something that they did not prove.
        self._unfinished = context.journal.unfinished
        #: Whether this journal made the session, or began to.
        self._made = False
        #: Whether this run made it, by a commit where there was none.
        self._new = False
        self._archived: Sequence[int] = ()
        self._committed = CommittedPlaces(context.journal)
        #: Rows of the prearchive that held files of others before this journal sent to them.
        self._joined: Mapping[str, Mapping[str, int] | None] = {}
        #: What a direct archive received and a session of somebody else holds, whose files go to the same folder.
        self._overwritten: Sequence[UploadItem] = ()
        #: True once what was sent was compared with the archive.
        self.compared = False
        self.report = context.report
        context.images = self

    def check(self) -> None:
        """What can be asked of the server is asked when the stage runs, before anything is sent."""

    def give_up(self) -> None:
        """The engine ends its own workers, and the pause of the run ends the waiting."""

    @property
    def planned(self) -> Sequence[UploadItem]:
        """The instances of the plan."""
        return self._send.items

    def delivered(self) -> Sequence[UploadItem]:
        """Those that the server said that it took."""
        return self._delivered()

    def compare(self, session: SessionInfo) -> None:
        """Compare what was left in the prearchive with the session that it became. Raises VerificationFailed."""
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
        # After a review the session is in the archive, which is where what was left for review belongs in the end.
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
        # A direct archive makes the session from the first file on; any other upload when it is committed.
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
        """Whether this journal made the session, and it held nothing else then."""
        journal = self._journal
        return not journal.before("was_there") and (self._made or journal.before("session_id") == existing.id)

    def _look(self) -> Preflight:
        """What the server says before anything is sent; what an earlier run began there is waited for."""
        resuming = self._journal.resuming

        def quiet(destination: Destination) -> None:
            if not resuming:
                return
            context = self._context
            try:
                await_quiet(self._client, destination, self._study, context.schedule, self._tell, context.rerun)
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
        """What the commit may do to an existing session: one that this journal made is completed in any case."""
        return Overwrite.DELETE if self._made else self._plan.overwrite

    def _leave_out_overlap(self, check: Preflight, resumed: ResumeState) -> tuple[ResumeState, Sequence[int]]:
        """What an existing session holds already is not sent with `append`; marks for those, one for each item."""
        existing = check.existing
        if existing is None or self._policy is not Overwrite.APPEND:
            return resumed, ()
        self._context.tell(EventKind.SETTLING, "comparing with what the session holds already", state="comparing")
        foreign = (row for row in check.rows if row.tag == self._study and not self._is_mine(row))
        refuse_waiting(self._client, existing, self._target(check), foreign)
        return leave_out(self._client, existing, self._plan.items, resumed, self._is_sent_again)

    def _is_sent_again(self, item: UploadItem) -> bool:
        """Whether an earlier run that did not end was to send an instance again, which it had delivered before."""
        return self._unfinished and self._journal.stored_before(item) is not None

    def _is_mine(self, row: PrearchiveRow) -> bool:
        """Whether earlier runs of this journal sent to a row: one that answered, or whose answers were lost."""
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
        self._context.send(self._send, items, importer=importer, anchored=lambda: bool(importer.uris))
        self._context.tell(EventKind.STAGE_DONE, stage=self._send.name)

    def _refuse_incomplete(self, importer: SessionImporter) -> None:
        """Nothing is archived while a file is known to be missing: the next run completes the same session."""
        error = incomplete(self._states(), self._plan.unsendable, importer.uris, self._context.commands)
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
        # Nothing is open: an earlier run had it archived, and all of it was found there.
        session = check.existing if not importer.uris else None
        if direct := [uri.text for uri in importer.uris if uri.kind == "direct"]:
            self._committed.add(*direct)
            session = settle.finish_direct(self._client, self._target(check), self._context.schedule, self._tell)
            staged = self._left_by_direct(check, session, staged)
        for ref in staged:
            session = self._archive(check, importer, ref)
        if session is None:
            raise NotArchived(
                "The server took every file, but neither the archive nor the prearchive shows the session.",
                hint="Ask the administrator for the log. Look with: "
                f"{settle.looks(self._client, check.destination.project)}",
            )
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
        """The rows to commit after a direct archive: those that answers named, and what the server moved there.

        A row whose timestamp ends with `_DA` is a direct archive that failed, moved by the server (xnat-import
        5). Another upload of the same study may have a row of its own, which is not committed while it receives: where
        the archived session holds all that went there, any other row that no answer named is left alone.
        """
        rows = settle.leftovers(self._client, self._target(check))
        others = [ref for ref in rows if ref not in named]
        before = {row.ref for row in check.rows}
        moved = any(ref.timestamp.endswith(_MOVED) and ref not in before for ref in others)
        if session is not None and not moved and (not others or self._holds_direct(session)):
            for ref in others:
                self._context.warn(
                    f"The prearchive holds {ref} of the same study, which this upload did not send; it stays there."
                )
            return list(named)
        # The server could not archive it and moved it to the prearchive: a session that is there is somebody else's.
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
        """Have the server archive a row; it holds what was delivered, or what was sent `again` to replace it."""
        self.report.state = PlaceState.PREARCHIVE
        self.report.uri = ref.path
        if not importer.direct:
            self._build_and_count(importer, ref, self._delivered(staged=True) if again is None else again)
        made_before = self._new or self._made
        self._committed.add(*(uri.text for uri in importer.uris if uri.kind == "prearchive" and uri.ref == ref))
        try:
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
                emit=self._context.hear,
            )
        except NotCommitted:
            self._committed.take_back()
            raise
        if not committed.confirmed and not (self._new or made_before):
            # The row was not seen being archived: it may have been deleted, and the session may hold older files.
            self._committed.take_back()
            self.report.next.append(self._context.rerun)
            raise NotArchived(
                f"{ref.folder} left the prearchive, and the server did not say that it archived it. Session "
                f"{committed.session.label} was there before and may hold other files under the same UIDs.",
                hint=f"Run the same command again; it sends the files once more: {self._context.rerun}",
            )
        return committed.session

    def _makes(self, *, new: bool) -> None:
        """The session is about to be made, so that it is known as ours should the answer be lost; or it was not."""
        self._made = self._new = new
        self._journal.remember(made="yes" if new else "")

    def _send_again(self, check: Preflight, items: Sequence[UploadItem]) -> None:
        """Send instances of the archived session once more, and archive them in the place of those that are there."""
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
        """Have the server count a row. Raises NotArchived when it cannot, because somebody took it away, say."""
        try:
            return self._count_staged(importer, ref, items)
        except NotFound as error:
            raise settle.uncounted(self._client, ref) from error

    def _count_staged(self, importer: SessionImporter, ref: PrearchiveRef, of: Sequence[UploadItem]) -> Comparison:
        """Have the server count; what came up short is sent again, once, and counted again."""
        exact = bool(self._send.options.get("exact"))
        before = self._joined.get(ref.path, {})
        settle.build(self._client, ref, self._context.schedule, self._tell)
        comparison = count_staged(self._client, self._journal, ref, of, before=before, exact=exact)
        if missing := short_series(comparison.verification, of):
            self._context.warn(f"The server holds fewer files than were sent; sending {len(missing)} again.")
            self._send_items(importer, missing)
            self._refuse_incomplete(importer)
            settle.build(self._client, ref, self._context.schedule, self._tell)
            comparison = count_staged(self._client, self._journal, ref, of, before=before, exact=exact)
        return comparison

    # verifying

    @property
    def _study(self) -> str:
        return self._plan.items[0].study_instance_uid

    def _verifier(self, check: Preflight | None = None) -> SessionVerifier | None:
        """None when the plan asks for no verification. Without `check` nothing is sent again."""
        if not self._send.options.get("verify"):
            return None
        resend = partial(self._send_again, check) if check is not None else None
        replaces = self._policy is Overwrite.DELETE

        def may_resend(item: UploadItem) -> bool:
            journal = self._journal
            if replaces or not journal.skipped(item):
                return True
            # An earlier run delivered it, and did not come to compare it.
            return self._unfinished and not journal.was_there(item)

        return SessionVerifier(self._context, self._send, resend=resend, may_resend=may_resend)

    def _delivered(self, *, staged: bool = False) -> Sequence[UploadItem]:
        """What the server says it has, all or what is not archived yet; the rest is reported on its own."""
        states = self._states()
        if not staged or not any(self._archived):
            return states.delivered.items
        both = zip(states, self._archived, strict=True)
        return [state.item for state, archived in both if state.outcome.delivered and not archived]

    def _states(self) -> StateView:
        return self._journal.states(None)
