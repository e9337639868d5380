"""How a run ends: the document, the closing lines, the error and its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xnatctl.api import (
    AuthenticationError,
    Column,
    DeliveryIncomplete,
    Document,
    Interrupted,
    JournalError,
    Refused,
    RowResult,
    ServerError,
    VerificationFailed,
    XnatctlError,
    counted,
)
from xnatctl_campaign.delivering import CHANGED
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.ledger import Entry
from xnatctl_campaign.outcomes import latest_of
from xnatctl_campaign.rows import RowIndex
from xnatctl_campaign.selection import as_text
from xnatctl_campaign.tally import Tally

SCHEMA = "xnatctl.campaign-run/1"
#: Errors of a run by the exit code that all of its failed rows share; others are incomplete.
_KINDS: Mapping[int, type[XnatctlError]] = {
    3: AuthenticationError,
    4: ServerError,
    6: VerificationFailed,
    7: Refused,
}
#: Ranges of rows that a line names.
_NAMED = 12
#: What helps where files changed after they were planned.
_PLAN_AGAIN = "Plan the manifest again into another folder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What is known when a run ends.

    `verified` counts the instances and files of proven rows that were found on the server. `stopped` says why the run
    began no other row, `stopped_code` is the exit code that this demands. `failure` is the error
    that ended it early, such as a signal.
    `rerun` and `retry` are the commands that continue.
    """

    campaign: Campaign
    index: RowIndex
    tally: Tally
    verified: int
    seconds: float
    stopped: str = ""
    stopped_code: int = 0
    failure: XnatctlError | None = None
    rerun: str
    retry: str


def error_of(ending: Ending) -> XnatctlError | None:
    """The error of a run; None if every row is proven."""
    tally, next_step = ending.tally, next_command(ending)
    if isinstance(ending.failure, Interrupted):
        message, number = f"Interrupted. {_left_over(tally)}", ending.failure.exit_code - 128
        return Interrupted(message, hint=f"Continue with: {next_step}", signal_number=number)
    if ending.failure is not None:
        return ending.failure
    if not tally.left and not tally.failed and not tally.interrupted:
        return None
    kind = _KINDS.get(_exit_code(ending), DeliveryIncomplete)
    message = f"Stopped: {ending.stopped}. {_left_over(tally)}" if ending.stopped else _left_over(tally)
    if {result.code for result in tally.failed.values()} == {CHANGED} and next_step == ending.retry:
        return kind(message, hint=f"{_PLAN_AGAIN}, or restore the files and continue with: {next_step}")
    return kind(message, hint=f"Continue with: {next_step}")


def _exit_code(ending: Ending) -> int:
    """The exit code that all failed rows share, if the run says nothing else; else 5."""
    tally = ending.tally
    if ending.stopped_code:
        return ending.stopped_code
    codes = {result.exit_code for result in tally.failed.values()}
    if tally.left or tally.interrupted or len(codes) != 1:
        return DeliveryIncomplete.exit_code
    (code,) = codes
    if code == Refused.exit_code and tally.proven:
        return DeliveryIncomplete.exit_code  # 7 means that nothing was sent
    return code


def next_command(ending: Ending) -> str:
    """The command that continues: for the rows that failed alone, or for all that are left."""
    tally = ending.tally
    unrecorded = any(result.code == JournalError.code for result in tally.failed.values())  # `retry` may not know them
    alone = tally.failed and not tally.left and not tally.interrupted and not unrecorded
    return ending.retry if alone else ending.rerun


def _left_over(tally: Tally) -> str:
    parts = []
    if tally.failed:
        parts.append(f"{counted(len(tally.failed), 'row')} failed")
    if tally.interrupted:
        parts.append(f"{counted(len(tally.interrupted), 'row')} interrupted")
    if tally.held:
        parts.append(f"{counted(len(tally.held), 'row')} held by other workers")
    if untried := tally.left - len(tally.held):
        parts.append(f"{counted(untried, 'row')} not tried")
    done = tally.before + tally.proven
    parts.append(f"{done:,} of {counted(tally.rows, 'row')} proven")
    return f"{', '.join(parts)}."


