"""What every upload command does: plan, show or run, report, exit code. One document on stdout, whatever happens."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xnatctl.cli.journals import exclusively, open_journal, with_address
from xnatctl.errors import (
    BEFORE_SENDING,
    AuthenticationError,
    ConnectionFailed,
    Interrupted,
    NotArchived,
    PermissionDenied,
    PluginUnavailable,
    Refused,
    ServerError,
    UsageError,
    VerificationFailed,
    XnatctlError,
    exit_code_of,
    signal_of,
)
from xnatctl.model.plan import StageKind, UploadPlan, UploadRequest
from xnatctl.model.report import Counts, Report, Status

if TYPE_CHECKING:
    from xnatctl.cli.app import App
    from xnatctl.model.document import Document
    from xnatctl.plugin.protocols import Transport, TransportContext
    from xnatctl.xnat.http.client import XnatClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """An upload as a command asked for it.

    `wait` bounds settling in seconds, `lock_wait` how long another run to the same destination is waited for.
    `resume` = go on from the journal; otherwise it is started anew. `studies` are the UIDs of the studies that may be
    sent; any, where there are none.
    """

    request: UploadRequest
    dry_run: bool = False
    wait: float | None = None
    resume: bool = True
    lock_wait: float = 60.0
    studies: frozenset[str] = frozenset()


def run_upload(app: App, upload: Upload) -> None:
    """Plan and, unless it is a dry run, carry out an upload; renders the report and ends the command.

    Ends through `App.exit_with` with an exit code of `docs/reference/exit-codes.md`; raises nothing foreseeable.
    """
    shown: list[Document] = []

    def work(reports: list[Report]) -> None:
        check_state(upload)
        plan = app.registry.plan_upload(upload.request)
        require_transports(app, plan)
        refuse_other_studies(plan, upload.studies)
        plan = with_address(app, upload.request, plan)
        if upload.dry_run:
            shown.append(_plan_document(app, plan))
        else:
            carry_out(app, upload, plan, reports)

    report, error = attempt(app, upload, work)
    if error is None and shown:
        app.render(shown[0])
        return
    finish(app, report, error)


def check_state(upload: Upload) -> None:
    """Raise ConfigError when the journal could not be written, before the disk is read and anybody is asked."""
    from xnatctl.settings.paths import check_writable, journal_directory

    if not upload.dry_run:
        check_writable(journal_directory(), "Uploads are recorded there.")


def refuse_other_studies(plan: UploadPlan, expected: frozenset[str]) -> None:
    """Raise Refused when a plan sends a study that is not among the expected ones; any may be, where there are none."""
    if not expected:
        return
    for item in plan.items:
        uid = item.study_instance_uid
        if uid and uid not in expected:
            raise Refused(
                f"{plan.root} holds study {uid} now ({item.path}), which is not part of the upload that is resumed: "
                f"that one sends study {min(expected)}{' and others' if len(expected) > 1 else ''}.",
                hint="Restore the files of the upload. To send what is there now, run the original upload command.",
            )


def attempt(app: App, upload: Upload, work: Callable[[list[Report]], None]) -> tuple[Report, XnatctlError | None]:
    """Do `work`, which adds the report of what it begins to do; returns the report, and the error that it ended with.

    What a plugin prints meanwhile goes to stderr: it must not stand beside the document.
    """
    request = upload.request
    app.redactor.reveal([request.destination.project, request.destination.subject, request.destination.session])
    nothing = Report(
        command=request.command, status=Status.REFUSED, destination=request.destination, transport=request.transport
    )
    #: The last one counts: of what was done, once something is done. An interrupt may come at any moment, also twice.
    reports = [nothing]
    error: XnatctlError | None = None
    try:
        with redirect_stdout(sys.stderr):
            work(reports)
    except (KeyboardInterrupt, Interrupted) as interrupt:
        error = _interrupted(interrupt, app.commands.rerun(), reports[-1], begun=reports[-1] is not nothing)
    except XnatctlError as raised:
        error = raised
        _say_next(reports[-1], error, app.commands.rerun())
    if error is not None:
        _write_error(reports[-1], error)
    return reports[-1], error


def _interrupted(interrupt: BaseException, rerun: str, report: Report, *, begun: bool) -> Interrupted:
    """The error of an upload that was interrupted; before it began there is nothing to finish."""
    number = signal_of(interrupt)
    if not begun:
        return Interrupted("Interrupted before anything was sent.", signal_number=number)
    report.next.append(rerun)
    return Interrupted(
        "Interrupted. What the server took so far stays there.",
        hint=f"Finish with: {rerun}",
        signal_number=number,
    )


#: Errors after which the same command may go on from what was delivered.
_PASSING = (AuthenticationError, PermissionDenied, ConnectionFailed, ServerError, NotArchived)


def _say_next(report: Report, error: XnatctlError, rerun: str) -> None:
    """The command that finishes the job, where something was delivered and nobody knows a better one."""
    if isinstance(error, _PASSING) and not report.next and report.counts.sent + report.counts.skipped:
        known = error.commands if isinstance(error, NotArchived) else None
        report.next += [rerun] if known is None else known


def carry_out(
    app: App, upload: Upload, plan: UploadPlan, reports: list[Report], client: XnatClient | None = None
) -> None:
    """Run a plan, after its report was added to `reports`; `client` is one that is logged in. Raises XnatctlError."""
    from xnatctl.delivery.context import Runtime
    from xnatctl.delivery.engine.retry import RetryPolicy
    from xnatctl.delivery.receiver import ReceiverRun
    from xnatctl.delivery.resource.parent import is_resources_only, locate
    from xnatctl.delivery.run import PlanRun
    from xnatctl.delivery.session.settle import WAIT

    # A transport that hands over to a receiver needs no XNAT, so nobody is asked for a login; following it does.
    settles, follows = upload.request.settles, upload.request.follow is not None
    client = client or (app.connect() if settles or follows else None)
    session = None
    if client is not None and settles:
        plan = replace(plan, destination=replace(plan.destination, server=client.server))
        if is_resources_only(plan):
            plan, session = locate(client, plan)
    with open_journal(app, upload.request, plan, resume=upload.resume, lock_wait=upload.lock_wait) as journal:
        runtime = Runtime(
            client=client,
            factories=lambda name: transport_factory(app, name),
            tell=app.tell,
            commands=app.commands,
            rerun=app.commands.rerun(),
            wait=WAIT if upload.wait is None else upload.wait,
            journal=journal,
            facts={"request": _request_text(app, upload, plan)},
            exclusively=lambda key: exclusively(app, "resource", key, lock_wait=upload.lock_wait),
            session=session,
            policy=RetryPolicy.waiting(app.given.get("retry_for")),
        )
        run = PlanRun(plan, runtime) if settles else ReceiverRun(plan, runtime)
        reports.append(run.report)
        if client is not None:
            app.waits_for(client)
        run.run()


def _request_text(app: App, upload: Upload, plan: UploadPlan) -> str:
    """The request, so that `upload resume` can make it again from any directory."""
    request = replace(upload.request, path=os.path.abspath(upload.request.path), destination=plan.destination)
    flags = [flag for flag in app.server_flags() if flag[0] != "--url"]  # the destination names the server
    return json.dumps({"request": request.as_document(), "wait": upload.wait, "flags": flags})


def transport_factory(app: App, name: str) -> Callable[[TransportContext], Transport]:
    """The target of an active transport. Raises PluginUnavailable or UsageError with what there is instead."""
    provided = app.registry.transport(name)
    factory: Callable[[TransportContext], Transport] = app.registry.load(provided)

    def make(context: TransportContext) -> Transport:
        with app.registry.blaming(provided):
            return factory(context)

    return make


def transport_options(app: App, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for every option of the transport: flag, else variable, else profile, else default.

    `given` holds the flags that were typed. Raises UsageError for one that this transport does not have.
    """
    options = {option.name: option for option in app.registry.transport(name).spec.options}
    for flag in given:
        if flag not in options:
            raise UsageError(f"--{flag.replace('_', '-')} means nothing with --mode {name}.")
    values = {
        key: given[key] if key in given else app.settings.plugin_option(option) for key, option in options.items()
    }
    missing = [option for key, option in options.items() if option.required and values[key] is None]
    if missing:
        flags = [f"--{option.name.replace('_', '-')}" for option in missing]
        names = [f"{flag} (or {o.envvar})" if o.envvar else flag for flag, o in zip(flags, missing, strict=True)]
        hints = [f"{flag}: {option.help}" for flag, option in zip(flags, missing, strict=True)]
        raise UsageError(f"Missing: {', '.join(names)}.", hint=" ".join(hints))
    return values


