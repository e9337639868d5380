"""Maps a C-STORE status to an outcome (PS3.4 B.2.3, PS3.7 C; xnat-api 5.3)."""

from __future__ import annotations

from xnatctl.api import FailureClass, ItemOutcome, Outcome, UploadItem
from xnatctl_cstore.dimse import Answer

_SUCCESS, _DUPLICATE, _PROCESSING = 0x0000, 0x0111, 0x0110
#: The first digits of the ranges.
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA7, 0xC

#: An LO has 64 characters (PS3.5 6.2).
_COMMENT = 64

_ADVICE = {
    0x0122: "it does not accept this SOP class",
    0x0124: "it does not let this caller store",
}


def outcome_of(item: UploadItem, answer: Answer, *, lost: bool = False) -> ItemOutcome:
    """The outcome: stored, stored with a note, to be retried, or refused.

    `lost`: the instance was sent just before, and the answer was lost, so a duplicate of it is ours.

    XNAT returns C000 for almost every failure, which may be temporary, as are out of resources (A7xx) and processing
    failure (0110). Those are retried; others would be refused again.
    """
    status = answer.status
    if status == _SUCCESS:
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
    status_text = _status_text(answer)
    if _is_warning(status):
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, note=f"stored with a warning: {status_text}")
    if status == _DUPLICATE:
        note = f"not stored again, because the receiver already has this instance: {status_text}"
        return ItemOutcome(
            path=item.path,
            outcome=Outcome.ACCEPTED,
            failure=FailureClass.NONE if lost else FailureClass.DUPLICATE,
            note=note,
        )
    failure = FailureClass.NONE
    if status >> 8 == _OUT_OF_RESOURCES:
        failure = FailureClass.TRANSIENT
    elif status >> 12 == _CANNOT_UNDERSTAND or status == _PROCESSING:
        failure = FailureClass.UNPARSABLE
    return ItemOutcome(
        path=item.path,
        outcome=Outcome.REJECTED if failure is FailureClass.NONE else Outcome.FAILED,
        failure=failure,
        reason=f"the receiver answered {status_text}",
    )


def says_stored(status: int) -> bool:
    """True if the status means stored, with or without a warning."""
    return status == _SUCCESS or _is_warning(status)


def _is_warning(status: int) -> bool:
    """The B000 class, and the general warnings of PS3.7 C.4."""
    return status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)


def _status_text(answer: Answer) -> str:
    """The status as number and text, with the receiver's comment."""
    from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

    words = STORAGE_SERVICE_CLASS_STATUS.get(answer.status, ("", ""))[1]
    text = f"0x{answer.status:04X}" + (f" ({words})" if words else "")
    if answer.status in _ADVICE:
        text += f", {_ADVICE[answer.status]}"
    return text + (f": {answer.comment[:_COMMENT]}" if answer.comment else "")
