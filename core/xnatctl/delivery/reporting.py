"""Fills the report from the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from xnatctl.delivery.journal.states import ItemState, StateView
from xnatctl.delivery.judgement import DOUBTFUL
from xnatctl.delivery.remedies import remedy_for
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
from xnatctl.model.commands import Commands
from xnatctl.model.outcome import FailureClass, Outcome
from xnatctl.model.plan import Exclusion, UploadPlan
from xnatctl.model.report import LEVELS, Level, Report, ReportItem, SeriesReport
from xnatctl.model.words import counted, part_of, was
from xnatctl.xnat.importing import ImportUri, is_unparsable

#: The error of a run that delivered nothing, by class of failure.
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

#: The hint for a parse error about files that we can parse (xnat-import 3.2).
_SERVERS_TROUBLE = (
    "XNAT also returns this for a full disk, database errors and locks: ask the administrator to check its log."
)

_RECEIVERS_LOG = "The receiver's log has the reason: ask its administrator."
#: The command that sends to a DICOM receiver.
UPLOAD_DICOM = "session upload-dicom"
_ECHO = f"Check with {UPLOAD_DICOM} --echo whether the receiver answers"

#: Hints for failures of a receiver.
_RECEIVERS_TROUBLE: dict[FailureClass, str] = {
    FailureClass.NONE: _RECEIVERS_LOG,
    FailureClass.UNPARSABLE: _RECEIVERS_LOG,
    FailureClass.TRANSIENT: _RECEIVERS_LOG,
    FailureClass.ANSWER_LOST: f"Check whether the receiver answers. {_RECEIVERS_LOG}",
    FailureClass.UNREACHABLE: "Check whether the receiver answers.",
    FailureClass.CROWDED: "Use fewer --workers, or ask the receiver's administrator how many connections it serves.",
}

#: Hints for failures of a DICOM receiver, for `session upload-dicom`.
_DICOM_RECEIVERS_TROUBLE: dict[FailureClass, str] = {
    FailureClass.NONE: _RECEIVERS_LOG,
    FailureClass.UNPARSABLE: _RECEIVERS_LOG,
    FailureClass.TRANSIENT: (
        "The receiver reports that it is out of resources, such as storage space: ask its administrator."
    ),
    FailureClass.ANSWER_LOST: f"{_ECHO}. {_RECEIVERS_LOG}",
    FailureClass.UNREACHABLE: f"{_ECHO}.",
    FailureClass.CROWDED: "Use fewer --workers, or ask the receiver's administrator how many associations it serves.",
    FailureClass.ASSOCIATION: f"{_ECHO}, and ask its administrator whether it accepts your AE title.",
}


def incomplete(
    states: StateView,
    unsendable: Sequence[Exclusion],
    uris: Sequence[ImportUri],
    commands: Commands,
    *,
    receiver: str = "",
    lost: AuthenticationError | None = None,
) -> XnatctlError | None:
    """The error of a run in which a file was not delivered; None if all were.

    Files that the server filtered do not prevent archiving, because sending them again would change nothing; they are
    reported when the session is compared. `receiver`: the command that sent the files to a receiver, not to XNAT.
    `lost`: why the login could not be renewed.
    """
    undelivered, rerun = states.undelivered, commands.rerun()
    if len(undelivered) < len(states):
        undelivered = undelivered.without(Outcome.FILTERED)
    if not undelivered and not unsendable:
        return None
    total = len(states) + len(unsendable)
    missing = len(undelivered) + len(unsendable)
    if undelivered and len(undelivered) == len(states):
        return _nothing(undelivered, total, commands, receiver)
    failed = next((state for state in undelivered if state.reason), undelivered[0]) if undelivered else None
    first = _name(failed) if failed is not None else f"{unsendable[0].path} ({unsendable[0].reason})"
    others = (
        f" The other {total - missing:,} {was(total - missing)} delivered; this run archived nothing." if uris else ""
    )
    if lost is not None:
        text = f"{lost.message} {part_of(missing, total, 'file')} {was(missing)} not delivered.{others}"
        before = f"{lost.hint} " if lost.hint else ""
        return AuthenticationError(text, hint=f"{before}Run the same command again to complete the session: {rerun}")
    run = "Run" if undelivered else f"{remedy_for(unsendable)}, then run"
    purpose = "send the rest" if receiver else "complete the session"
    hint = f"{run} the same command again to {purpose}: {rerun}"
    if not receiver and any(state.failure is FailureClass.AUTHENTICATION for state in undelivered):
        hint = f"{_log_in_again(commands)}, then run the same command again to complete the session: {rerun}"
    elif undelivered and not helps_again(undelivered):
        whose = "receiver" if receiver else "server"
        hint = (
            "The same command would fail again. Repair the refused files or move them out of the folder, or ask "
            f"the administrator of the {whose} why it refuses them; then run the command again: {rerun}"
        )
    elif receiver and failed is not None and (advice := _troubles(receiver).get(failed.failure)):
        hint = f"{advice} {hint}"
    text = (
        f"{part_of(missing, total, 'file')} {was(missing)} not delivered{'' if missing == 1 else ', first'}: {first}."
    )
    return DeliveryIncomplete(f"{text}{others}", hint=hint)


def _log_in_again(commands: Commands) -> str:
    return f"Log in again: {commands.command('auth', 'login')}"


def helps_again(undelivered: StateView) -> bool:
    """Whether sending again may help: some file was not refused for its content."""
    return bool(undelivered.without(Outcome.REJECTED).without(Outcome.FILTERED))


def _name(state: ItemState) -> str:
    return f"{state.item.path} ({_why(state)})"


def _why(state: ItemState) -> str:
    """The reason without a final period."""
    return (state.reason or str(state.outcome)).removesuffix(".")


def filtered(states: StateView) -> VerificationFailed | None:
    """The error of a session of which the server filtered files; None if it did not."""
    dropped = states.having(Outcome.FILTERED)
    if not dropped:
        return None
    first = dropped[0]
    return VerificationFailed(
        f"The server took {part_of(len(dropped), len(states), 'file')} without storing, first: {_name(first)}.",
        hint="Ask the administrator which series import filters and anonymisation rules are active for this project.",
    )


def _troubles(receiver: str) -> dict[FailureClass, str]:
    """The hints for failures of a receiver, by the command that sends to it."""
    return _DICOM_RECEIVERS_TROUBLE if receiver == UPLOAD_DICOM else _RECEIVERS_TROUBLE


def _nothing(undelivered: StateView, total: int, commands: Commands, receiver: str) -> XnatctlError:
    """The error if no file was delivered: the most frequent reason decides. `receiver` as in `incomplete`."""
    if not undelivered.without(Outcome.FILTERED):
        return VerificationFailed(
            f"The server took {counted(total, 'file')} and stored none: {_why(undelivered[0])}.",
            hint="Ask the administrator which series import filters are active for this project.",
        )
    counts = Counter(state.failure for state in undelivered)
    if len(counts) > 1:
        del counts[FailureClass.NONE]  # items that were not tried
    failure = counts.most_common(1)[0][0]
    first = next(state for state in undelivered if state.failure is failure)
    kind = _NOTHING_DELIVERED.get(failure, DeliveryIncomplete)
    refused = failure is FailureClass.REFUSED and is_unparsable(first.reason or "")
    hint = _SERVERS_TROUBLE if failure is FailureClass.UNPARSABLE or refused else None
    if receiver:
        hint = _receivers_hint(undelivered, failure, commands.rerun(), receiver)
    elif failure is FailureClass.AUTHENTICATION:
        hint = f"{_log_in_again(commands)}, then run the same command again."
    return kind(
        f"{'The file was not' if total == 1 else f'None of {total:,} files was'} delivered: {_why(first)}.", hint=hint
    )


def _receivers_hint(undelivered: StateView, failure: FailureClass, again: str, receiver: str) -> str:
    if not helps_again(undelivered):
        title = ", and whether it accepts your AE title" if receiver == UPLOAD_DICOM else ""
        return (
            "The same command would fail again. Ask the receiver's administrator whether the receiver can accept "
            f"these files{title}."
        )
    advice = _troubles(receiver).get(failure)
    return f"{advice} Then run the same command again: {again}" if advice else f"Run the same command again: {again}"


def fill_items(report: Report, states: StateView, plan: UploadPlan) -> None:
    """Fill items, counts and bytes of the report from the journal and the verification."""
    unsendable = unsendable_items(plan)
    verdict = _Verdict(report)
    counts = report.counts
    counts.found = len(states) + len(unsendable)
    counts.excluded = len(report.excluded)
    counts.skipped = counts.sent = counts.verified = report.bytes = 0
    levels: dict[str, Counter[Level]] = {}
    report.items = _Lines(states, verdict, unsendable)
    report.series = SeriesReport.of(plan.items)
    for state in states:
        if state.skipped:
            counts.skipped += 1
        elif state.outcome.delivered:
            counts.sent += 1
            report.bytes += state.item.size
        outcome, _, level = verdict.of(state)
        counts.verified += outcome is Outcome.VERIFIED
        if state.outcome.delivered:
            title = state.resource.title if state.resource is not None else ""
            levels.setdefault(title, Counter())[level] += 1
    counts.failed = counts.found - counts.sent - counts.skipped
    for title, verification in verdict.compared.items():
        reached = levels.get(title, Counter())
        verification.levels = {str(level): reached[level] for level in LEVELS if reached[level]}


def unsendable_items(plan: UploadPlan) -> list[ReportItem]:
    """The files that cannot be sent, as items of a report."""
    invalid = set(plan.invalid)
    items = [_unsendable(entry, Outcome.INVALID if entry in invalid else Outcome.FAILED) for entry in plan.unsendable]
    for stage in plan.stages:
        title = stage.resource.title if stage.resource is not None else ""
        items += [_unsendable(entry, Outcome.FAILED, title) for entry in stage.unreadable]
    return items


class _Lines(Collection[ReportItem]):
    """A lazy view of the items of a report, to save memory."""

    def __init__(self, states: StateView, verdict: _Verdict, unsendable: Sequence[ReportItem]) -> None:
        self._states = states
        self._verdict = verdict
        self._unsendable = unsendable

    def __len__(self) -> int:
        return len(self._states) + len(self._unsendable)

    def __iter__(self) -> Iterator[ReportItem]:
        yield from map(self._line, self._states)
        yield from map(replace, self._unsendable)

    def __contains__(self, line: object) -> bool:
        return any(line == other for other in self)

    def _line(self, state: ItemState) -> ReportItem:
        item = state.item
        outcome, reason, level = self._verdict.of(state)
        return ReportItem(
            path=item.path,
            outcome=outcome,
            reason=reason,
            sop_instance_uid=item.sop_instance_uid,
            series_instance_uid=item.series_instance_uid,
            bytes=item.size,
            attempts=state.attempts,
            note=state.finding.note or state.note,
            resource=state.resource.title if state.resource is not None else "",
            study_instance_uid=item.study_instance_uid,
            level=level,
        )


class _Verdict:
    """The result of the comparison for each delivered item."""

    def __init__(self, report: Report) -> None:
        differences = report.verification.differences
        self._wrong = {d.sop_instance_uid: d for d in differences if d.sop_instance_uid and d.kind in DOUBTFUL}
        #: Verifications by title that compared something: empty for the session, else the resource.
        self.compared = {
            title: verification
            for title, verification in (
                ("", report.verification),
                *((resource.title, resource.verification) for resource in report.resources),
            )
            if verification.ok is not None
        }
        self._files = {
            resource.title: {difference.path: difference.message for difference in resource.verification.differences}
            for resource in report.resources
            if resource.verification.level is not Level.NONE
        }

    def of(self, state: ItemState) -> tuple[Outcome, str | None, Level]:
        """Outcome, reason and level of an item in the report."""
        if not state.outcome.delivered:
            return state.outcome, state.reason, Level.NONE
        if state.resource is not None:
            return self._of_file(state)
        if (difference := self._wrong.get(state.item.sop_instance_uid)) is not None:
            return Outcome.MISSING, difference.message, Level.NONE
        outcome = state.outcome if state.level is Level.NONE else Outcome.VERIFIED
        return outcome, state.reason, state.level

    def _of_file(self, state: ItemState) -> tuple[Outcome, str | None, Level]:
        title = state.resource.title if state.resource is not None else ""
        differing = self._files.get(title)
        if differing is None:
            return state.outcome, state.reason, Level.NONE
        if (message := differing.get(state.item.path)) is not None:
            return Outcome.MISSING, message, Level.NONE
        return Outcome.VERIFIED, state.reason, state.level


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
