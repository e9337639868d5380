"""Archive files that lie among what is to be sent: none is opened, so those that may hold DICOM are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.walk import NESTED, Inventory

#: Files that a warning names before "and n more".
_NAMED = 5
_HOLDS = "an archive file that holds DICOM"
_MAY_HOLD = "an archive file that cannot be looked into"


def look_inside(inventory: Inventory) -> Inventory:
    """The inventory with the truth about archive files in it, and in its notes what is to be said of them.

    Reads the beginning of each archive file, and all of one that holds no DICOM.
    """
    reasons: dict[str, str] = {}
    for item in inventory.others:
        if item.path in inventory.packed and (holds := holds_dicom(item.source.path)) is not False:
            reasons[item.path] = _HOLDS if holds else _MAY_HOLD
    excluded = tuple(
        replace(entry, reason=reasons[entry.path]) if entry.path in reasons else entry for entry in inventory.excluded
    )
    holding = [path for path, reason in reasons.items() if reason == _HOLDS]
    unknown = [path for path, reason in reasons.items() if reason == _MAY_HOLD]
    unknown += [entry.path for entry in excluded if entry.reason == NESTED]
    notes = []
    if holding:
        notes.append(
            f"Archive files are not opened inside a directory, and there is DICOM in {_some(holding)}. "
            "Name each as PATH in an upload of its own, or unpack it."
        )
    if unknown:
        notes.append(f"Nobody looked into {_some(unknown)}: there may be DICOM in it. Unpack it, if there is.")
    return replace(inventory, excluded=excluded, notes=(*inventory.notes, *notes))


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{more}"
