"""What a check of a receipt finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One difference: `where` is receipt, signature, upload, disk or server."""

    where: str
    message: str  # for people
    sop_instance_uid: str = ""
    path: str = ""
    compared: bool = True  # False: nothing could be compared yet, so nothing is known to differ

    def __str__(self) -> str:
        name = self.path or self.sop_instance_uid
        return f"{name}: {self.message}" if name else self.message