def document_of(ending: Ending, error: XnatctlError | None) -> Document:
    """The document of a run; its table lists the rows that failed or were interrupted."""
    tally, info = ending.tally, ending.campaign.info
    bad = {**tally.failed, **tally.interrupted}
    reasons = latest_of(ending.campaign.directory, bad)
    rows = [_failure(ending.index, bad[row], reasons.get(row)) for row in sorted(bad)]
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "directory": str(ending.campaign.directory),
        "server": info.server,
        "status": _status(ending, error),
        "rows": {
            "selected": tally.rows,
            "proven": tally.before + tally.proven,
            "proven_before": tally.before,
            "failed": len(tally.failed),
            "interrupted": len(tally.interrupted),
            "held": len(tally.held),
            "not_tried": tally.left - len(tally.held),
            "excluded": info.excluded,
        },
        "files": tally.files_before + tally.files_done,
        "bytes": tally.bytes_before + tally.bytes_done,
        "verified": ending.verified,
        "seconds": round(ending.seconds, 3),
        "stopped": ending.stopped or None,
        "failures": rows,
        "next": [] if error is None else [next_command(ending)],
        "error": None if error is None else error.as_document(),
    }
    return Document(
        schema=SCHEMA,
        data=data,
        columns=(
            Column(key="row", numeric=True),
            Column(key="place"),
            Column(key="state", drop=2),
            Column(key="code", drop=1),
            Column(key="reason", fit="wrap"),
        ),
        rows=rows,
        identifiers=tuple(str(row) for row in sorted(bad)),
        summary=_summary(ending, reasons, (error.hint if error is not None else None) or ""),
    )


def _status(ending: Ending, error: XnatctlError | None) -> str:
    if error is None:
        return "complete"
    if isinstance(error, Interrupted):
        return "interrupted"
    return "partial" if ending.tally.before + ending.tally.proven else "failed"


def _failure(index: RowIndex, result: RowResult, entry: Entry | None) -> dict[str, Any]:
    return {
        "row": result.row,
        "place": index[result.row].row.place,
        "state": result.state,
        "code": result.code,
        "reason": result.reason,
        "hint": (entry.hint if entry is not None else "") or None,
    }


def _summary(ending: Ending, entries: Mapping[int, Entry], below: str) -> tuple[str, ...]:
    """The closing lines; `entries` are those of the rows that failed, `below` is the hint that follows."""
    tally = ending.tally
    earlier = f", {tally.before} of them before" if tally.before else ""
    proven = f"{tally.before + tally.proven:,} of {counted(tally.rows, 'row')} proven{earlier}"
    lines = (
        []
        if not tally.rows
        else [f"{proven}; {counted(ending.verified, 'file')} verified on {ending.campaign.info.server}."]
    )
    by_code: dict[str, list[int]] = {}
    for row in sorted(tally.failed):
        by_code.setdefault(tally.failed[row].code, []).append(row)
    for code, numbers in sorted(by_code.items()):
        hints = {entries[row].hint if row in entries else "" for row in numbers}
        hint = hints.pop() if len(hints) == 1 else ""
        hint = f". {hint}" if hint and hint.removesuffix(".") not in below else ""
        lines.append(f"{counted(len(numbers), 'row')} failed ({code}): {as_text(numbers, _NAMED)}{hint}")
    if tally.interrupted:
        lines.append(
            f"{counted(len(tally.interrupted), 'row')} interrupted: {as_text(sorted(tally.interrupted), _NAMED)}"
        )
    if tally.held:
        lines.append(f"{counted(len(tally.held), 'row')} held by other workers: {as_text(sorted(tally.held), _NAMED)}")
    if untried := tally.left - len(tally.held):
        lines.append(f"{counted(untried, 'row')} not tried.")
    if excluded := ending.campaign.info.excluded:
        lines.append(f"{counted(excluded, 'row')} of the manifest excluded from the campaign by its plan.")
    return tuple(lines)
