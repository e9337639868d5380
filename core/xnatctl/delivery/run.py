"""Runs a plan: its stages in order, with a barrier after each, and one report.

A runner carries out a group of stages that belong together: a session (send DICOM, settle, verify), the wait for a
session, or the resources that follow each other, which run side by side.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from xnatctl.delivery.awaiting import AwaitArchiveRunner
from xnatctl.delivery.context import RunContext, Runtime
from xnatctl.delivery.journal.journal import Phase
from xnatctl.delivery.journal.leftovers import name_left
from xnatctl.delivery.journal.states import States, StateView
from xnatctl.delivery.relisting import changed_meanwhile
from xnatctl.delivery.reporting import fill_items, incomplete
from xnatctl.delivery.resource.group import ResourceGroup
from xnatctl.delivery.session.runner import SessionRunner
from xnatctl.errors import (
    DeliveryIncomplete,
    Interrupted,
    JournalError,
    NotArchived,
    UsageError,
    VerificationFailed,
    XnatctlError,
)
from xnatctl.model.events import EventKind
from xnatctl.model.index import Index
from xnatctl.model.plan import Payload, Stage, StageKind, UploadPlan
from xnatctl.model.report import Report, Status, joined


class _Runner(Protocol):
    def run(self) -> None: ...


class PlanRun:
    """Runs one plan on a server. `report` is complete after `run`, whatever happened."""

    def __init__(self, plan: UploadPlan, runtime: Runtime) -> None:
        self._context = RunContext(plan, runtime)
        self._runners = runners_of(plan, self._context)
        self.report = self._context.report

    def run(self) -> Report:
        """Run every stage.

        Raises XnatctlError with `report` holding what is known; the caller writes the error into it.
        """
        started, context = time.monotonic(), self._context
        try:
            self._run()
        except XnatctlError as error:
            raise context.ending(error) from error.__cause__
        finally:
            self.report.seconds = time.monotonic() - started
            fill_items(self.report, context.journal.states(), context.plan)
            self._join_verifications()
            context.tell(EventKind.RUN_DONE, status=str(self.report.status))
        return self.report

    def _run(self) -> None:
        context = self._context
        errors: list[XnatctlError] = []
        for number, runner in enumerate(self._runners):
            try:
                runner.run()
            except XnatctlError as error:
                errors.append(error)
                if not self._goes_on_after(runner, error):
                    if isinstance(error, NotArchived) and isinstance(runner, SessionRunner):
                        self._say_later()
                    if len(errors) == 1:
                        raise
                    raise together(errors) from error
            if context.begun and number + 1 < len(self._runners):  # before that, the journal tells of an earlier run
                context.journal.enter(Phase.ATTACHING)
        if (unread := self._unread()) is not None:
            errors.append(unread)
        if not errors and (meanwhile := changed_meanwhile(context)) is not None:
            errors.append(meanwhile)
        if errors:
            raise together(errors)
        name_left(context)
        context.journal.enter(Phase.DONE)
        self.report.status = Status.COMPLETE

    def _goes_on_after(self, runner: _Runner, error: XnatctlError) -> bool:
        """A failed resource is one of several; and a session may lack some images, as long as it is the right one."""
        if isinstance(error, Interrupted | JournalError):
            return False
        differs = isinstance(error, VerificationFailed) and self._context.session is not None
        return differs or isinstance(runner, ResourceGroup)

    def _unread(self) -> XnatctlError | None:
        """The error for what could not be read and may be for any resource; a session is not archived without it."""
        if any(isinstance(runner, SessionRunner) for runner in self._runners):
            return None
        return incomplete(
            StateView(States(), ()),
            self._context.plan.unsendable,
            (),
            self._context.runtime.rerun,
            self._context.runtime.commands,
        )

    def _say_later(self) -> None:
        """The command that finishes the job when the session is in the archive, where the planner named one."""
        later = [str(stage.options["later"]) for stage in self._context.plan.stages if stage.options.get("later")]
        self.report.next += later[:1]

    def _join_verifications(self) -> None:
        resources = [resource.verification for resource in self.report.resources]
        if resources:
            session = (
                [self.report.verification] if any(isinstance(runner, SessionRunner) for runner in self._runners) else []
            )
            self.report.verification = joined([*session, *resources])


def runners_of(plan: UploadPlan, context: RunContext) -> tuple[_Runner, ...]:
    """Return the runners of a plan, in order. Raises UsageError for a plan that cannot be carried out."""
    _check_paths(plan)
    runners: list[_Runner] = []
    images: SessionRunner | None = None
    for kind, stages in _grouped(plan.stages):
        if kind == "session":
            images = SessionRunner(context, stages)
            runners.append(images)
        elif kind == "await":
            runners += [AwaitArchiveRunner(context, stage, images) for stage in stages]
        else:
            if isinstance(runners[-1] if runners else None, SessionRunner):
                # Nothing is attached to a session that was not compared with its images.
                runners.append(
                    AwaitArchiveRunner(context, Stage(kind=StageKind.AWAIT, name="compare the session"), images)
                )
            runners.append(ResourceGroup(context, stages))
    return tuple(runners)


def _grouped(stages: Sequence[Stage]) -> list[tuple[str, list[Stage]]]:
    groups: list[tuple[str, list[Stage]]] = []
    for stage in stages:
        kind = _kind(stage)
        if not groups or groups[-1][0] != kind:
            groups.append((kind, []))
        groups[-1][1].append(stage)
    for kind, group in groups:
        sends = [stage for stage in group if stage.kind is StageKind.SEND]
        if kind != "await" and not sends:
            raise UsageError(f"The plan's stage {group[0].name!r} follows nothing that was sent.")
        if kind == "session" and len(sends) > 1:
            raise UsageError("The plan sends two sessions, and one upload has one session.")
    if sum(kind == "session" for kind, _ in groups) > 1:
        raise UsageError("The plan's stages of the session do not follow each other.")
    return groups


def _kind(stage: Stage) -> str:
    if stage.kind is StageKind.AWAIT:
        return "await"
    return "resource" if stage.payload is Payload.RESOURCE else "session"


def _check_paths(plan: UploadPlan) -> None:
    """Files are told apart by their paths, in the report and in the journal."""
    items = plan.items
    known = Index(lambda number: items[number].path)
    for number, item in enumerate(items):
        if known.add(item.path) != number:
            raise UsageError(
                f"The plan sends {item.path} twice.", hint="This is a fault of the plugin that planned it."
            )


def together(errors: Sequence[XnatctlError]) -> XnatctlError:
    """One error for a run that went on after the first: undelivered files weigh more than unproven ones.

    An interrupt, and a journal that cannot be written, end the run as they are.
    """
    if isinstance(errors[-1], Interrupted | JournalError):
        return errors[-1]
    if len(errors) == 1:
        return errors[0]
    unproven = all(isinstance(error, VerificationFailed | NotArchived) for error in errors)
    kind = VerificationFailed if unproven else DeliveryIncomplete
    return kind(" ".join(error.message for error in errors), hint=next((e.hint for e in errors if e.hint), None))
