"""A plan whose transport hands over to a receiver: sent, and accepted file by file.

No more can be said of it, unless the plan names the XNAT behind the receiver: then each study is looked for there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from xnatctl.delivery.course import Course, Runtime, context_for, send_stage
from xnatctl.delivery.engine import Engine
from xnatctl.delivery.following import Following
from xnatctl.delivery.journal import Phase
from xnatctl.delivery.leftovers import name_left
from xnatctl.delivery.relisting import changed_meanwhile
from xnatctl.delivery.reporting import fill_items, helps_again, incomplete
from xnatctl.delivery.resume import survey_receiver
from xnatctl.delivery.states import record_name
from xnatctl.errors import VerificationFailed, XnatctlError
from xnatctl.model.events import EventKind
from xnatctl.model.outcome import FailureClass, Outcome
from xnatctl.model.plan import StageKind, UploadItem, UploadPlan
from xnatctl.model.report import PlaceState, Report, Status

#: Of more studies the journal keeps no list.
_MOST_STUDIES = 1000


class HandoverRun:
    """One such plan on its way. `report` is complete after `run`, whatever happened."""

    def __init__(self, plan: UploadPlan, runtime: Runtime) -> None:
        self._course = Course(plan, runtime)
        self._send = send_stage(plan)
        awaited = next((stage for stage in plan.stages if stage.kind is StageKind.AWAIT), None)
        self._following = Following(self._course, awaited) if awaited is not None else None
        self.report = self._course.report

    def run(self) -> Report:
        """Send. Raises XnatctlError with `report` holding what is known."""
        started, course = time.monotonic(), self._course
        try:
            self._run()
        except XnatctlError as error:
            raise course.ending(error) from error.__cause__
        finally:
            self.report.seconds = time.monotonic() - started
            if self.report.state is PlaceState.UNKNOWN and course.journal.states().delivered:
                self.report.state = PlaceState.RECEIVER
            fill_items(self.report, course.journal.states(), course.plan)
            course.tell(EventKind.RUN_DONE, status=str(self.report.status))
        return self.report

    def _run(self) -> None:
        course, journal, runtime = self._course, self._course.journal, self._course.runtime
        if self._following is not None:
            self._following.check()
        facts = self._following.remember(self._send.items) if self._following is not None else {}
        archive = self._following.found if self._following is not None else None
        ground = survey_receiver(self._send.items, journal, archive)
        for warning in ground.warnings:
            course.warn(warning)
        in_doubt = self._in_doubt()
        studies = sorted({item.study_instance_uid for item in self._send.items})
        course.begin(studies=json.dumps(studies if len(studies) <= _MOST_STUDIES else []), **facts)
        left = journal.open(self._send.items, ground.proven)
        course.started(left)
        Engine(
            runtime.factories(self._send.transport or ""),
            context_for(self._send, course.plan, None, course.pause, journal),
            journal,
            tell=course.hear,
            policy=runtime.policy,
            pause=course.pause,
        ).send(left)
        error = incomplete(journal.states(), course.plan.unsendable, (), runtime.rerun, receiver=True)
        if error is not None:
            undelivered = journal.states().undelivered
            if not undelivered or helps_again(undelivered):
                self.report.next.append(runtime.rerun)
            raise error
        duplicates = self._duplicates()
        if self._following is not None:
            journal.enter(Phase.SETTLING)
            self._following.run(journal.states().delivered.items)
        elif foreign := [item for item in duplicates if item.path not in in_doubt]:
            raise _foreign(foreign, journal.total)
        journal.prove(map(record_name, duplicates))
        if (meanwhile := changed_meanwhile(course)) is not None:
            raise meanwhile
        name_left(course)
        journal.enter(Phase.DONE)
        self.report.status = Status.COMPLETE

    def _in_doubt(self) -> frozenset[str]:
        """The paths of the items that an earlier run sent without hearing an answer: the receiver may have them."""
        items = self._send.items
        recorded = zip(items, self._course.journal.recorded(items), strict=True)
        lost = (Outcome.SENDING, Outcome.AMBIGUOUS)
        return frozenset(item.path for item, past in recorded if past is not None and past.outcome in lost)

    def _duplicates(self) -> list[UploadItem]:
        """The items of which the receiver says that it has an instance of their UID, unless we sent it in this run."""
        return [
            state.item
            for state in self._course.journal.states().delivered
            if state.failure is FailureClass.DUPLICATE and not state.doubtful
        ]


def _foreign(items: Sequence[UploadItem], total: int) -> VerificationFailed:
    return VerificationFailed(
        f"The receiver says that it already has {len(items)} of {total} instances and did not store them, first: "
        f"{items[0].path}. It does not say whether they are the same as on disk.",
        hint="If the receiver belongs to an XNAT, add --verify -P PROJECT to compare them. Otherwise compare them "
        "there, or delete them there and run the command again.",
    )