def _plan_document(app: App, plan: UploadPlan) -> Document:
    from xnatctl.cli.plan_view import plan_document

    described, batches = describe(app, plan)
    return plan_document(plan, description=described, batches=batches)


def describe(app: App, plan: UploadPlan) -> tuple[dict[str, dict[str, str]], int]:
    """What the transports of a plan say of themselves, by name, and the number of batches; nothing is sent."""
    from xnatctl.delivery.context import context_for

    described: dict[str, dict[str, str]] = {}
    batches = 0
    for stage in plan.stages:
        if stage.kind is StageKind.SEND and stage.transport:
            factory = transport_factory(app, stage.transport)
            blaming = app.registry.blaming(app.registry.transport(stage.transport))
            with blaming, factory(context_for(stage, plan, None)) as transport:
                described.setdefault(stage.transport, {}).update(transport.describe())
                batches += sum(1 for _ in transport.batches(stage.items, plan.workers))
    return described, batches


def require_transports(app: App, plan: UploadPlan) -> None:
    """Raise PluginUnavailable when a stage of the plan could not be carried out; nothing was sent then."""
    for name in dict.fromkeys(stage.transport for stage in plan.stages if stage.transport):
        try:
            transport_factory(app, name)
        except (PluginUnavailable, UsageError) as error:
            first, *more = [stage.name for stage in plan.stages if stage.transport == name]
            others = f", and for {len(more)} stages more" if more else ""
            raise PluginUnavailable(
                f"{error.message} The plan needs it to {first}{others}.", hint=error.hint
            ) from error


def _write_error(report: Report, error: XnatctlError) -> None:
    report.error = error.as_document()
    report.status = _status(report.counts, error)


def _status(counts: Counts, error: XnatctlError) -> Status:
    if isinstance(error, Interrupted):
        return Status.INTERRUPTED
    if exit_code_of(error) in BEFORE_SENDING:
        return Status.REFUSED
    if isinstance(error, NotArchived | VerificationFailed):
        return Status.PARTIAL
    return Status.PARTIAL if counts.sent + counts.skipped else Status.FAILED


def finish(app: App, report: Report, error: XnatctlError | None) -> None:
    """Render the report, say the error, and end the command with its exit code."""
    from xnatctl.cli.report_view import report_document

    try:
        app.render(report_document(report, app.extent))
    except XnatctlError as unprinted:
        app.info(f"{report.command} itself ended as {report.status}; its report cannot be printed.")
        if error is None:
            # Codes 2, 7 and 8 say that nothing was sent, and something was.
            raise XnatctlError(unprinted.message, hint=unprinted.hint) from unprinted
        app.report_error(unprinted)
    if error is not None:
        app.report_error(error)
        app.exit_with(exit_code_of(error))
