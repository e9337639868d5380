"""What the parts of one run share: the plan, the server, the journal, the report, and how things are said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from xnatctl.delivery.engine.batch_sender import TransportFactory
from xnatctl.delivery.engine.retry import Pause, RetryPolicy
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.redactor import PatientRedactor
from xnatctl.delivery.session import settle
from xnatctl.delivery.session.settle import PollSchedule
from xnatctl.errors import BEFORE_SENDING, DeliveryIncomplete, NotArchived, XnatctlError, exit_code_of
from xnatctl.inventory.fingerprints import FINGERPRINT
from xnatctl.inventory.sources import open_digesting, open_item
from xnatctl.model.commands import PLAIN, Commands
from xnatctl.model.events import Event, EventKind
from xnatctl.model.plan import Payload, Stage, StageKind, UploadItem, UploadPlan
from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.model.report import Report, Status
from xnatctl.plugin.protocols import Importer, ResourceWriter, TransportContext
from xnatctl.xnat import site
from xnatctl.xnat.http.client import XnatClient
from xnatctl.xnat.listing import SessionInfo


def _alone(key: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(kw_only=True)
class Runtime:
    """What a run needs beside its plan.

    `client` is None for a transport that hands over to a receiver. `factories` makes transports by name, `tell` hears
    every event in the main thread, `rerun` is the command that finishes the job, `commands` makes others for hints.
    `wait` bounds settling, in seconds. `facts` is what the journal keeps of the command, so that another process can
    finish it. `exclusively` keeps every other run on this machine away from what a key names, as long as its context
    lasts. `session` is the session of a plan of resources only, which has been looked up already.
    """

    client: XnatClient | None
    factories: Callable[[str], TransportFactory]
    tell: Callable[[Event], None]
    rerun: str
    commands: Commands = PLAIN
    wait: float = settle.WAIT
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    journal: Journal = field(default_factory=Journal)
    facts: Mapping[str, str] = field(default_factory=dict)
    exclusively: Callable[[str], AbstractContextManager[object]] = _alone
    session: SessionInfo | None = None


class RunContext:
    """State shared by the stages of one run.

    `session` is the archived session, once it is known; `staged` the prearchive row that was left for a review; `begun`
    is True once the journal was opened.
    """

    def __init__(self, plan: UploadPlan, runtime: Runtime) -> None:
        self.plan = plan
        self.runtime = runtime
        self.journal = runtime.journal
        self.pause = Pause()
        self.schedule = PollSchedule(pause=self.pause, limit=runtime.wait)
        self.session = runtime.session
        self.staged: PrearchiveRef | None = None
        self.begun = False
        self.report = new_report(plan)
        self._writes = 0
        if runtime.client is not None:
            runtime.client.discreet = PatientRedactor(plan)
            self._writes = runtime.client.writes

    @property
    def client(self) -> XnatClient:
        """The server. Raises ValueError in a run without one."""
        if self.runtime.client is None:
            raise ValueError("this plan is carried out on a server, so a client is needed")
        return self.runtime.client

    @cached_property
    def version(self) -> tuple[int, ...]:
        """The server's version."""
        return site.version(self.client).tuple

    def go_to(self, destination: Destination) -> None:
        """The destination as the server names it."""
        self.plan = replace(self.plan, destination=destination)
        self.report.destination = destination

    def begin(self, **facts: str) -> None:
        """Open the journal, with every file of every resource in it: what is missing is known from the start."""
        self.journal.begin({**journal_facts(self.plan, self.runtime), **facts})
        for stage in self.plan.stages:
            if stage.resource is not None:
                self.journal.plan(stage.items, stage.resource)
        self.begun = True

    def started(self, left: Sequence[UploadItem]) -> None:
        """Tell the first event of a run; sizes in bytes. `skipped` counts what an earlier run delivered."""
        data = {
            "files": len(left),
            "bytes": sum(item.size for item in left),
            "skipped": len(self.plan.items) - len(left),
            "transport": self.report.transport,
        }
        self.runtime.tell(Event(kind=EventKind.RUN_STARTED, data=data))
        for warning in self.plan.warnings:  # before the first byte, while it can still be stopped
            self.tell(EventKind.WARNING, warning)

    @property
    def sent(self) -> bool:
        """Whether this run sent anything: a file, or a request that may change the server."""
        client = self.runtime.client
        if client is not None and client.writes > self._writes:
            return True
        return self.begun and any(state.attempts for state in self.journal.states())

    def ending(self, error: XnatctlError) -> XnatctlError:
        """The error that the run ends with: none that says that nothing was sent, once something was."""
        if exit_code_of(error) not in BEFORE_SENDING or not self.sent:
            return error
        kind = DeliveryIncomplete if not self.begun or self.journal.states().undelivered else NotArchived
        return kind(error.message, hint=error.hint or f"Run the command again: {self.runtime.rerun}")

    def warn(self, message: str) -> None:
        """To the report and to whoever watches; in the main thread."""
        self.report.warnings.append(message)
        self.runtime.tell(Event(kind=EventKind.WARNING, message=message))

    def hear(self, event: Event) -> None:
        """Pass on what workers say, in the main thread: a warning goes to the report too, and is said once."""
        if event.kind is not EventKind.WARNING:
            self.runtime.tell(event)
        elif event.message not in self.report.warnings:
            self.warn(event.message)

    def tell(self, kind: EventKind, message: str = "", **data: object) -> None:
        """To whoever watches; in the main thread."""
        self.runtime.tell(Event(kind=kind, message=message, data=data))


