"""Several studies, each delivered as a session of its own: what is refused before, and one report at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import overload

from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.planning import patient_notes, patients_in_order, study_table
from xnatctl.delivery.relisting import CHANGED
from xnatctl.delivery.reporting import fill_items
from xnatctl.errors import (
    AuthenticationError,
    ConnectionFailed,
    DeliveryIncomplete,
    Interrupted,
    NotXnat,
    Refused,
    VerificationFailed,
    XnatctlError,
)
from xnatctl.inventory.by_study import StudyInventory
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Exclusion, UploadPlan
from xnatctl.model.report import Counts, Level, PlaceState, Report, ReportItem, Status, StudyReport, join_verifications
from xnatctl.model.sequences import Lazy
from xnatctl.model.words import counted


def check_patients(several: StudyInventory, *, same_patient: bool) -> tuple[str, ...]:
    """What is to be said of studies that do not name the same patient: all become sessions of one subject.

    Raises Refused unless somebody said that they are of one (`same_patient`).
    """
    notes = patient_notes(several)
    if not notes or len(several.studies) < 2:
        return ()
    number = len(patients_in_order(several))
    if same_patient:
        return (f"The studies name {number} patients; --same-patient says that they are of one patient.",)
    raise Refused(
        f"{several.inventory.root} holds studies of different patients ({number} patients), and all would become "
        f"sessions of one subject:\n{study_table(several, notes)}",
        hint="Upload the studies of each patient on their own, with the subject that they belong to. If all are of one "
        "patient under several IDs or names, say so with --same-patient.",
    )


@dataclass(kw_only=True, slots=True)
class Part:
    """One study of several, with its report, which says PLANNED until it was tried."""

    study: str
    plan: UploadPlan
    report: Report

    @property
    def error(self) -> XnatctlError | None:
        """What its run ended with."""
        return self.report.failure

    @property
    def session(self) -> str:
        """The label of its session."""
        return self.report.destination.session

    @property
    def complete(self) -> bool:
        """True when nothing is left to do."""
        return self.report.status is Status.COMPLETE

    def take_back(self, paths: Collection[str], error: XnatctlError) -> None:
        """Files of it changed after they were delivered, so that their content was not."""
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
        report.items = _TakenBack(report.items, paths)
        if self.complete:
            report.failure, report.status = error, Status.PARTIAL


def is_hopeless(part: Part) -> bool:
    """True when the next study would meet the same: an interrupt, a login that is refused, a server that is gone."""
    error = part.error
    if isinstance(error, ConnectionFailed):
        return not part.report.counts.sent
    return isinstance(error, Interrupted | AuthenticationError | NotXnat)


def gather(whole: Report, parts: Sequence[Part], excluded: Sequence[Exclusion], seconds: float) -> None:
    """Fill the report of the whole from those of its parts; `seconds` is how long all took."""
    for part in parts:
        if not part.report.items:  # refused, or not tried: its files are planned, and not delivered
            journal = Journal()
            journal.open(part.plan.items)
            fill_items(part.report, journal.states(), part.plan)
    reports = [part.report for part in parts]
    whole.items = _Items(parts)
    whole.counts = Counts(
        found=len(whole.items),
        excluded=len(excluded),
        sent=sum(report.counts.sent for report in reports),
        skipped=sum(report.counts.skipped for report in reports),
        verified=sum(report.counts.verified for report in reports),
    )
    whole.counts.failed = whole.counts.found - _arrived(whole)
    whole.bytes = sum(report.bytes for report in reports)
    whole.seconds = seconds
    whole.excluded = list(excluded)
    whole.verification = join_verifications([report.verification for report in reports])
    whole.warnings += _warnings(parts)
    whole.next = list(dict.fromkeys([*whole.next, *(command for report in reports for command in report.next)]))
    whole.studies = [_study(part) for part in parts]
    states = {report.state for report in reports}
    whole.state = states.pop() if len(states) == 1 else PlaceState.UNKNOWN
    whole.uri = reports[0].uri if len(reports) == 1 else None
    whole.status = _status(whole, parts)


def _warnings(parts: Sequence[Part]) -> Iterator[str]:
    """The warnings of all sessions, each once, with the labels of the sessions unless it is about all of them."""
    sessions: dict[str, list[str]] = {}
    for part in parts:
        for text in dict.fromkeys(part.report.warnings):
            sessions.setdefault(text, []).append(part.session)
    for text, labels in sessions.items():
        yield text if len(labels) == len(parts) > 1 else f"{', '.join(labels)}: {text}"


def _arrived(whole: Report) -> int:
    if whole.command == "session verify":  # which sends nothing
        return whole.counts.verified
    return whole.counts.sent + whole.counts.skipped


def _study(part: Part) -> StudyReport:
    report = part.report
    return StudyReport(
        study_instance_uid=part.study,
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


def _status(whole: Report, parts: Sequence[Part]) -> Status:
    found = {part.report.status for part in parts}
    if len(found) == 1:
        return found.pop()
    if Status.INTERRUPTED in found:
        return Status.INTERRUPTED
    some = Status.COMPLETE in found or Status.PARTIAL in found or _arrived(whole)
    return Status.PARTIAL if some else Status.FAILED


def together(parts: Sequence[Part]) -> XnatctlError | None:
    """The one error of several studies; None when all are complete.

    Where all failed alike, that; otherwise it is worse that files were not delivered than that some are not archived or
    differ, and what was refused or not tried was not delivered.
    """
    failed = [part for part in parts if part.error is not None]
    if not failed:
        return None
    first = failed[0].error
    assert first is not None
    for part in failed:
        if isinstance(part.error, Interrupted):
            return part.error
    if len(parts) == 1:
        return first
    return _kind(parts, [part.error for part in failed if part.error is not None])(
        f"{len(parts) - sum(part.complete for part in parts)} of {counted(len(parts), 'session')} not complete. "
        + " ".join(f"{part.session}: {part.error.message}" for part in failed[:3] if part.error is not None)
        + (f" And {len(failed) - 3} more." if len(failed) > 3 else "")
        + _untried(parts),
        hint=first.hint,
    )


def with_changes(error: XnatctlError | None, changes: XnatctlError | None) -> XnatctlError | None:
    """The error of several studies, and that of files which appeared meanwhile, as one; an interrupt stays as it is."""
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


class _TakenBack(Lazy[ReportItem]):
    """The files of a report, some of which changed after they were delivered."""

    __slots__ = ("_items", "_paths")

    def __init__(self, items: Sequence[ReportItem], paths: Collection[str]) -> None:
        self._items = items
        self._paths = paths

    def __len__(self) -> int:
        return len(self._items)

    def _at(self, number: int) -> ReportItem:
        item = self._items[number]
        if item.path not in self._paths or not item.outcome.delivered:
            return item
        return replace(item, outcome=Outcome.CHANGED, reason=CHANGED, level=Level.NONE)


class _Items(Sequence[ReportItem]):
    """The files of several reports, one after the other; one that may belong to several studies is there once.

    Each is made when it is looked at, and not kept: there may be many.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._reports = [part.report for part in parts]
        strays = [entry.path for part in parts for entry in part.plan.unsendable]
        self._strays = frozenset(strays)
        self._again = len(strays) - len(self._strays)

    def __iter__(self) -> Iterator[ReportItem]:
        seen: set[str] = set()
        for report in self._reports:
            for item in map(report.items.__getitem__, range(len(report.items))):
                if not item.sop_instance_uid and item.path in self._strays:
                    if item.path in seen:
                        continue
                    seen.add(item.path)
                yield item

    def __len__(self) -> int:
        return sum(len(report.items) for report in self._reports) - self._again

    @overload
    def __getitem__(self, index: int) -> ReportItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[ReportItem]: ...

    def __getitem__(self, index: int | slice) -> ReportItem | list[ReportItem]:
        if isinstance(index, slice):
            return list(self)[index]
        return next(islice(self, range(len(self))[index], None))
