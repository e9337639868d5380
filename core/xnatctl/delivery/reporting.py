"""What the journal knows, in the words of the report (DESIGN 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import overload

from xnatctl.delivery.journal import ItemState
from xnatctl.errors import (
    AuthenticationError,
    ConnectionFailed,
    DeliveryIncomplete,
    NotXnat,
    PermissionDenied,
    ServerError,
    VerificationFailed,
    XnatctlError,
)
from xnatctl.model.outcome import FailureClass, Outcome
from xnatctl.model.plan import Exclusion, UploadPlan
from xnatctl.model.report import Level, Report, ReportItem
from xnatctl.xnat.importing import ImportUri

#: The error of a run that delivered nothing, by the class of the failure that ended it.
_NOTHING_DELIVERED: dict[FailureClass, type[XnatctlError]] = {
    FailureClass.AUTHENTICATION: AuthenticationError,
    FailureClass.PERMISSION: PermissionDenied,
    FailureClass.NOT_XNAT: NotXnat,
    FailureClass.UNREACHABLE: ConnectionFailed,
    FailureClass.CROWDED: ConnectionFailed,
    FailureClass.ASSOCIATION: ConnectionFailed,
    FailureClass.ANSWER_LOST: ServerError,
    FailureClass.TRANSIENT: ServerError,
    FailureClass.THROTTLED: ServerError,
    FailureClass.TOO_LARGE: ServerError,
}

REMEDY = "Make the files readable, and repair what is damaged or move it away"


#: Of files that parse here (contract xnat-import 3.2).
_SERVERS_TROUBLE = (
    "XNAT says this of a full disk, of its database and of locks as well: ask the administrator to look at its log."
)


def incomplete(
    states: Sequence[ItemState], unsendable: Sequence[Exclusion], uris: Sequence[ImportUri], rerun: str
) -> XnatctlError | None:
    """The error that ends a run in which a file was not delivered; None when all were.

    What the server's own rules filtered does not keep the rest from being archived: sending it again would change
    nothing. It is reported when the session is compared.
    """
    undelivered = [state for state in states if not state.outcome.delivered]
    if any(state.outcome.delivered for state in states):
        undelivered = [state for state in undelivered if state.outcome is not Outcome.FILTERED]
    if not undelivered and not unsendable:
        return None
    total = len(states) + len(unsendable)
    missing = len(undelivered) + len(unsendable)
    if undelivered and len(undelivered) == len(states):
        return _nothing(undelivered, total)
    names = [f"{state.item.path} ({state.reason or state.outcome})" for state in undelivered]
    names += [f"{entry.path} ({entry.reason})" for entry in unsendable]
    others = f" The other {total - missing} are on the server, not archived yet." if uris else ""
    first = "Run" if undelivered else f"{REMEDY}, then run"
    hint = f"{first} the same command again to complete the session: {rerun}"
    if not unsendable and all(state.outcome is Outcome.REJECTED for state in undelivered):
        hint = "What was refused now would be refused again: ask the administrator of the receiver, then run it again."
    return DeliveryIncomplete(
        f"{missing} of {total} files were not delivered, first {names[0]}.{others}",
        hint=hint,
    )


def filtered(states: Sequence[ItemState]) -> VerificationFailed | None:
    """The error of a session in which the server's rules left something out; None when they did not."""
    dropped = [state for state in states if state.outcome is Outcome.FILTERED]
    if not dropped:
        return None
    return VerificationFailed(
        f"The server took {len(dropped)} of {len(states)} files and did not store them, first {dropped[0].item.path}: "
        f"{dropped[0].reason}.",
        hint="Ask the administrator which series import filters and anonymisation rules are active for this project.",
    )


def _nothing(undelivered: Sequence[ItemState], total: int) -> XnatctlError:
    """No file was delivered: the commonest reason decides the exit code."""
    if all(state.outcome is Outcome.FILTERED for state in undelivered):
        return VerificationFailed(
            f"The server took {total} files and stored none: {undelivered[0].reason}.",
            hint="Ask the administrator which series import filters are active for this project.",
        )
    told = [state for state in undelivered if state.failure is not FailureClass.NONE] or list(undelivered)
    failure = Counter(state.failure for state in told).most_common(1)[0][0]
    first = next(state for state in told if state.failure is failure)
    kind = _NOTHING_DELIVERED.get(failure, DeliveryIncomplete)
    hint = _SERVERS_TROUBLE if failure is FailureClass.UNPARSABLE else None
    return kind(f"None of {total} files was delivered: {first.reason or first.outcome}", hint=hint)