def new_report(plan: UploadPlan) -> Report:
    """The report of a run that has not begun."""
    transports = dict.fromkeys(stage.transport for stage in plan.stages if stage.transport)
    return Report(
        command=plan.command,
        status=Status.FAILED,
        destination=plan.destination,
        transport="+".join(transports),
        excluded=list(plan.excluded),
        warnings=list(plan.warnings),
    )


def journal_facts(plan: UploadPlan, runtime: Runtime) -> dict[str, str]:
    """What the journal keeps of a run as a whole; where a session went is kept of the run that sent it."""
    facts = {
        **runtime.facts,
        "destination": json.dumps(asdict(plan.destination)),
        "root": json.dumps(plan.root),
    }
    if any(stage.kind is StageKind.SETTLE for stage in plan.stages):
        return {**facts, "placement": str(plan.placement), "sends": "session"}
    return {**facts, "sends": "resources"}


def context_for(
    stage: Stage,
    plan: UploadPlan,
    importer: Importer | None = None,
    pause: Pause | None = None,
    journal: Journal | None = None,
    writer: ResourceWriter | None = None,
    commands: Commands = PLAIN,
) -> TransportContext:
    """What the transports of a send stage get to see. A resource has one writer at a time (xnat-api 4.7)."""
    return TransportContext(
        destination=plan.destination,
        workers=1 if stage.resource is not None else plan.workers,
        options=dict(stage.options),
        open_item=open_item if journal is None else _digesting(stage, journal),
        importer=importer,
        writer=writer,
        resource=stage.resource,
        stop_requested=(lambda: pause.stopped) if pause is not None else (lambda: False),
        items=stage.items,
        commands=commands,
        discreet=PatientRedactor(plan).of,
    )


def _digesting(stage: Stage, journal: Journal) -> Callable[[UploadItem], AbstractContextManager[Any]]:
    """What is read is hashed on the way: as the server does it for a resource (xnat-api 2.5)."""
    if stage.payload is Payload.RESOURCE:
        return lambda item: open_digesting(item, journal.digest, "md5")
    return lambda item: open_digesting(item, journal.digest, FINGERPRINT)


def send_stage(plan: UploadPlan) -> Stage:
    """The first stage that sends."""
    return next(stage for stage in plan.stages if stage.kind is StageKind.SEND)
