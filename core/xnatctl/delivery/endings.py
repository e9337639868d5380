"""How a run ends: the error and the status of its report, and the command that finishes the job."""

from __future__ import annotations

from xnatctl.errors import (
    BEFORE_SENDING,
    AuthenticationError,
    ConnectionFailed,
    Interrupted,
    NotArchived,
    PermissionDenied,
    ServerError,
    VerificationFailed,
    XnatctlError,
    exit_code_of,
    signal_of,
)
from xnatctl.model.report import Counts, PlaceState, Report, Status

#: Errors after which the same command can continue from what was delivered.
_PASSING = (AuthenticationError, PermissionDenied, ConnectionFailed, ServerError, NotArchived)


def end(report: Report, error: XnatctlError, rerun: str) -> None:
    """Write the error into the report, with the command that finishes the job unless the error names one."""
    if isinstance(error, Interrupted):
        if error.hint:
            report.next.append(rerun)
    elif isinstance(error, _PASSING) and not report.next and report.counts.sent + report.counts.skipped:
        known = error.commands if isinstance(error, NotArchived) else None
        report.next += [rerun] if known is None else known
    report.failure = error
    report.status = _status(report.counts, error)


def interrupted(
    interrupt: BaseException, rerun: str | None, reason: str = "", *, state: PlaceState = PlaceState.UNKNOWN
) -> Interrupted:
    """The error of an interrupted upload; without `rerun` it had not begun, so there is nothing to finish.

    `reason` is the sentence of the program that stopped it, `state` where the session is.
    """
    number = signal_of(interrupt)
    why = f" {reason}" if reason else ""
    if rerun is None:
        return Interrupted(f"Interrupted before anything was sent.{why}", signal_number=number)
    left = (
        "Files that the server accepted stay there. Until the upload is finished, no list may show them, and the "
        "session may not be archived."
    )
    if state is PlaceState.ARCHIVED:
        left = (
            "The session is in the archive; the steps after that, such as the comparison with the disk, are not done."
        )
    return Interrupted(
        f"Interrupted.{why} {left}",
        hint=f"Finish with: {rerun}",
        signal_number=number,
    )


def _status(counts: Counts, error: XnatctlError) -> Status:
    if isinstance(error, Interrupted):
        return Status.INTERRUPTED
    if exit_code_of(error) in BEFORE_SENDING:
        return Status.REFUSED
    if isinstance(error, NotArchived | VerificationFailed):
        return Status.PARTIAL
    return Status.PARTIAL if counts.sent + counts.skipped else Status.FAILED
