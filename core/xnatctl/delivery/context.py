"""State shared by the stages of one run: plan, server, journal, report, and sending."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

from xnatctl.delivery.engine.batch_sender import BatchSender, Placed, Reconcile
from xnatctl.delivery.engine.worker_pool import Engine, WorkerPool
from xnatctl.delivery.journal.journal import Journal, Phase
from xnatctl.delivery.journal.states import StateView
from xnatctl.delivery.redactor import PatientRedactor
from xnatctl.delivery.reporting import fill_items, incomplete
from xnatctl.delivery.schedule import PollSchedule
from xnatctl.delivery.services import Services
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import (
    BEFORE_SENDING,
    AuthenticationError,
    DeliveryIncomplete,
    JournalError,
    NotArchived,
    XnatctlError,
    exit_code_of,
)
from xnatctl.inventory.fingerprints import FINGERPRINT
from xnatctl.inventory.sources import open_digesting, open_item
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import FailureClass
from xnatctl.model.plan import RECEIVER, SESSION, Exclusion, Stage, UploadItem, UploadPlan
from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.model.report import Report
from xnatctl.plugin.protocols import Http, Importer, ResourceWriter, TransportContext
from xnatctl.xnat import site
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo

#: A task of a worker; its argument emits events.
Task = Callable[[Emit], None]


class SentImages(Protocol):
    """The images that an earlier stage of the run sent. `compared`: they were compared with the archive."""

    compared: bool

    @property
    def planned(self) -> Sequence[UploadItem]:
        """All images of the stage."""
        ...

    def delivered(self) -> Sequence[UploadItem]:
        """The images that the server accepted."""
        ...

    def compare(self, session: SessionInfo) -> None:
        """Compare the images with an archived session. Raises VerificationFailed."""
        ...


class RunContext:
    """State shared by the stages of one run.

    `session` is the archived session, once known; `staged` the prearchive row that was left for review; `images` what
    the stage `session` sent. `facts` are the facts about the run that the journal stores; a stage may add to them in
    its `check`. `arrived` returns the positions of the items that the archive holds now, if a stage can tell. `begun`
    is True once the journal is open.
    """

    def __init__(
        self,
        plan: UploadPlan,
        services: Services,
        report: Report,
        *,
        journal: Journal | None = None,
        client: XnatClient | None = None,
        session: SessionInfo | None = None,
        exclusively: Callable[[str], AbstractContextManager[object]] | None = None,
    ) -> None:
        self._plan = plan
        self._report = report
        self._services = services
        self.commands = services.commands
        self.rerun = services.commands.rerun()
        self._journal = journal or Journal()
        self.stop = services.stop or StopToken()
        self.schedule = PollSchedule(stop=self.stop, limit=services.wait)
        self.session = session
        self.staged: PrearchiveRef | None = None
        self.images: SentImages | None = None
        self.facts: dict[str, str] = {}
        self.arrived: Callable[[Sequence[UploadItem]], Iterable[int]] | None = None
        self.begun = False
        self._exclusively = exclusively
        self._client = client
        self._writes = 0
        if client is not None:
            client.redact_with(PatientRedactor(plan))
            self._writes = client.writes

    # A stage may read what follows and not replace it: what was planned is what is delivered and reported.

    @property
    def plan(self) -> UploadPlan:
        """The plan, with the destination as the server names it, once that is known."""
        return self._plan

    @property
    def report(self) -> Report:
        """The report of the run."""
        return self._report

    @property
    def services(self) -> Services:
        """What the run needs beside the plan."""
        return self._services

    @property
    def journal(self) -> Journal:
        """The record of the run."""
        return self._journal

    @property
    def client(self) -> XnatClient:
        """The client of the server. Raises ValueError in a run without a server."""
        if self._client is None:
            raise ValueError("this plan needs a server, but the run has no client")
        return self._client

    @cached_property
    def version(self) -> tuple[int, ...]:
        """The server's version."""
        return site.version(self.client).tuple

    def exclusively(self, key: str) -> AbstractContextManager[object]:
        """Hold an exclusive lock on a key on this machine. Raises Refused if another run holds it."""
        if self._exclusively is None:
            raise ValueError("this run has no directory for locks")
        return self._exclusively(key)

    def go_to(self, destination: Destination) -> None:
        """Set the destination as the server names it."""
        self._plan = replace(self.plan, destination=destination)
        self.report.destination = destination

    # the journal

    def begin(self, **facts: str) -> None:
        """Open the journal and enter every file of every resource, so that missing files are known from the start."""
        self.journal.begin({**self.facts, **facts})
        for stage in self.plan.stages:
            if stage.resource is not None:
                self.journal.plan(stage.items, stage.resource)
        self.begun = True

    def started(self, left: Sequence[UploadItem]) -> None:
        """Emit RUN_STARTED; sizes in bytes. `skipped` counts files that an earlier run delivered."""
        data = {
            "files": len(left),
            "bytes": sum(item.size for item in left),
            "skipped": len(self.plan.items) - len(left),
            "transport": self.report.transport,
        }
        self.services.tell(Event(kind=EventKind.RUN_STARTED, data=data))
        for warning in self.plan.warnings:  # before the first byte, while the run can still be stopped
            self.tell(EventKind.WARNING, warning)

    # sending

    def send(
        self,
        stage: Stage,
        items: Sequence[UploadItem],
        *,
        importer: Importer | None = None,
        http: Http | None = None,
        placed: Placed | None = None,
        anchored: Callable[[], bool] = lambda: True,
    ) -> None:
        """Send items by the transport of a stage, with all workers; the journal gets each outcome.

        Until `anchored` is true one batch is in flight at a time. `placed` judges the outcomes of each batch. Raises
        Interrupted, JournalError, PluginUnavailable.
        """
        Engine(
            self.services.transport(stage.transport or ""),
            self._transport_context(stage, importer=importer, http=http),
            self.journal,
            tell=self.forward,
            anchored=anchored,
            placed=placed,
            abort=self._abort,
            policy=self.services.policy,
            stop=self.stop,
            most=self.plan.most_workers if stage.kind in (SESSION, RECEIVER) else 0,
        ).send(items)

    def sender(
        self, stage: Stage, *, writer: ResourceWriter, emit: Emit, reconcile: Reconcile | None = None
    ) -> BatchSender:
        """A sender for the items of one resource, which works in the calling thread."""
        return BatchSender(
            self.services.transport(stage.transport or ""),
            self._transport_context(stage, writer=writer),
            self.journal,
            emit=emit,
            policy=self.services.policy,
            stop=self.stop,
            reconcile=reconcile,
        )

    def in_parallel(self, tasks: Sequence[Task], *, give_up: Callable[[], None]) -> None:
        """Run tasks in parallel, one per worker.

        Raises Interrupted after `give_up`, and JournalError if a task raised it, because nothing is sent without a
        record. Other tasks continue when one fails, so each task stores its own error.
        """
        pool = WorkerPool(tell=self.forward, stop=self.stop, abort=self._abort)
        waiting = list(reversed(tasks))
        lock = threading.Lock()
        unrecorded: list[JournalError] = []

        def work() -> None:
            while not self.stop.requested and not unrecorded:
                with lock:
                    if not waiting:
                        return
                    task = waiting.pop()
                try:
                    task(pool.emit)
                except JournalError as error:
                    unrecorded.append(error)
                    give_up()

        pool.run(work, min(self.plan.workers, len(tasks)), give_up=give_up)
        if unrecorded:
            raise unrecorded[0]

    def _abort(self) -> None:
        if self._client is not None:
            self._client.abort()

    def _transport_context(
        self,
        stage: Stage,
        *,
        importer: Importer | None = None,
        http: Http | None = None,
        writer: ResourceWriter | None = None,
    ) -> TransportContext:
        context = transport_context(stage, self.plan)
        return replace(
            context,
            open_item=_digesting(stage, self.journal, self.services.tell_digest),
            importer=importer or context.importer,
            http=http or context.http,
            writer=writer or context.writer,
            stop_requested=lambda: self.stop.requested,
            commands=self.commands,
        )

    def settling(self) -> None:
        """Enter in the journal that everything was sent, and that the run waits for what becomes of it."""
        self.journal.enter(Phase.SETTLING)

    @contextmanager
    def archiving(self) -> Iterator[None]:
        """Hold the permit to let the server archive a session. The time limit of settling stops until it is given."""
        self.schedule.suspend()
        with self.services.archiving():
            yield

    # the end

    def tell_earlier_digests(self) -> None:
        """Pass on the SHA-256 of items that earlier runs sent, as far as the journal holds it."""
        tell = self.services.tell_digest
        if tell is None:
            return
        items = [state.item for state in self.journal.states(None) if state.skipped]
        with suppress(JournalError):  # the journal is no better source than the disk, only a quicker one
            for item, entry in zip(items, self.journal.recorded(items), strict=True):
                if entry is not None and entry.digest is not None and len(entry.digest) == 64:
                    tell(item, entry.digest)

    def incomplete(self, states: StateView, unsendable: Sequence[Exclusion]) -> XnatctlError | None:
        """The error that ends a stage of which a file was not delivered; None when all were.

        `states` are those of its items, from `journal.states`; `unsendable` are files of it that cannot be sent.
        """
        return incomplete(states, unsendable, (), self.commands, lost=self.lost_login)

    @property
    def lost_login(self) -> AuthenticationError | None:
        """Why the login ended and could not be renewed by its source; None while there is one."""
        return None if self._client is None else self._client.lost_login

    def current_report(self) -> Report:
        """The report of the current state, with every file."""
        fill_items(self.report, self.journal.states(), self.plan)
        return self.report

    def duplicates(self) -> list[UploadItem]:
        """The items whose UID the receiver already had, unless this run sent them."""
        return [
            state.item
            for state in self.journal.states().delivered
            if state.failure is FailureClass.DUPLICATE and not state.doubtful
        ]

    @property
    def sent(self) -> bool:
        """Whether this run sent a file, or a request that may change the server."""
        if self._client is not None and self._client.writes > self._writes:
            return True
        return self.begun and any(state.attempts for state in self.journal.states())

    def ending(self, error: XnatctlError) -> XnatctlError:
        """The error that ends the run; replaces errors that imply "nothing was sent" once something was."""
        if exit_code_of(error) not in BEFORE_SENDING or not self.sent:
            return error
        kind = DeliveryIncomplete if not self.begun or self.journal.states().undelivered else NotArchived
        return kind(error.message, hint=error.hint or f"Run the command again: {self.rerun}")

    # changes

    def warn(self, message: str) -> None:
        """Add a warning to the report and emit it; in the main thread."""
        self.report.warnings.append(message)
        self.services.tell(Event(kind=EventKind.WARNING, message=message))

    def forward(self, event: Event) -> None:
        """Forward events of workers, in the main thread; each warning is added to the report and emitted once."""
        if event.kind is not EventKind.WARNING:
            self.services.tell(event)
        elif event.message not in self.report.warnings:
            self.warn(event.message)

    def tell(self, kind: EventKind, message: str = "", **data: object) -> None:
        """Emit an event; in the main thread."""
        self.services.tell(Event(kind=kind, message=message, data=data))


def transport_context(stage: Stage, plan: UploadPlan) -> TransportContext:
    """The context of a stage's transport before anything is sent.

    A resource has one writer at a time (xnat-api 4.7).
    """
    return TransportContext(
        destination=plan.destination,
        workers=1 if stage.resource is not None else plan.workers,
        options=dict(stage.transport_options),
        open_item=open_item,
        resource=stage.resource,
        items=stage.items,
        discreet=PatientRedactor(plan).of,
    )


def _digesting(
    stage: Stage, journal: Journal, tell: Callable[[UploadItem, str], None] | None
) -> Callable[[UploadItem], AbstractContextManager[Any]]:
    """Hash files while they are read: with the algorithm of the server for a resource (xnat-api 2.5).

    `tell` gets SHA-256 as well; for an instance the journal then holds that instead of the quicker digest.
    """
    if stage.resource is not None:
        return lambda item: open_digesting(item, journal.digest, "md5", also=tell)
    if tell is None:
        return lambda item: open_digesting(item, journal.digest, FINGERPRINT)

    def both(item: UploadItem, digest: str) -> None:
        journal.digest(item, digest)
        tell(item, digest)

    return lambda item: open_digesting(item, both)
