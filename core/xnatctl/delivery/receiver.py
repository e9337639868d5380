"""A plan whose transport hands over to a receiver: sent, and accepted file by file.

No more can be said of it, unless the plan names the XNAT behind the receiver: then each study is looked for there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from xnatctl.delivery.context import RunContext, Runtime, context_for, send_stage
from xnatctl.delivery.engine.worker_pool import Engine
from xnatctl.delivery.following import ArchiveTracker
from xnatctl.delivery.journal.journal import Phase
from xnatctl.delivery.journal.leftovers import name_left
from xnatctl.delivery.journal.resume import find_accepted
from xnatctl.delivery.journal.states import record_name
from xnatctl.delivery.relisting import changed_meanwhile
from xnatctl.delivery.reporting import fill_items, helps_again, incomplete
from xnatctl.errors import VerificationFailed, XnatctlError
from xnatctl.model.events import EventKind
from xnatctl.model.outcome import FailureClass, Outcome
from xnatctl.model.plan import StageKind, UploadItem, UploadPlan
from xnatctl.model.report import PlaceState, Report, Status

#: Of more studies the journal keeps no list.
_MOST_STUDIES = 1000


class ReceiverRun:
    """One such plan on its way. `report` is complete after `run`, whatever happened."""

    def __init__(self, plan: UploadPlan, runtime: Runtime) -> None:
        self._context = RunContext(plan, runtime)
        self._send = send_stage(plan)
        awaited = next((stage for stage in plan.stages if stage.kind is StageKind.AWAIT), None)
        self._following = ArchiveTracker(self._context, awaited) if awaited is not None else None
        self.report = self._context.report

    def run(self) -> Report:
        """Send. Raises XnatctlError with `report` holding what is known."""
        started, context = time.monotonic(), self._context
        try:
            self._run()
        except XnatctlError as error:
            raise context.ending(error) from error.__cause__
        finally:
            self.report.seconds = time.monotonic() - started
            if self.report.state is PlaceState.UNKNOWN and context.journal.states().delivered:
                self.report.state = PlaceState.RECEIVER
            fill_items(self.report, context.journal.states(), context.plan)
            context.tell(EventKind.RUN_DONE, status=str(self.report.status))
        return self.report

    def _run(self) -> None:
        context, journal, runtime = self._context, self._context.journal, self._context.runtime
        if self._following is not None:
            self._following.check()
        facts = self._following.remember(self._send.items) if self._following is not None else {}
        archive = self._following.found if self._following is not None else None
        resumed = find_accepted(self._send.items, journal, archive)
        for warning in resumed.warnings:
            context.warn(warning)
        in_doubt = self._in_doubt()
        studies = sorted({item.study_instance_uid for item in self._send.items})
        context.begin(studies=json.dumps(studies if len(studies) <= _MOST_STUDIES else []), **facts)
        left = journal.open(self._send.items, resumed.proven)
        context.started(left)
        Engine(
            runtime.factories(self._send.transport or ""),
            context_for(self._send, context.plan, None, context.pause, journal, commands=runtime.commands),
            journal,
            tell=context.hear,
            policy=runtime.policy,
            pause=context.pause,
        ).send(left)
        error = incomplete(
            journal.states(), context.plan.unsendable, (), runtime.rerun, runtime.commands, receiver=True
        )
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
        if (meanwhile := changed_meanwhile(context)) is not None:
            raise meanwhile
        name_left(context)
        journal.enter(Phase.DONE)
        self.report.status = Status.COMPLETE

    def _in_doubt(self) -> frozenset[str]:
        """The paths of the items that an earlier run sent without hearing an answer: the receiver may have them."""
        items = self._send.items
        recorded = zip(items, self._context.journal.recorded(items), strict=True)
        lost = (Outcome.SENDING, Outcome.AMBIGUOUS)
        return frozenset(item.path for item, past in recorded if past is not None and past.outcome in lost)

    def _duplicates(self) -> list[UploadItem]:
        """The items of which the receiver says that it has an instance of their UID, unless we sent it in this run."""
        return [
            state.item
            for state in self._context.journal.states().delivered
            if state.failure is FailureClass.DUPLICATE and not state.doubtful
        ]


def _foreign(items: Sequence[UploadItem], total: int) -> VerificationFailed:
    return VerificationFailed(
        f"The receiver says that it already has {len(items)} of {total} instances and did not store them, first: "
        f"{items[0].path}. It does not say whether they are the same as on disk.",
        hint="If the receiver belongs to an XNAT, add --verify -P PROJECT to compare them. Otherwise compare them "
        "there, or delete them there and run the command again.",
    )
