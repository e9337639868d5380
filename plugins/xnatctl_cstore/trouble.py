"""What can go wrong with an association, in the words that decide what happens next."""

from __future__ import annotations

from typing import Literal

from xnatctl.api import FailureClass


class NotAssociated(Exception):
    """There is no association, so nothing was sent.

    `hint` says what to check; `busy` = the receiver says itself that it has no room at the moment.
    """

    def __init__(self, message: str, failure: FailureClass, *, hint: str, busy: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.failure = failure
        self.hint = hint
        self.busy = busy


class Lost(Exception):
    """The association ended while an answer was due: whether the instance was stored is not known.

    `how`: `aborted` by the receiver, `closed` without a word, `silent`, `garbled` (no DICOM that we understand).
    """

    def __init__(self, reason: str, how: Literal["aborted", "closed", "silent", "garbled"]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.how = how
