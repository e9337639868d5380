"""Runs several plans, each with its own journal and report, and makes one report of all.

An executor decides the order of the plans, how many run at once, and where.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from xnatctl.delivery.endings import interrupted
from xnatctl.delivery.joined_report import Part, join_reports, with_changes
from xnatctl.delivery.opening import open_journal
from xnatctl.delivery.relisting import Meanwhile, changes_error, touched
from xnatctl.delivery.service import deliver, new_report
from xnatctl.delivery.services import Services
from xnatctl.errors import AuthenticationError, ConnectionFailed, Interrupted, NotXnat, Refused, XnatctlError
from xnatctl.model.plan import Exclusion, UploadPlan
from xnatctl.model.report import Report, Status

#: Runs one plan. Raises no expected error: the report holds the error of the run.
Run = Callable[[UploadPlan], Report]
#: Runs plans; yields the number and the report of each plan that was tried, as soon as it ends.
PlanExecutor = Callable[[Sequence[UploadPlan], Run], Iterator[tuple[int, Report]]]


def in_order(plans: Sequence[UploadPlan], run: Run) -> Iterator[tuple[int, Report]]:
    """Run plans one after the other. A failed plan does not stop the others, unless they would fail alike."""
    for number, plan in enumerate(plans):
        report = run(plan)
        yield number, report
        if is_hopeless(report):
            return


def is_hopeless(report: Report) -> bool:
    """True if the next plan would fail alike: an interrupt, a refused login, an unreachable server."""
    error = report.failure
    if isinstance(error, ConnectionFailed):
        return not report.counts.sent
    return isinstance(error, Interrupted | AuthenticationError | NotXnat)


def run_many(plans: Sequence[UploadPlan], run: Run, executor: PlanExecutor = in_order) -> Report:
    """The report of several plans that `run` carries out. Plans that the executor does not try stay PLANNED."""
    begun = time.monotonic()
    parts = _parts(plans)
    for number, report in executor(plans, run):
        parts[number].report = report
    return join_reports(parts, time.monotonic() - begun)


def deliver_many(plans: Sequence[UploadPlan], services: Services, executor: PlanExecutor = in_order) -> Report:
    """Deliver several plans. Raises no expected error: `report.failure` is the combined error.

    Plans with the same listing send files of the same directory. New files belong to none of them, and a file may
    change after its plan has ended, so the directory is listed again once all of these plans have ended.
    """
    begun, rerun = time.monotonic(), services.commands.rerun()
    parts = _parts(plans)
    shared = Counter((plan.root, plan.listing) for plan in plans if plan.listing)

    def run(plan: UploadPlan) -> Report:
        return deliver(replace(plan, listing="") if shared[plan.root, plan.listing] > 1 else plan, services)

    failure: XnatctlError | None = None
    changes: XnatctlError | None = None
    appeared: list[Exclusion] = []
    try:
        for number, report in executor(plans, run):
            parts[number].report = report
        if not any(isinstance(part.error, Interrupted) for part in parts):
            for place in (place for place, count in shared.items() if count > 1):
                group = [part for part in parts if (part.plan.root, part.plan.listing) == place]
                found, error = _look_again(group, services, parts)
                appeared += found
                changes = with_changes(changes, error)
    except (KeyboardInterrupt, Interrupted) as interrupt:
        tried = any(part.report.status is not Status.PLANNED for part in parts)
        failure = interrupted(interrupt, rerun if tried else None)
    except XnatctlError as error:
        failure = error
    whole = join_reports(parts, time.monotonic() - begun, appeared)
    whole.failure = with_changes(failure or whole.failure, changes)
    if changes is not None:
        whole.status = Status.PARTIAL
    if isinstance(whole.failure, Interrupted):
        whole.status = Status.INTERRUPTED
    if changes or any(not part.complete and not isinstance(part.error, Refused) for part in parts):
        whole.next = list(dict.fromkeys([rerun, *whole.next]))
    return whole


def _parts(plans: Sequence[UploadPlan]) -> list[Part]:
    if not plans:
        raise ValueError("there are no plans")
    return [Part(plan=plan, report=_untried(plan)) for plan in plans]


def _untried(plan: UploadPlan) -> Report:
    return replace(new_report(plan), status=Status.PLANNED, warnings=[], excluded=[])


def _look_again(
    group: Sequence[Part], services: Services, parts: Sequence[Part]
) -> tuple[Sequence[Exclusion], XnatctlError | None]:
    """Find files that appeared or changed in the directory of a group of plans; returns the error for new files.

    Files that changed after delivery are marked in their part. `parts` are those of all plans.
    """
    delivered = [part for part in group if part.report.counts.sent + part.report.counts.skipped]
    if not delivered:
        return (), None
    rerun, plans = services.commands.rerun(), [part.plan for part in group]
    meanwhile = Meanwhile(
        plans[0],
        [item for plan in plans for item in plan.items],
        everything=any(stage.resource is not None for plan in plans for stage in plan.stages),
    )
    changed = set(meanwhile.changed)
    resuming = replace(services, resume=True)
    rewritten = []
    for part in delivered:
        sent = [item for item in part.plan.items if item.path in changed]
        if suspects := list(touched(part.plan.items)):
            with open_journal(resuming, part.plan) as journal:
                sent += [item for item in suspects if not journal.is_as_sent(item)]
        rewritten.append(sent)
    if not meanwhile.others and not any(rewritten):
        return (), None
    alone = not meanwhile.others and all(part.complete for part in parts)
    for part, sent in zip(delivered, rewritten, strict=True):
        if part.complete:
            with open_journal(resuming, part.plan) as journal:
                journal.take_back(sent)
        paths = [item.path for item in sent]
        if (error := changes_error(part.plan.root, (), paths, rerun, complete=alone)) is not None:
            part.take_back(frozenset(paths), error)
    complete = all(part.complete for part in parts)
    return meanwhile.others, changes_error(plans[0].root, meanwhile.others, (), rerun, complete=complete)
