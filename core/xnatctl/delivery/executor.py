"""Runs a plan: its stages in order, with a barrier after each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.journal.journal import Phase
from xnatctl.delivery.journal.states import States, StateView
from xnatctl.delivery.leftovers import name_left
from xnatctl.delivery.relisting import changed_meanwhile
from xnatctl.delivery.services import StageKind
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import (
    DeliveryIncomplete,
    Interrupted,
    JournalError,
    NotArchived,
    Refused,
    UsageError,
    VerificationFailed,
    XnatctlError,
)
from xnatctl.model.events import EventKind
from xnatctl.model.plan import RECEIVER, SESSION, Stage, UploadPlan
from xnatctl.model.refs import Destination
from xnatctl.model.report import PlaceState, Report, Status, Verification
from xnatctl.plugin.protocols import StageRunner


@dataclass(frozen=True, slots=True)
class _Step:
    """Consecutive stages of one kind with their runner."""

    kind: StageKind
    stages: tuple[Stage, ...]
    runner: StageRunner

    def check(self) -> None:
        with self.kind.blaming():
            self.runner.check()

    def run(self, report: Report, stop: StopToken) -> None:
        """Carry out the stages; an error that the runner wrote into the report is raised."""
        try:
            with self.kind.blaming():
                self.runner.run()
        except (KeyboardInterrupt, Interrupted):
            self._give_up()
            raise
        except XnatctlError:
            if stop.requested:  # what fails after a stop fails because of it
                self._give_up()
                raise stop.error() from None
            raise
        if (written := report.failure) is not None:
            report.failure = None
            raise written

    def _give_up(self) -> None:
        with suppress(XnatctlError), self.kind.blaming():
            self.runner.give_up()


def execute(context: RunContext) -> None:
    """Run every stage of the plan. `context.report` is complete afterwards, whatever happened. Raises XnatctlError."""
    started, report, asked = time.monotonic(), context.report, context.plan.destination
    try:
        _execute(context, _steps(context), asked)
    except XnatctlError as error:
        raise context.ending(error) from error.__cause__
    finally:
        report.seconds = time.monotonic() - started
        if context.plan.hands_over and report.state is PlaceState.UNKNOWN and context.journal.states().delivered:
            report.state = PlaceState.RECEIVER
        context.current_report()
        context.tell_earlier_digests()
        _join_verifications(context)
        context.tell(EventKind.RUN_DONE, status=str(report.status))


def _execute(context: RunContext, steps: Sequence[_Step], asked: Destination) -> None:
    for step in steps:
        step.check()
    errors: list[XnatctlError] = []
    for number, step in enumerate(steps):
        try:
            if step.kind.spec.name == SESSION and context.plan.destination != asked:
                raise Refused(
                    f"A stage changed the destination to session {context.plan.destination.session}, and the request "
                    f"names session {asked.session}.",
                    hint="Nothing was sent. This is a bug in the plugin of that stage.",
                )
            step.run(context.report, context.stop)
        except XnatctlError as error:
            errors.append(error)
            if not _goes_on_after(context, step, error):
                break
        if context.begun and number + 1 < len(steps):  # before that, the journal describes an earlier run
            context.journal.enter(Phase.ATTACHING)
    else:
        if (unread := _unread(context)) is not None:
            errors.append(unread)
    if not errors and (meanwhile := changed_meanwhile(context)) is not None:
        errors.append(meanwhile)
    if errors:
        raise together(errors)
    name_left(context)
    context.journal.enter(Phase.DONE)
    context.report.status = Status.COMPLETE


def _steps(context: RunContext) -> list[_Step]:
    """A runner for each stage, or for consecutive stages of a kind. Raises UsageError, PluginUnavailable."""
    _check_plan(context.plan)
    steps: list[_Step] = []
    for kind, stages in _grouped(context):
        make = kind.load(kind.spec.target)
        with kind.blaming():
            runner = make(context, stages if kind.spec.grouped else stages[0])
        steps.append(_Step(kind, stages, runner))
    return steps


def _grouped(context: RunContext) -> list[tuple[StageKind, tuple[Stage, ...]]]:
    groups: list[tuple[StageKind, tuple[Stage, ...]]] = []
    for planned in context.plan.stages:
        kind = context.services.stage(planned.kind)
        stage = _with_own_options(planned)
        if groups and kind.spec.grouped and groups[-1][0].spec.name == kind.spec.name:
            groups[-1] = (kind, (*groups[-1][1], stage))
        else:
            groups.append((kind, (stage,)))
    return groups


def _with_own_options(stage: Stage) -> Stage:
    """The stage with options that the runner of another stage cannot change."""
    return replace(stage, options=deepcopy(stage.options), transport_options=deepcopy(stage.transport_options))


def _check_plan(plan: UploadPlan) -> None:
    """Raise UsageError for a plan that cannot be run.

    Report and journal identify files by their paths.
    """
    if sum(stage.kind in (SESSION, RECEIVER) for stage in plan.stages) > 1:
        raise UsageError("The plan sends two sessions, and one upload has one session.")
    known: set[str] = set()
    for stage in plan.sending:
        instances: set[str] = set()
        for item in stage.items:
            if item.path in known or item.sop_instance_uid in instances:
                raise UsageError(
                    f"The plan sends {item.path} twice.", hint="This is a bug in the plugin that made the plan."
                )
            known.add(item.path)
            if stage.kind == SESSION:
                instances.add(item.sop_instance_uid)


def _goes_on_after(context: RunContext, step: _Step, error: XnatctlError) -> bool:
    """Whether later stages run after an error: resources are independent, and a session may lack images."""
    if isinstance(error, Interrupted | JournalError):
        return False
    if isinstance(error, VerificationFailed) and context.session is not None:
        return True
    if isinstance(error, NotArchived) and step.kind.spec.name == SESSION:
        _say_later(context)
    return step.kind.spec.goes_on


def _sends_images(plan: UploadPlan) -> bool:
    return any(stage.kind in (SESSION, RECEIVER) for stage in plan.stages)


def _unread(context: RunContext) -> XnatctlError | None:
    """The error for unreadable files that may belong to any resource; a session is not archived without them."""
    if _sends_images(context.plan):
        return None
    return context.incomplete(StateView(States(), ()), context.plan.unsendable)


def _say_later(context: RunContext) -> None:
    """Report the planner's follow-up command, which finishes the job once the session is archived."""
    later = [str(stage.options["later"]) for stage in context.plan.stages if stage.options.get("later")]
    context.report.next += later[:1]


def _join_verifications(context: RunContext) -> None:
    report = context.report
    if report.resources:
        session = [report.verification] if _sends_images(context.plan) else []
        report.verification = Verification.joined([*session, *(resource.verification for resource in report.resources)])


def together(errors: Sequence[XnatctlError]) -> XnatctlError:
    """Combine the errors of a run that continued after the first: undelivered files outrank unproven ones.

    An interrupt or a journal error is kept as it is.
    """
    if isinstance(errors[-1], Interrupted | JournalError):
        return errors[-1]
    if len(errors) == 1:
        return errors[0]
    unproven = all(isinstance(error, VerificationFailed | NotArchived) for error in errors)
    kind = VerificationFailed if unproven else DeliveryIncomplete
    return kind(" ".join(error.message for error in errors), hint=next((e.hint for e in errors if e.hint), None))
