"""Errors of an association."""

from __future__ import annotations

from typing import Literal

from xnatctl.api import FailureClass


class NotAssociated(Exception):
    """No association was established, so nothing was sent.

    `hint` says what to check; `busy`: the receiver reported a temporary limit.
    """

    def __init__(self, message: str, failure: FailureClass, *, hint: str, busy: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.failure = failure
        self.hint = hint
        self.busy = busy


class Lost(Exception):
    """The association ended before the answer, so it is not known whether the instance was stored.

    `how`: `aborted` by the receiver, `closed` without an answer, `silent`, `garbled` (not valid DICOM).
    """

    def __init__(self, reason: str, how: Literal["aborted", "closed", "silent", "garbled"]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.how = how
