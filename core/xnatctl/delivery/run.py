"""From a plan to a report: preflight, send, settle, verify, in this order, each behind a barrier."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from xnatctl.delivery import settle, verify
from xnatctl.delivery.engine import Engine
from xnatctl.delivery.importer import SessionImporter
from xnatctl.delivery.journal import Journal, Phase
from xnatctl.delivery.lane import TransportFactory
from xnatctl.delivery.preflight import Preflight, preflight
from xnatctl.delivery.reporting import fill_items, filtered, incomplete
from xnatctl.delivery.resume import Ground, await_quiet, survey, survey_receiver
from xnatctl.delivery.retry import Pause, RetryPolicy
from xnatctl.delivery.settle import Clockwork
from xnatctl.errors import NotArchived, VerificationFailed
from xnatctl.inventory.sources import open_digesting, open_item
from xnatctl.model.events import Event, EventKind
from xnatctl.model.plan import Overwrite, Placement, Stage, StageKind, UploadItem, UploadPlan
from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.model.report import PlaceState, Report, Status, Verification
from xnatctl.plugin.protocols import TransportContext
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo


@dataclass(kw_only=True)
class Runtime:
    """What a run needs beside its plan.

    `client` is None for a transport that hands over to a receiver. `factories` makes transports by name, `tell` hears
    every event in the main thread, `rerun` is the command that finishes the job. `wait` bounds settling, in seconds.
    `facts` is what the journal keeps of the command, so that another process can finish it.
    """

    client: XnatClient | None
    factories: Callable[[str], TransportFactory]
    tell: Callable[[Event], None]
    rerun: str
    wait: float = settle.WAIT
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    journal: Journal = field(default_factory=Journal)
    display: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


class SessionRun:
    """One plan on its way. `report` is complete after `run`, whatever happened."""

    def __init__(self, plan: UploadPlan, runtime: Runtime) -> None:
        if runtime.client is None:
            raise ValueError("a session is settled on a server, so a client is needed")
        self._plan = plan
        self._runtime = runtime
        self._client = runtime.client
        self._journal = runtime.journal
        self._pause = Pause()
        self._clockwork = Clockwork(pause=self._pause, limit=runtime.wait)
        self._send = next(stage for stage in plan.stages if stage.kind is StageKind.SEND)
        self._was_there = False
        self._archived: frozenset[str] = frozenset()
        self.report = new_report(plan, self._send)

    def run(self) -> Report:
        """Run every stage.

        Raises XnatctlError with `report` holding what is known; the caller writes the error into it.
        """
        started = time.monotonic()
        try:
            self._run()
        finally:
            self.report.seconds = time.monotonic() - started
            fill_items(self.report, self._journal.states(), self._plan)
            self._tell(EventKind.RUN_DONE, status=str(self.report.status))
        return self.report

    def _run(self) -> None:
        check = self._look()
        journal, plan = self._journal, self._plan
        # After a review the session is in the archive, which is where what was left for review belongs in the end.
        archive_counts = plan.placement is Placement.ARCHIVE or journal.before("placement") == Placement.PREARCHIVE
        ground = survey(self._client, check, plan.items, journal.past(), journal.places, archive_counts=archive_counts)
        for warning in [*check.warnings, *ground.warnings]:
            self._warn(warning)
        ours = self._journal.phase not in ("", Phase.DONE) and not self._journal.before("was_there")
        self._was_there = check.existing is not None and not ours
        importer = self._importer(check, ground)
        self._archived = ground.archived
        was_there = "yes" if self._was_there else ""
        self._journal.begin({**journal_facts(self._plan, self._runtime), "was_there": was_there})
        left = self._journal.open(self._plan.items, ground.proven)
        self._runtime.tell(run_started(self._plan, self._send, self._runtime, left))
        self._send_items(importer, left)
        self._refuse_incomplete(importer)
        self._journal.enter(Phase.SETTLING)
        self._settle(check, importer)
        if (error := filtered(self._journal.states())) is not None:
            raise error
        self._journal.enter(Phase.DONE)
        self.report.status = Status.COMPLETE

    def _look(self) -> Preflight:
        """What the server says before anything is sent; what an earlier run began there is waited for."""
        resuming = self._journal.resuming

        def quiet(destination: Destination) -> None:
            if resuming:
                await_quiet(self._client, destination, self._study, self._clockwork, self._runtime.tell)

        check = preflight(self._client, self._plan, ours=self._journal.unfinished, quiet=quiet)
        self._plan = replace(self._plan, destination=check.destination)
        self.report.destination = check.destination
        return check

    # sending

    def _importer(self, check: Preflight, ground: Ground) -> SessionImporter:
        return SessionImporter(
            self._client,
            check.destination,
            version=check.version,
            direct=check.direct,
            project_id=check.destination.project,
            study_instance_uid=self._study,
            known=ground.places,
        )

    def _send_items(self, importer: SessionImporter, items: Sequence[UploadItem]) -> None:
        self._tell(EventKind.STAGE_STARTED, stage=self._send.name)
        engine = Engine(
            self._runtime.factories(self._send.transport or ""),
            context_for(self._send, self._plan, importer, self._pause, self._journal),
            self._journal,
            tell=self._runtime.tell,
            anchored=lambda: bool(importer.uris),
            abort=self._client.abort,
            policy=self._runtime.policy,
            pause=self._pause,
        )
        engine.send(items)
        self._tell(EventKind.STAGE_DONE, stage=self._send.name)

    def _refuse_incomplete(self, importer: SessionImporter) -> None:
        """Nothing is archived while a file is known to be missing: the next run completes the same session."""
        error = incomplete(self._journal.states(), self._plan, importer.uris, self._runtime.rerun)
        if error is not None:
            self.report.next.append(self._runtime.rerun)
            raise error

    # settling

    def _settle(self, check: Preflight, importer: SessionImporter) -> None:
        self._tell(EventKind.STAGE_STARTED, stage="settle")
        staged = [uri.ref for uri in importer.uris if uri.kind == "prearchive"]
        if self._plan.placement is Placement.PREARCHIVE and staged:
            self._leave_in_prearchive(check, importer, staged[0])
            return
        # Nothing is open: an earlier run had it archived, and all of it was found there.
        session = check.existing if not importer.uris else None
        if any(uri.kind == "direct" for uri in importer.uris):
            session = settle.finish_direct(
                self._client, check.destination, self._study, self._clockwork, self._runtime.tell
            )
            staged = list(settle.leftovers(self._client, check.destination, self._study))
        for ref in staged:
            session = self._archive(check, importer, ref, exists=session is not None or check.existing is not None)
        if session is None:
            raise NotArchived(
                "The server took every file, but neither the archive nor the prearchive shows the session.",
                hint="Look with xnatctl session list and xnatctl prearchive list; ask the administrator for the log.",
            )
        self.report.state = PlaceState.ARCHIVED
        self.report.uri = f"/data/experiments/{session.id}"
        if self._wants_verification:
            self._verify_archived(session.id)

    def _leave_in_prearchive(self, check: Preflight, importer: SessionImporter, ref: PrearchiveRef) -> None:
        verification = self._build_and_count(importer, ref)
        self.report.state = PlaceState.PREARCHIVE
        self.report.uri = ref.path
        self.report.next.append(
            f"xnatctl prearchive archive {ref.project} {ref.timestamp} {ref.folder} "
            f"--subject {check.destination.subject} --label {check.destination.session}"
        )
        if self._wants_verification:
            self._judge(verification)

    def _archive(self, check: Preflight, importer: SessionImporter, ref: PrearchiveRef, *, exists: bool) -> SessionInfo:
        self.report.state = PlaceState.PREARCHIVE
        self.report.uri = ref.path
        if not importer.direct:
            self._build_and_count(importer, ref)
        return settle.commit_row(
            self._client,
            ref,
            subject=check.destination.subject,
            session=check.destination.session,
            # What `none` protects is other people's data; what an earlier run of ours left there is completed.
            overwrite=Overwrite.APPEND if exists and self._plan.overwrite is Overwrite.NONE else self._plan.overwrite,
            exists=exists,
            wait=self._runtime.wait,
            emit=self._runtime.tell,
            pause=self._pause,
        )

    def _build_and_count(self, importer: SessionImporter, ref: PrearchiveRef) -> Verification:
        """Have the server count; what came up short is sent again, once, and counted again."""
        client = self._client
        items = tuple(item for item in self._delivered() if item.name not in self._archived)
        settle.build(client, ref, self._clockwork, self._runtime.tell)
        verification = verify.verify_staged(client, ref, items)
        missing = verify.short_series(verification, items)
        if missing and any((d.found or 0) < (d.expected or 0) for d in verification.differences):
            self._warn(f"The server holds fewer files than were sent; sending {len(missing)} again.")
            self._send_items(importer, missing)
            self._refuse_incomplete(importer)
            settle.build(client, ref, self._clockwork, self._runtime.tell)
            verification = verify.verify_staged(client, ref, items)
        return verification

    # verifying

    @property
    def _wants_verification(self) -> bool:
        return any(stage.kind is StageKind.VERIFY for stage in self._plan.stages)

    @property
    def _study(self) -> str:
        return self._plan.items[0].study_instance_uid

    def _verify_archived(self, session_id: str) -> None:
        self._tell(EventKind.VERIFYING, state="comparing")
        for attempt in range(3):
            verification = verify.verify_archived(
                self._client, session_id, self._delivered(), was_there=self._was_there
            )
            if verification.ok or not self._pause.wait(0.5 * (attempt + 1)):
                break  # a listing may lag behind the archiving, so differences are looked at again
        self._judge(verification)

    def _judge(self, verification: Verification) -> None:
        self.report.verification = verification
        if verification.ok:
            return
        self.report.next.append(self._runtime.rerun)
        gone = {d.sop_instance_uid for d in verification.differences if d.kind in ("missing", "remapped")}
        self._journal.doubt(item for item in self._plan.items if item.sop_instance_uid in gone)
        raise VerificationFailed(
            f"The server does not hold what is on disk: {len(verification.differences)} differences, "
            f"first: {verification.differences[0].message}.",
            hint="A series import filter or an anonymisation script of the site may have dropped or renamed instances; "
            "the report names each one.",
        )

    def _delivered(self) -> tuple[UploadItem, ...]:
        """What the server says it has; the rest is reported on its own."""
        return tuple(state.item for state in self._journal.states() if state.outcome.delivered)

    # saying

    def _warn(self, message: str) -> None:
        self.report.warnings.append(message)
        self._runtime.tell(Event(kind=EventKind.WARNING, message=message))

    def _tell(self, kind: EventKind, **data: object) -> None:
        self._runtime.tell(Event(kind=kind, data=data))


class HandoverRun:
    """A plan whose transport hands over to a receiver: sent, and accepted file by file; no more can be said of it."""

    def __init__(self, plan: UploadPlan, runtime: Runtime) -> None:
        self._plan = plan
        self._runtime = runtime
        self._send = next(stage for stage in plan.stages if stage.kind is StageKind.SEND)
        self.report = new_report(plan, self._send)

    def run(self) -> Report:
        """Send. Raises XnatctlError with `report` holding what is known."""
        started, runtime, plan = time.monotonic(), self._runtime, self._plan
        try:
            journal = runtime.journal
            ground = survey_receiver(plan.items, journal.past())
            for warning in ground.warnings:
                self.report.warnings.append(warning)
                runtime.tell(Event(kind=EventKind.WARNING, message=warning))
            journal.begin(journal_facts(plan, runtime))
            left = journal.open(plan.items, ground.proven)
            runtime.tell(run_started(plan, self._send, runtime, left))
            pause = Pause()
            Engine(
                runtime.factories(self._send.transport or ""),
                context_for(self._send, plan, None, pause, journal),
                journal,
                tell=runtime.tell,
                policy=runtime.policy,
                pause=pause,
            ).send(left)
            error = incomplete(journal.states(), plan, (), runtime.rerun)
            if error is not None:
                self.report.next.append(runtime.rerun)
                raise error
            journal.enter(Phase.DONE)
            self.report.state = PlaceState.RECEIVER
            self.report.status = Status.COMPLETE
        finally:
            self.report.seconds = time.monotonic() - started
            fill_items(self.report, runtime.journal.states(), plan)
            runtime.tell(Event(kind=EventKind.RUN_DONE, data={"status": str(self.report.status)}))
        return self.report


def new_report(plan: UploadPlan, send: Stage) -> Report:
    """The report of a run that has not begun."""
    return Report(
        command=plan.command,
        status=Status.FAILED,
        destination=plan.destination,
        transport=send.transport or "",
        excluded=list(plan.excluded),
        warnings=list(plan.warnings),
    )


def run_started(plan: UploadPlan, send: Stage, runtime: Runtime, left: Sequence[UploadItem]) -> Event:
    """The first event of a run; sizes in bytes. `skipped` counts what an earlier run delivered."""
    data = {
        "files": len(left),
        "bytes": sum(item.size for item in left),
        "skipped": len(plan.items) - len(left),
        "transport": send.transport,
        **runtime.display,
    }
    return Event(kind=EventKind.RUN_STARTED, data=data)


def journal_facts(plan: UploadPlan, runtime: Runtime) -> dict[str, str]:
    """What the journal keeps of a run as a whole."""
    return {
        **runtime.facts,
        "destination": json.dumps(asdict(plan.destination)),
        "root": json.dumps(plan.root),
        "placement": str(plan.placement),
    }


def context_for(
    stage: Stage,
    plan: UploadPlan,
    importer: SessionImporter | None,
    pause: Pause | None = None,
    journal: Journal | None = None,
) -> TransportContext:
    """What the transports of a send stage get to see."""
    return TransportContext(
        destination=plan.destination,
        workers=plan.workers,
        options=dict(stage.options),
        open_item=open_item if journal is None else (lambda item: open_digesting(item, journal.digest)),
        importer=importer,
        stop_requested=(lambda: pause.stopped) if pause is not None else (lambda: False),
    )
