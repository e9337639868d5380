"""A finding of a check of a manifest, with its row and a code that scripts can rely on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is wrong with a row, or with the manifest as a whole (`row` and `line` are 0).

    `code` is a short name in lower case with hyphens, such as `label-refused`; the documentation lists all codes.
    A finding with `blocks` prevents that the row is frozen; the others are warnings.
    """

    code: str
    message: str  # one sentence: what is wrong
    row: int = 0  # `Row.number`
    line: int = 0  # `Row.line`
    hint: str = ""  # one sentence: what to do
    blocks: bool = True

    @property
    def place(self) -> str:
        """The place of the finding, for the beginning of a message: `Row 3 (line 4)`."""
        if not self.row:
            return f"Line {self.line}" if self.line else "The manifest"
        return f"Row {self.row} (line {self.line})"
