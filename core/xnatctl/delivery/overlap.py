"""Which of the instances that are to be added to a session it holds already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """`equal` marks the items that the session holds, as far as it shows; `differing` are paths of the others it holds.

    There is one mark for each item. Nothing contradicts that the marked ones are what is on disk.
    """

    equal: Sequence[int] = ()
    differing: Sequence[str] = ()

    @property
    def any(self) -> bool:
        """True when the session holds some of the items."""
        return bool(self.differing) or any(self.equal)
