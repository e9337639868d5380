"""Delivers one row under a claim, in the main thread of this process, and enters the result in the ledger."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from typing import Final

from xnatctl.api import DeliveryIncomplete, Event, Interrupted, Report, UploadPlan, XnatctlError, counted
from xnatctl.api.commands import Services, SourceChanges, StopToken, deliver, scan_listed, source_changes
from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claim, Claims
from xnatctl_campaign.folder import Campaign, FrozenRow, now
from xnatctl_campaign.judging import shortfall
from xnatctl_campaign.ledger import Entry, Ledger, RowState, RowStates
from xnatctl_campaign.proof import is_unchanged
from xnatctl_campaign.row_journals import journals_of

#: The code of a row whose files are not as they were planned; nothing of it was sent.
CHANGED: Final = "changed"
#: The code of a row that another worker may have taken over. It is not an interrupt of the run.
CLAIM_LOST: Final = "claim-lost"


class _SourcesChanged(DeliveryIncomplete):
    code = CHANGED


class RowDelivery:
    """Delivers rows of a campaign, one after the other.

    `requests` is how many requests a row may have in flight. `services` are as for any upload; their journals and the
    command of their hints are replaced for each row. `recheck`: also deliver a row that another worker proved, which
    asks the server for what it holds.
    """

    def __init__(
        self,
        campaign: Campaign,
        services: Services,
        ledger: Ledger,
        *,
        claims: Claims,
        budget: Budget,
        requests: int,
        recheck: bool = False,
    ) -> None:
        self._campaign = campaign
        self._services = services
        self._ledger = ledger
        self._claims = claims
        self._budget = budget
        self._requests = requests
        self._recheck = recheck
        self._states: RowStates | None = None

    def deliver(self, frozen: FrozenRow, tell: Callable[[Event], None] | None = None) -> Entry | None:
        """Wait for a slot of the budget, claim the row and deliver it; None while another worker holds the row.

        `tell` gets the events of the row, instead of that of the services. Returns the entry of the ledger. Raises
        JournalError if there can be none, and what interrupts the waiting.
        """
        services = self._services if tell is None else replace(self._services, tell=tell)
        with self._budget.slot("sessions"):
            claim = self._claims.take(frozen.number)
            if claim is None:
                return None
            try:
                return self._proven_before(frozen, claim) or self._deliver(frozen, claim, services)
            finally:
                claim.end()

    def _proven_before(self, frozen: FrozenRow, claim: Claim) -> Entry | None:
        """The entry of a row that an earlier claim proved, after this worker was told to deliver it."""
        if claim.generation == 1 or self._recheck:
            return None
        if self._states is None:
            self._states = RowStates(self._campaign.directory)
        else:
            self._states.refresh()
        if self._states[frozen.number] is not RowState.PROVEN:
            return None
        try:
            unchanged = is_unchanged(self._plan(frozen))
        except XnatctlError:
            return None  # the delivery enters the error in the ledger
        return self._entry(frozen, claim, RowState.PROVEN) if unchanged else None

    def _deliver(self, frozen: FrozenRow, claim: Claim, services: Services) -> Entry:
        begun = time.monotonic()
        self._ledger.started(frozen.number, claim.generation)
        try:
            entry = self._result(frozen, claim, services)
        except KeyboardInterrupt as interrupt:
            number = getattr(interrupt, "number", 2)  # of SIGTERM and SIGHUP; Ctrl-C has none
            entry = self._failed(
                frozen, claim, Interrupted("Interrupted before anything was sent.", signal_number=number)
            )
        except XnatctlError as error:
            entry = self._failed(frozen, claim, error)
        entry = replace(entry, seconds=round(time.monotonic() - begun, 3))
        self._ledger.append(entry)
        return entry

    def _result(self, frozen: FrozenRow, claim: Claim, services: Services) -> Entry:
        plan = self._plan(frozen)
        changes = source_changes(plan)
        changes = replace(changes, changed=[*changes.changed, *_other_instances(plan, set(changes.touched))])
        if (changed := _changes_error(frozen, changes)) is not None:
            raise changed
        report = deliver(plan, self._services_of(frozen, claim, services))
        error = shortfall(report, len(plan.items))
        entry = self._entry(frozen, claim, RowState.PROVEN) if error is None else self._failed(frozen, claim, error)
        return _with_counts(entry, report)

    def _plan(self, frozen: FrozenRow) -> UploadPlan:
        """The plan of a row, within the budget."""
        try:
            plan = self._campaign.plan(frozen)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise XnatctlError(
                f"The plan of row {frozen.number} in {self._campaign.directory} cannot be read: {error}.",
                hint="Plan the manifest again into another folder.",
            ) from error
        return replace(
            plan,
            workers=min(plan.workers, self._requests),
            most_workers=min(plan.most_workers, self._requests),
            warnings=(),  # campaign plan showed them
        )

    def _services_of(self, frozen: FrozenRow, claim: Claim, services: Services) -> Services:
        """The services of one row: its own journals, its fence, and hints that name the campaign."""
        directory = os.path.abspath(self._campaign.directory)
        again = ("campaign", "run", directory, "--only", str(frozen.number))
        stop = _fence(claim)

        def pause(seconds: float) -> None:
            stop.wait(seconds)
            stop.check()

        return replace(
            services,
            stop=stop,
            archiving=lambda: self._budget.slot("archiving", pause),
            journals=journals_of(self._campaign.directory, frozen.number, claim.generation),
            private_journals=True,
            commands=replace(services.commands, arguments=again),
        )

    def _failed(self, frozen: FrozenRow, claim: Claim, error: XnatctlError) -> Entry:
        """The entry of a row with an error. Secrets are masked; texts of a server are without patient data already."""
        mask = self._services.redactor.redact_output
        interrupted = isinstance(error, Interrupted)
        entry = self._entry(frozen, claim, RowState.INTERRUPTED if interrupted else RowState.FAILED)
        return replace(
            entry,
            exit_code=error.exit_code,
            code=CLAIM_LOST if interrupted and claim.lost() else error.code,
            reason=mask(error.message),
            hint=mask(error.hint or ""),
        )

    def _entry(self, frozen: FrozenRow, claim: Claim, state: RowState) -> Entry:
        worker = self._ledger.worker
        return Entry(row=frozen.number, generation=claim.generation, state=state, worker=worker, at=now())


def _fence(claim: Claim) -> StopToken:
    """What stops a row whose claim is lost: before its next write, and at once for what is in flight."""
    reason = "This worker was silent for so long that another one may have taken the row."

    def before_write() -> None:
        if claim.lost():
            raise Interrupted(reason, signal_number=signal.SIGTERM)

    stop = StopToken(before_write)
    claim.when_lost(lambda: stop.stop(reason))
    return stop


def _with_counts(entry: Entry, report: Report) -> Entry:
    counts = report.counts
    return replace(
        entry,
        uri=report.uri or "",
        found=counts.found,
        sent=counts.sent,
        skipped=counts.skipped,
        verified=counts.verified,
        level=str(report.verification.level),
    )


def _other_instances(plan: UploadPlan, touched: Container[str]) -> Iterator[str]:
    """The paths of files with a new change time that hold another instance than was planned, or none."""
    for item in plan.items:
        if item.path not in touched or not item.sop_instance_uid or item.source.container is not None:
            continue
        folder, name = os.path.split(item.file)
        found = [
            (other.study_instance_uid, other.series_instance_uid, other.sop_instance_uid)
            for other in scan_listed(folder, [name]).items
        ]
        if found != [(item.study_instance_uid, item.series_instance_uid, item.sop_instance_uid)]:
            yield item.path


def _changes_error(frozen: FrozenRow, changes: SourceChanges) -> XnatctlError | None:
    """The error of a row whose files are not as they were planned; None if they are.

    A new change time alone does not count, as long as the files hold the instances that were planned.
    """
    kinds = (("changed", changes.changed), ("vanished", changes.vanished), ("appeared or changed", changes.others))
    parts = [f"{counted(len(paths), 'file')} {what}, first {paths[0]}" for what, paths in kinds if paths]
    if not parts:
        return None
    return _SourcesChanged(
        f"{frozen.row.path} is not as it was planned: {'; '.join(parts)}. Nothing of the row was sent.",
        hint="Plan the manifest again into another folder.",
    )