def fill_items(report: Report, states: Sequence[ItemState], plan: UploadPlan) -> None:
    """Items, counts and bytes of the report from the journal and the verification."""
    invalid = set(plan.invalid)
    unsendable = [
        _unsendable(entry, Outcome.INVALID if entry in invalid else Outcome.FAILED) for entry in plan.unsendable
    ]
    for stage in plan.stages:
        title = stage.resource.title if stage.resource is not None else ""
        unsendable += [_unsendable(entry, Outcome.FAILED, title) for entry in stage.unreadable]
    report.items = _Items(states, _Verdict(report), unsendable)
    counts = report.counts
    counts.found = len(report.items)
    counts.excluded = len(report.excluded)
    counts.skipped = sum(state.skipped for state in states)
    counts.sent = sum(state.outcome.delivered and not state.skipped for state in states)
    counts.failed = counts.found - counts.sent - counts.skipped
    counts.verified = sum(item.outcome is Outcome.VERIFIED for item in report.items)
    report.bytes = sum(state.item.size for state in states if state.outcome.delivered and not state.skipped)


#: Lines of a report that are kept once they have been made; more are made again each time.
_MOST_KEPT = 20_000


class _Items(Sequence[ReportItem]):
    """The files of a report, each made when it is looked at: there may be a hundred thousand, and most never are."""

    def __init__(self, states: Sequence[ItemState], verdict: _Verdict, unsendable: Sequence[ReportItem]) -> None:
        self._states = states
        self._verdict = verdict
        self._unsendable = unsendable
        self._made: list[ReportItem] | None = None

    def __iter__(self) -> Iterator[ReportItem]:
        if self._made is None:
            made = (self[number] for number in range(len(self)))
            if len(self) > _MOST_KEPT:
                return made
            self._made = list(made)
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._states) + len(self._unsendable)

    @overload
    def __getitem__(self, index: int) -> ReportItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[ReportItem]: ...

    def __getitem__(self, index: int | slice) -> ReportItem | list[ReportItem]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number >= len(self._states):
            return self._unsendable[number - len(self._states)]
        state = self._states[number]
        item = state.item
        outcome, reason = self._verdict.of(state)
        return ReportItem(
            path=item.path,
            outcome=outcome,
            reason=reason,
            sop_instance_uid=item.sop_instance_uid,
            series_instance_uid=item.series_instance_uid,
            bytes=item.size,
            attempts=state.attempts,
            note=state.note,
            resource=state.resource.title if state.resource is not None else "",
            study_instance_uid=item.study_instance_uid,
        )


class _Verdict:
    """What the comparison with the server says of each item that was delivered."""

    def __init__(self, report: Report) -> None:
        differences = report.verification.differences
        self._gone = {d.sop_instance_uid for d in differences if d.kind in ("missing", "remapped")} - {""}
        self._short = {d.series_instance_uid for d in differences if d.kind == "count"}
        self._looked = report.verification.level is not Level.NONE
        self._files = {
            resource.title: {difference.path: difference.message for difference in resource.verification.differences}
            for resource in report.resources
            if resource.verification.level is not Level.NONE
        }

    def of(self, state: ItemState) -> tuple[Outcome, str | None]:
        """Outcome and reason for the report."""
        if not state.outcome.delivered:
            return state.outcome, state.reason
        if state.resource is not None:
            return self._of_file(state)
        if not self._looked:
            return state.outcome, state.reason
        if state.item.sop_instance_uid in self._gone:
            return Outcome.MISSING, "not found on the server"
        if state.item.series_instance_uid in self._short or "" in self._short:
            return state.outcome, state.reason
        return Outcome.VERIFIED, state.reason

    def _of_file(self, state: ItemState) -> tuple[Outcome, str | None]:
        differing = self._files.get(state.resource.title) if state.resource is not None else None
        if differing is None:
            return state.outcome, state.reason
        if (message := differing.get(state.item.path)) is not None:
            return Outcome.MISSING, message
        return Outcome.VERIFIED, state.reason


def _unsendable(entry: Exclusion, outcome: Outcome, resource: str = "") -> ReportItem:
    return ReportItem(
        path=entry.path,
        outcome=outcome,
        reason=entry.reason,
        sop_instance_uid="",
        series_instance_uid="",
        bytes=0,
        resource=resource,
    )
