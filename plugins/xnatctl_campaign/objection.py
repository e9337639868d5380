"""Why a row cannot be planned."""

from __future__ import annotations

from xnatctl_campaign.codes import Code


class Objection(Exception):
    """A reason that becomes a finding of the row."""

    def __init__(self, code: Code, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
