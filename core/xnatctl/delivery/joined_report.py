"""Joins the reports of several runs into one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.relisting import CHANGED
from xnatctl.delivery.reporting import fill_items
from xnatctl.errors import DeliveryIncomplete, Interrupted, VerificationFailed, XnatctlError
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Exclusion, UploadPlan
from xnatctl.model.refs import Destination
from xnatctl.model.report import Counts, Level, PlaceState, Report, ReportItem, Status, StudyReport, Verification
from xnatctl.model.words import counted


@dataclass(kw_only=True, slots=True)
class Part:
    """One plan of several, with its report, whose status is PLANNED until the plan was tried."""

    plan: UploadPlan
    report: Report

    @property
    def error(self) -> XnatctlError | None:
        """The error of its run."""
        return self.report.failure

    @property
    def session(self) -> str:
        """The label of its session."""
        return self.report.destination.session

    @property
    def complete(self) -> bool:
        """True if its run is complete."""
        return self.report.status is Status.COMPLETE

    def take_back(self, paths: Collection[str], error: XnatctlError) -> None:
        """Mark files that changed after they were delivered as `changed`, with the error."""
        report = self.report
        counts, levels = report.counts, report.verification.levels
        for item in report.items:
            if item.path not in paths or not item.outcome.delivered:
                continue
            counts.failed += 1
            counts.verified -= item.outcome is Outcome.VERIFIED
            if item.attempts:
                counts.sent -= 1
                report.bytes -= item.bytes
            else:
                counts.skipped -= 1
            if str(item.level) in levels:
                levels[str(item.level)] -= 1
        report.items = [
            replace(item, outcome=Outcome.CHANGED, reason=CHANGED, level=Level.NONE)
            if item.path in paths and item.outcome.delivered
            else item
            for item in report.items
        ]
        if self.complete:
            report.failure, report.status = error, Status.PARTIAL


def join_reports(parts: Sequence[Part], seconds: float, appeared: Sequence[Exclusion] = ()) -> Report:
    """The report of all parts; `seconds` is the total duration, `appeared` are files outside all plans.

    Fields of the destination that differ between the parts are empty.
    """
    for part in parts:
        if not part.report.items:  # refused or not tried: its files are planned but not delivered
            journal = Journal()
            journal.open(part.plan.items)
            fill_items(part.report, journal.states(), part.plan)
    reports = [part.report for part in parts]
    items, excluded = _items(parts), [*_excluded(parts), *appeared]
    arrived = sum(report.counts.found - report.counts.failed for report in reports)
    states = {report.state for report in reports}
    return Report(
        command=_shared(report.command for report in reports),
        status=_status(parts, arrived),
        destination=_destination([report.destination for report in reports]),
        transport=_shared(report.transport for report in reports),
        state=states.pop() if len(states) == 1 else PlaceState.UNKNOWN,
        uri=reports[0].uri if len(reports) == 1 else None,
        items=items,
        counts=Counts(
            found=len(items),
            excluded=len(excluded),
            sent=sum(report.counts.sent for report in reports),
            skipped=sum(report.counts.skipped for report in reports),
            failed=len(items) - arrived,
            verified=sum(report.counts.verified for report in reports),
        ),
        bytes=sum(report.bytes for report in reports),
        seconds=seconds,
        excluded=excluded,
        verification=Verification.joined([report.verification for report in reports]),
        warnings=list(_warnings(parts)),
        next=list(dict.fromkeys(command for report in reports for command in report.next)),
        resources=[resource for report in reports for resource in report.resources],
        studies=[_study(part) for part in parts],
        series=list(dict.fromkeys(series for report in reports for series in report.series)),
        failure=together(parts),
        sources=list(dict.fromkeys(path for part in parts for path in part.plan.paths)),
    )


def _items(parts: Sequence[Part]) -> list[ReportItem]:
    """The files of all reports, each once."""
    strays = {(part.plan.root, entry.path) for part in parts for entry in part.plan.unsendable}
    items: list[ReportItem] = []
    seen: set[tuple[str, str]] = set()
    for part in parts:
        for item in part.report.items:
            key = (part.plan.root, item.path)
            if not item.sop_instance_uid and key in strays:
                if key in seen:
                    continue
                seen.add(key)
            items.append(item)
    return items


def _shared(values: Iterable[str]) -> str:
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _destination(places: Sequence[Destination]) -> Destination:
    return Destination(
        **{field.name: _shared(getattr(place, field.name) for place in places) for field in fields(Destination)}
    )


def _excluded(parts: Sequence[Part]) -> list[Exclusion]:
    """The skipped files, each once, because several plans of one directory may name them."""
    found = ((part.plan.root, entry) for part in parts for entry in (*part.plan.excluded, *part.report.excluded))
    return [entry for _, entry in dict.fromkeys(found)]


def _warnings(parts: Sequence[Part]) -> Iterator[str]:
    """The warnings of all sessions, each once, prefixed with the session labels unless it concerns all."""
    sessions: dict[str, list[str]] = {}
    for part in parts:
        for text in dict.fromkeys(part.report.warnings):
            sessions.setdefault(text, []).append(part.session)
    for text, labels in sessions.items():
        yield text if len(labels) == len(parts) > 1 else f"{', '.join(labels)}: {text}"


def _study(part: Part) -> StudyReport:
    report = part.report
    return StudyReport(
        study_instance_uid=next((item.study_instance_uid for item in part.plan.items), ""),
        state=report.state,
        subject=report.destination.subject,
        session=part.session,
        uri=report.uri,
        status=report.status,
        counts=report.counts,
        bytes=report.bytes,
        seconds=round(report.seconds, 3),
        verification=report.verification,
        error=report.error,
    )


def _status(parts: Sequence[Part], arrived: int) -> Status:
    found = {part.report.status for part in parts}
    if len(found) == 1:
        return found.pop()
    if Status.INTERRUPTED in found:
        return Status.INTERRUPTED
    some = Status.COMPLETE in found or Status.PARTIAL in found or arrived
    return Status.PARTIAL if some else Status.FAILED


def together(parts: Sequence[Part]) -> XnatctlError | None:
    """Combine the errors of several runs; None if all are complete.

    If all failed alike, that error. Otherwise undelivered files outrank files that are not archived or differ; files of
    a refused or untried plan count as undelivered.
    """
    if all(part.complete for part in parts):
        return None
    failed = [(part.session, part.error) for part in parts if part.error is not None]
    errors = [error for _, error in failed]
    for error in errors:
        if isinstance(error, Interrupted):
            return error
    if errors and len(parts) == 1:
        return errors[0]
    return _kind(parts, errors)(
        f"{len(parts) - sum(part.complete for part in parts):,} of {counted(len(parts), 'session')} not complete."
        + "".join(f" {session}: {error.message}" for session, error in failed[:3])
        + (f" And {len(failed) - 3:,} more." if len(failed) > 3 else "")
        + _untried(parts),
        hint=errors[0].hint if errors else None,
    )


def with_changes(error: XnatctlError | None, changes: XnatctlError | None) -> XnatctlError | None:
    """Combine the error of several runs with that of changed files; an interrupt is kept as it is."""
    if error is None or changes is None or isinstance(error, Interrupted):
        return error or changes
    return DeliveryIncomplete(f"{error.message} {changes.message}", hint=changes.hint)


def _untried(parts: Sequence[Part]) -> str:
    left = [part.session for part in parts if part.report.status is Status.PLANNED]
    return f" Not tried: {', '.join(left)}." if left else ""


def _kind(parts: Sequence[Part], errors: Sequence[XnatctlError]) -> type[XnatctlError]:
    codes = {error.exit_code for error in errors}
    if len(codes) == 1 and not any(part.complete for part in parts):
        return type(errors[0])
    untried = any(part.report.status is Status.PLANNED for part in parts)
    if codes == {VerificationFailed.exit_code} and not untried:
        return type(errors[0]) if len({type(error) for error in errors}) == 1 else VerificationFailed
    return DeliveryIncomplete
