"""The steps that all upload commands share: plan, dry run or delivery, report, exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xnatctl.cli.report_writing import ReportWriting
from xnatctl.errors import Interrupted, PluginUnavailable, Refused, UsageError, XnatctlError, exit_code_of
from xnatctl.model.plan import RECEIVER, SESSION, Payload, Stage, UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.model.report import Report, Status
from xnatctl.model.words import listed

if TYPE_CHECKING:
    from pathlib import Path

    from xnatctl.cli.app import App
    from xnatctl.delivery.many import PlanExecutor
    from xnatctl.delivery.services import Services, StageKind
    from xnatctl.inventory.walk import Inventory
    from xnatctl.model.document import Document
    from xnatctl.plugin.protocols import Transport, TransportContext
    from xnatctl.xnat.client import XnatClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """An upload as a command requested it.

    `wait` is the time limit of settling in seconds, `lock_wait` that of waiting for another run.
    `resume`: continue from the journal; otherwise start a new one. `studies` are the UIDs of the studies that may be
    sent; empty allows any. `address` is that of the receiver of the upload that is resumed; empty allows any.
    """

    request: UploadRequest  # what is asked for
    dry_run: bool = False  # plan and show, send nothing
    wait: float | None = None
    resume: bool = True
    lock_wait: float = 60.0
    studies: frozenset[str] = frozenset()
    address: str = ""


def run_upload(app: App, upload: Upload) -> None:
    """Plan an upload and deliver it, unless it is a dry run; render the report and end the command.

    Ends through `App.exit_with` with an exit code of `docs/reference/exit-codes.md`; raises no other expected error.
    """
    shown: list[Document] = []
    writing = ReportWriting(app, upload.request)

    def work() -> Report | None:
        writing.begin(dry_run=upload.dry_run)
        plan = plan_upload(app, upload)
        if upload.dry_run:
            shown.append(_plan_document(app, upload, plan))
            return None
        from xnatctl.delivery.service import deliver

        return deliver(plan, writing.services(services_of(app, upload), [plan]))

    _end(app, writing, attempt(app, upload, work), shown)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanGroup:
    """The plans that one command delivers.

    `destination` is as the server names it. `warnings` concern all plans. `title` is the
    first line of a dry run, before a line for each plan.

    `executor(plans, run)` calls `run` for each plan that it tries, in any order, and yields the number of the plan with
    the report as soon as there is one. Plans that it skips make the upload incomplete. The default is `in_order`.
    """

    plans: Sequence[UploadPlan]  # one per study
    destination: Destination
    warnings: Sequence[str] = ()
    title: str = ""
    executor: PlanExecutor | None = None


class PlanContext:
    """What the planner of a `PlanGroup` can use."""

    def __init__(self, app: App, upload: Upload) -> None:
        self._app = app
        self.upload = upload

    @cached_property
    def services(self) -> Services:
        """The services that deliver the plans."""
        return services_of(self._app, self.upload)

    def connect(self) -> XnatClient:
        """Return the logged-in client of the run."""
        return self.services.connect()

    def exclusively(self, key: str) -> AbstractContextManager[object]:
        """Hold an exclusive lock on a key until the plans have ended. Raises Refused."""
        from xnatctl.delivery.opening import exclusively

        return exclusively(self.services, "group", key)

    def plan(self, request: UploadRequest, inventory: Inventory | None) -> UploadPlan:
        """Plan a request, by a plugin or else by core from the inventory; without one, only by a plugin.

        Raises the errors of planning, and PluginUnavailable for a plan that cannot be sent.
        """
        from xnatctl.delivery.planning import plan_session_upload

        def by_core(asked: UploadRequest) -> UploadPlan:
            if inventory is None:
                raise PluginUnavailable(f"No active plugin plans {request.command}.")
            return plan_session_upload(asked, inventory)

        plan = self._app.registry.plan_upload(request, by_core)
        require_transports(self._app, plan)
        return plan


def run_uploads(app: App, upload: Upload, planner: Callable[[PlanContext], AbstractContextManager[PlanGroup]]) -> None:
    """Plan several uploads and deliver them, unless it is a dry run; renders one report and ends like `run_upload`.

    The context manager of `planner` stays open until all plans have ended.
    """
    shown: list[Document] = []
    writing = ReportWriting(app, upload.request)

    def work() -> Report | None:
        from xnatctl.delivery.many import deliver_many, in_order

        writing.begin(dry_run=upload.dry_run)
        check_state(upload)
        context = PlanContext(app, upload)
        with planner(context) as group:
            if upload.dry_run:
                shown.append(_plans_document(app, upload, group))
                return None
            for line in group.warnings:
                app.warn(line)
            services = writing.services(context.services, group.plans)
            report = deliver_many(group.plans, services, group.executor or in_order)
        report.destination = group.destination
        report.warnings = [*group.warnings, *report.warnings]
        return report

    _end(app, writing, attempt(app, upload, work), shown)


def _end(app: App, writing: ReportWriting, report: Report, shown: Sequence[Document]) -> None:
    if report.failure is None and shown:
        app.render(shown[0])
    else:
        writing.write(report)
        finish(app, report)


def plan_upload(app: App, upload: Upload) -> UploadPlan:
    """Plan an upload. Raises the errors of planning, and PluginUnavailable for a plan that cannot be sent."""
    check_state(upload)
    plan = app.registry.plan_upload(upload.request)
    require_transports(app, plan)
    refuse_other_studies(plan, upload.studies)
    plan = with_address(app, plan)
    refuse_other_address(plan, upload.address)
    return plan


def check_state(upload: Upload) -> None:
    """Raise ConfigError if the journal cannot be written, before reading the disk or contacting the server."""
    from xnatctl.settings.paths import check_writable, journal_directory

    if not upload.dry_run:
        check_writable(journal_directory(), "The journals of uploads are stored there.")


def refuse_other_address(plan: UploadPlan, expected: str) -> None:
    """Raise Refused if a plan delivers to another receiver than expected; an empty `expected` allows any.

    Options may name an address by a relative path, which leads elsewhere from another directory.
    """
    if expected and plan.hands_over and plan.destination.server != expected:
        raise Refused(
            f"The upload to resume goes to {expected}. From here, its options name {plan.destination.server}.",
            hint="Run the original upload command in the directory where it was run first.",
        )


def refuse_other_studies(plan: UploadPlan, expected: frozenset[str]) -> None:
    """Raise Refused if a plan sends a study that is not expected; an empty `expected` allows any."""
    if not expected:
        return
    for item in plan.items:
        uid = item.study_instance_uid
        if uid and uid not in expected:
            raise Refused(
                f"Study {uid} is in {listed(plan.paths)} now ({item.path}), and is not part of the upload that is "
                f"resumed: that one sends study {min(expected)}{' and others' if len(expected) > 1 else ''}.",
                hint="Restore the files of the upload. To send what is there now, run the original upload command.",
            )


def attempt(app: App, upload: Upload, work: Callable[[], Report | None]) -> Report:
    """Run `work` and return its report, or a report with the error that prevented it.

    Output of plugins is redirected to stderr, so that stdout holds only the document.
    """
    from xnatctl.delivery.endings import end, interrupted

    request = upload.request
    app.redactor.reveal([request.destination.project, request.destination.subject, request.destination.session])
    report = Report(
        command=request.command,
        status=Status.REFUSED,
        destination=request.destination,
        transport=request.transport,
        sources=list(map(os.path.abspath, request.paths)),
    )
    try:
        with app.guard.redirected():
            return work() or report
    except (KeyboardInterrupt, Interrupted) as interrupt:
        end(report, interrupted(interrupt, None), app.commands.rerun())
    except XnatctlError as error:
        end(report, error, app.commands.rerun())
    return report


def services_of(app: App, upload: Upload) -> Services:
    """The services that deliver the plans of a command."""
    return make_services(app, resume=upload.resume, wait=upload.wait, lock_wait=upload.lock_wait)


def make_services(
    app: App,
    *,
    journals: Path | None = None,
    connect: Callable[[], XnatClient] | None = None,
    resume: bool = True,
    wait: float | None = None,
    lock_wait: float = 60.0,
) -> Services:
    """Return the services that `deliver` needs, as for an upload command.

    `journals` is the folder of journals and locks; None for that of the user. `connect` returns a logged-in client,
    and is called at the first plan that needs one; None logs in as the command was told to. `resume`, `wait` and
    `lock_wait` are as in `Upload`. `dataclasses.replace` changes anything else, such as `tell` or `commands`. Call
    `deliver` inside `app.guard.redirected()`, so that output of plugins goes to stderr. How many requests a plan makes
    at once is in the plan: `workers` and `most_workers`. Raises ConfigError if the folder cannot be made.
    """
    from xnatctl.delivery.engine.retry import RetryPolicy
    from xnatctl.delivery.schedule import WAIT
    from xnatctl.delivery.services import Services
    from xnatctl.settings.paths import journal_directory, private_directory

    clients: list[XnatClient] = []

    def connected() -> XnatClient:
        if not clients:
            clients.append((connect or app.connect)())
        app.waits_for(clients[0])
        return clients[0]

    return Services(
        transport=lambda name: transport_factory(app, name),
        stage=lambda name: stage_kind(app, name),
        address=lambda name, options: address_of(app, name, options),
        journals=private_directory(journal_directory() if journals is None else journals),
        connect=connected,
        tell=app.tell,
        say=app.info,
        commands=app.commands,
        redactor=app.redactor,
        resume=resume,
        wait=WAIT if wait is None else wait,
        lock_wait=lock_wait,
        policy=RetryPolicy.waiting(app.given.get("retry_for")),
    )


def stage_kind(app: App, name: str) -> StageKind:
    """A kind of stage, of core or of a plugin. Raises PluginUnavailable, or UsageError with the known kinds."""
    from xnatctl.delivery.builtin import STAGES
    from xnatctl.delivery.services import StageKind

    if (own := STAGES.get(name)) is not None:
        return StageKind(spec=own, load=_attribute)
    provided = app.registry.stage(name)
    return StageKind(
        spec=provided.spec,
        load=lambda target: app.registry.load(provided, target=target),
        blaming=lambda: app.registry.blaming(provided),
    )


def _attribute(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def address_of(app: App, name: str, options: Mapping[str, Any]) -> str | None:
    """The address that a receiver transport delivers to; None if its spec does not define one."""
    return app.registry.address_of(app.registry.transport(name), options)


def with_address(app: App, plan: UploadPlan) -> UploadPlan:
    """The plan with the address of its receiver as the server, if its transport has one."""
    if not plan.hands_over:
        return plan
    stage = plan.sending[0]
    address = address_of(app, stage.transport or "", stage.transport_options)
    if address is None:
        return plan
    return replace(plan, destination=replace(plan.destination, server=address))


def transport_factory(app: App, name: str) -> Callable[[TransportContext], Transport]:
    """The target of an active transport. Raises PluginUnavailable, or UsageError with the known transports."""
    provided = app.registry.transport(name)
    return app.registry.transport_factory(provided)


def _plan_document(app: App, upload: Upload, plan: UploadPlan) -> Document:
    from xnatctl.cli.plan_view import plan_document

    described, batches = describe(app, plan)
    before = delivered_before(app, upload, plan)
    plan = replace(plan, warnings=(*plan.warnings, *_sent_elsewhere(plan)))
    return plan_document(plan, description=described, batches=batches, before=before, details=app.verbose > 0)


def _plans_document(app: App, upload: Upload, group: PlanGroup) -> Document:
    from xnatctl.cli.plan_view import plans_document

    described = [describe(app, plan) for plan in group.plans]
    before = [delivered_before(app, upload, plan) for plan in group.plans]
    return plans_document(group.title, group.plans, described, before, group.warnings, details=app.verbose > 0)


def delivered_before(app: App, upload: Upload, plan: UploadPlan) -> int:
    """The number of files that an earlier run delivered and that are unchanged; contacts no server."""
    from xnatctl.delivery.journal.summaries import unchanged
    from xnatctl.delivery.opening import journal_path
    from xnatctl.settings.paths import journal_directory

    if not upload.resume:
        return 0
    try:
        path = journal_path(plan, journal_directory(), lambda name, options: address_of(app, name, options))
        return unchanged(path, plan.items) if path.exists() else 0
    except XnatctlError:
        return 0  # the upload itself reports what is wrong with its journal


def _sent_elsewhere(plan: UploadPlan) -> Iterator[str]:
    """Warnings of a dry run about other sessions to which this machine sent the study; contacts no server."""
    from xnatctl.delivery.journal.summaries import destinations_of
    from xnatctl.settings.paths import journal_directory

    where, studies = plan.destination, {item.study_instance_uid for item in plan.items}
    if plan.hands_over or len(studies) != 1 or not (study := studies.pop()):
        return
    for other in destinations_of(journal_directory(), study):
        here = (other.server, other.project.casefold()) == (where.server.rstrip("/"), where.project.casefold())
        if here and other.session != where.session:
            yield (
                f"This machine sent this study (Study Instance UID {study}) to session {other.session} of subject "
                f"{other.subject} in project {other.project} before. Is {where.session} the right label?"
            )


def describe(app: App, plan: UploadPlan) -> tuple[dict[str, dict[str, str]], int]:
    """The descriptions of a plan's transports by name, and the number of batches; sends nothing."""
    from xnatctl.delivery.context import transport_context

    described: dict[str, dict[str, str]] = {}
    batches = 0
    for stage in plan.sending:
        name = stage.transport or ""
        factory = transport_factory(app, name)
        with factory(transport_context(stage, plan)) as transport:
            described.setdefault(name, {}).update(transport.describe())
            batches += sum(1 for _ in transport.batches(stage.items, plan.workers))
    return described, batches


