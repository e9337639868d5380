"""What the checks know about a row: a small record, because a campaign has many rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xnatctl_campaign.codes import Code
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.folder import FrozenRow
from xnatctl_campaign.row import Kind, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A row, and what was found on disk for it.

    `path` is the real path of the source. `project` is the ID of the project, also where the row names an alias.
    `study` is the StudyInstanceUID of its images and `patients` their hashed patients; both are empty if there are none
    or if they are not known. `resources` are the labels of the resources that it sends. `frozen` says where its plan
    was written; None if it was not.
    """

    row: Row
    path: str
    project: str
    study: str = ""
    patients: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    frozen: FrozenRow | None = None

    @property
    def sends_images(self) -> bool:
        """Whether the row makes a session."""
        return self.row.kind is not Kind.RESOURCE

    def with_frozen(self, frozen: FrozenRow) -> Facts:
        """The same facts, with the place of the plan."""
        return replace(self, frozen=frozen)

    def finding(self, code: Code, message: str, *, hint: str = "", blocks: bool = True) -> Finding:
        """A finding of this row."""
        return Finding(code=code, message=message, row=self.row.number, line=self.row.line, hint=hint, blocks=blocks)


#: Rows that a message names before "and N more".
_NAMED = 3
#: Up to so many rows are named all.
_ALL = 20


def rows_text(numbers: list[int]) -> str:
    """`Rows 3, 5, 8 and 12 more`."""
    if len(numbers) == 1:
        return f"Row {numbers[0]}"
    if len(numbers) > _ALL:
        return f"Rows {', '.join(map(str, numbers[:_NAMED]))} and {len(numbers) - _NAMED:,} more"
    return f"Rows {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
