"""The resources of a plan that follow each other: several at once, one writer each, none in the way of another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from xnatctl.delivery.course import Course
from xnatctl.delivery.engine import Crew
from xnatctl.delivery.resource.leg import ResourceLeg
from xnatctl.errors import DeliveryIncomplete, JournalError, UsageError, XnatctlError
from xnatctl.model.events import Emit
from xnatctl.model.plan import Stage, StageKind
from xnatctl.model.report import PlaceState
from xnatctl.model.sequences import joined

_Step = Callable[[ResourceLeg, Emit], None]


class ResourceGroup:
    """Some resources. Each is surveyed before anything is sent to any; then each is sent and compared."""

    def __init__(self, course: Course, stages: Sequence[Stage]) -> None:
        self._course = course
        sends = [stage for stage in stages if stage.kind is StageKind.SEND]
        proofs = [stage.resource for stage in stages if stage.kind is StageKind.VERIFY]
        keys = [stage.resource.key for stage in sends if stage.resource is not None]
        if len(keys) != len(sends) or len(set(keys)) < len(keys):
            raise UsageError("The plan sends one resource twice, or files to no resource.")
        # A stage that compares and names no resource means all of them.
        self.legs = tuple(
            ResourceLeg(course, stage, verifies=None in proofs or stage.resource in proofs) for stage in sends
        )
        self._unrecorded: JournalError | None = None

    def run(self) -> None:
        """Every resource. Raises the error of the one that failed, or one for all that did."""
        course = self._course
        try:
            self._side_by_side(self.legs, ResourceLeg.survey)
            ready = [leg for leg in self.legs if leg.error is None]
            if ready:
                self._begin(ready)
                self._side_by_side(ready, ResourceLeg.deliver)
        finally:
            for leg in self.legs:
                leg.close()
                leg.report.error = leg.error.as_document() if leg.error is not None else None
            course.report.resources += [leg.report for leg in self.legs]
        self._say_where()
        self._raise()

    def _begin(self, ready: Sequence[ResourceLeg]) -> None:
        first = not self._course.begun
        if first:
            self._course.begin()
        for leg in ready:
            leg.enter(announced=not first)
        if first:
            self._course.started(joined(leg.left for leg in ready))

    def _side_by_side(self, legs: Sequence[ResourceLeg], step: _Step) -> None:
        """One step of every leg, as many at once as there are workers. Raises Interrupted, JournalError."""
        course = self._course
        crew = Crew(tell=course.hear, pause=course.pause, abort=course.client.abort)
        waiting = list(reversed(legs))
        lock = threading.Lock()

        def work() -> None:
            while not course.pause.stopped and self._unrecorded is None:
                with lock:
                    if not waiting:
                        return
                    leg = waiting.pop()
                self._step(leg, step, crew.emit)

        crew.run(work, min(course.plan.workers, len(legs)), give_up=self._give_up)
        if self._unrecorded is not None:
            raise self._unrecorded

    def _step(self, leg: ResourceLeg, step: _Step, emit: Emit) -> None:
        try:
            step(leg, emit)
        except JournalError as error:
            self._unrecorded = self._unrecorded or error
            self._give_up()
        except XnatctlError as error:
            leg.error = error

    def _give_up(self) -> None:
        for leg in self.legs:
            leg.give_up()

    def _say_where(self) -> None:
        report = self._course.report
        stored = [leg.report for leg in self.legs if leg.report.uri]
        if report.uri is None and stored:
            report.state = PlaceState.ARCHIVED
            report.uri = stored[0].uri if len(self.legs) == 1 else stored[0].uri.rpartition("/resources/")[0]

    def _raise(self) -> None:
        failed = [leg for leg in self.legs if leg.error is not None]
        if not failed:
            return
        if any(leg.error is not None and leg.error.exit_code in (5, 6) for leg in failed):
            self._course.report.next.append(self._course.runtime.rerun)
        errors = [leg.error for leg in failed if leg.error is not None]
        nothing = not self._course.journal.states().delivered
        if len(self.legs) == 1:
            raise errors[0]
        text = " ".join(f"{leg.report.label}: {leg.error.message}" for leg in failed if leg.error is not None)
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 and (nothing or errors[0].exit_code == 6) else DeliveryIncomplete
        raise kind(
            f"{len(failed)} of {len(self.legs)} resources {'is' if len(failed) == 1 else 'are'} not complete. {text}",
            hint=next((error.hint for error in errors if error.hint), None),
        )