def require_transports(app: App, plan: UploadPlan) -> None:
    """Raise PluginUnavailable if the plugin of a stage is missing, Refused if its transport does not fit."""
    for stage in plan.stages:
        stage_kind(app, stage.kind)
    for name in dict.fromkeys(stage.transport for stage in plan.stages if stage.transport):
        try:
            transport_factory(app, name)
        except (PluginUnavailable, UsageError) as error:
            first, *more = [stage.name for stage in plan.stages if stage.transport == name]
            others = f", and for {len(more):,} stages more" if more else ""
            raise PluginUnavailable(
                f"{error.message} The plan needs it to {first}{others}.", hint=error.hint
            ) from error
    for stage in plan.sending:
        _require_fit(app, stage)


def _require_fit(app: App, stage: Stage) -> None:
    """Raise Refused for a transport that delivers to another kind of place than its stage says."""
    if stage.kind not in (SESSION, RECEIVER):
        return
    spec = app.registry.transport(stage.transport or "").spec
    settles = spec.payload is Payload.DICOM and spec.settle == "session"
    receives = spec.payload is Payload.DICOM and spec.settle == "none"
    if not (settles if stage.kind == SESSION else receives):
        raise Refused(
            f"The plan sends by {spec.name} in a stage {stage.kind}, which is not where this transport delivers.",
            hint="Nothing was sent. This is a bug in the plugin that made the plan.",
        )


def finish(app: App, report: Report) -> None:
    """Render the report, print the error, and end the command with its exit code."""
    from xnatctl.cli.report_view import next_lines, report_document

    error = report.failure
    try:
        app.render(report_document(report, app.detail, error_follows=app.one_screen))
    except XnatctlError as unprinted:
        app.info(f"{report.command} itself ended as {report.status}; its report cannot be printed.")
        if error is None:
            # Codes 2, 7 and 8 say that nothing was sent, and something was.
            raise XnatctlError(unprinted.message, hint=unprinted.hint) from unprinted
        app.report_error(unprinted)
    if error is not None:
        app.report_error(error)
        for line in next_lines(report):
            app.info(line)
        app.exit_with(exit_code_of(error))
