"""Whether the report of an upload proves a row."""

from __future__ import annotations

from typing import Any, Final

from xnatctl.api import Level, Outcome, Report, Status, VerificationFailed, XnatctlError, counted

#: Levels that identify an instance. A number of files does not say which files they are.
_INSTANCE: Final = frozenset({Level.UID, Level.SIZE, Level.CHECKSUM})
#: Levels that identify the content of a file of a resource, which has no UID.
_FILE: Final = frozenset({Level.SIZE, Level.CHECKSUM})


def shortfall(report: Report, planned: int) -> XnatctlError | None:
    """Why an upload of `planned` files does not prove them; None if it proves every one.

    The error of the upload if it has one. Otherwise the upload is complete by its own account, and each of its files is
    looked at once more: only files that were identified on the server count.
    """
    if report.failure is not None:
        return report.failure
    proven = sum(map(_is_proven, report.items))
    if report.status is Status.COMPLETE and proven == planned == len(report.items) and planned:
        return None
    if not planned:
        return VerificationFailed("The plan holds no files.", hint="Plan the manifest again into another folder.")
    return VerificationFailed(
        f"{proven:,} of {counted(planned, 'file')} {'is' if proven == 1 else 'are'} proven to be on the server: "
        f"{_reason(report)}.",
        hint=_hint(report),
    )


def _is_proven(item: Any) -> bool:  # an entry of `Report.items`
    return item.outcome is Outcome.VERIFIED and item.level in (_INSTANCE if item.sop_instance_uid else _FILE)


def _reason(report: Report) -> str:
    items = [item for item in report.items if not _is_proven(item)]
    if not items:
        return f"the upload reports {counted(len(report.items), 'file')}"
    if items[0].level is Level.COUNTED:
        return "it only lists their number"
    return f"{items[0].path} is {items[0].outcome}"


def _hint(report: Report) -> str:
    place = f" {report.uri}" if report.uri else ""
    return f"Archive the session{place} and run the campaign again, or compare it by hand."
