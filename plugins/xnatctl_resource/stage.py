"""Consecutive resources of a plan, sent in parallel with one writer each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from xnatctl.api import DeliveryIncomplete, Emit, JournalError, PlaceState, RunContext, Stage, UsageError, XnatctlError
from xnatctl_resource.runner import ResourceRunner

_Step = Callable[[ResourceRunner, Emit], None]


class ResourceGroup:
    """Runs resources: all are compared with the server before any is sent."""

    def __init__(self, context: RunContext, stages: Sequence[Stage]) -> None:
        self._context = context
        keys = [stage.resource.key for stage in stages if stage.resource is not None]
        if len(keys) != len(stages) or len(set(keys)) < len(keys):
            raise UsageError("The plan sends a resource twice, or a stage does not name a resource.")
        self.runners = tuple(ResourceRunner(context, stage) for stage in stages)
        self._first = stages[0]

    def check(self) -> None:
        """Check that the session is compared with its images before files are attached. Raises UsageError."""
        before = self._context.plan.stages[: self._context.plan.stages.index(self._first)]
        kinds = [stage.kind for stage in before]
        if "session" in kinds and "await-archive" not in kinds[kinds.index("session") :]:
            raise UsageError(
                "The plan attaches files to a session without a stage that compares it with its images.",
                hint="This is a bug in the plugin that planned it: an await-archive stage is missing.",
            )

    def run(self) -> None:
        """Run every resource. Raises the error of the failed one, or a combined one."""
        context = self._context
        try:
            self._side_by_side(self.runners, ResourceRunner.find_delivered)
            ready = [runner for runner in self.runners if runner.error is None]
            if ready:
                self._begin(ready)
                self._side_by_side(ready, ResourceRunner.deliver)
        finally:
            for runner in self.runners:
                runner.close()
                runner.report.error = runner.error.as_document() if runner.error is not None else None
            context.report.resources += [runner.report for runner in self.runners]
        self._say_where()
        self._raise()

    def give_up(self) -> None:
        """End what the resources are sending."""
        for runner in self.runners:
            runner.give_up()

    def _begin(self, ready: Sequence[ResourceRunner]) -> None:
        first = not self._context.begun
        if first:
            self._context.begin()
        for runner in ready:
            runner.enter(announced=not first)
        if first:
            self._context.started([item for runner in ready for item in runner.left])

    def _side_by_side(self, runners: Sequence[ResourceRunner], step: _Step) -> None:
        """Run one step of every runner in parallel. Raises Interrupted, JournalError."""
        tasks = [partial(_carry_out, runner, step) for runner in runners]
        self._context.in_parallel(tasks, give_up=self.give_up)

    def _say_where(self) -> None:
        report = self._context.report
        stored = [runner.report for runner in self.runners if runner.report.uri]
        if report.uri is None and stored:
            report.state = PlaceState.ARCHIVED
            report.uri = stored[0].uri if len(self.runners) == 1 else stored[0].uri.rpartition("/resources/")[0]

    def _raise(self) -> None:
        failed = [runner for runner in self.runners if runner.error is not None]
        if not failed:
            return
        if any(runner.error is not None and runner.error.exit_code in (5, 6) for runner in failed):
            self._context.report.next.append(self._context.rerun)
        errors = [runner.error for runner in failed if runner.error is not None]
        nothing = not self._context.journal.states().delivered
        if len(self.runners) == 1:
            raise errors[0]
        text = " ".join(
            f"{runner.report.label}: {runner.error.message}" for runner in failed if runner.error is not None
        )
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 and (nothing or errors[0].exit_code == 6) else DeliveryIncomplete
        raise kind(
            f"{len(failed):,} of {len(self.runners):,} resources {'is' if len(failed) == 1 else 'are'} incomplete. "
            f"{text}",
            hint=next((error.hint for error in errors if error.hint), None),
        )


def _carry_out(runner: ResourceRunner, step: _Step, emit: Emit) -> None:
    try:
        step(runner, emit)
    except JournalError:
        raise
    except XnatctlError as error:
        runner.error = error
