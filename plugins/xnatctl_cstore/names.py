"""Names of UIDs from the standard."""

from __future__ import annotations

from functools import cache


@cache
def name_of(uid: str) -> str:
    """The name of a SOP class or transfer syntax; the UID itself where the standard has none."""
    from pydicom.uid import UID

    return str(UID(uid).name) or uid


def described(sop_class: str, transfer_syntax: str) -> str:
    """A presentation context as text."""
    return f"{name_of(sop_class)} in {name_of(transfer_syntax)}"
