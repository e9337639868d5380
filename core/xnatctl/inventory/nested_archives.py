"""Packed files among the files to send. None is unpacked, so those that hold or may hold DICOM are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.walk import HOLDS_DICOM, MAY_HOLD_DICOM, Inventory
from xnatctl.model.plan import Exclusion

#: Files that a warning names before "and N more".
_NAMED = 5


def look_inside(inventory: Inventory, *, attach_unknown: bool | None = None) -> Inventory:
    """The inventory with packed files that hold or may hold DICOM as unreadable, and notes on what to do.

    With `attach_unknown` files that cannot be read inside count as files without DICOM; None if the command has no such
    option. Reads the beginning of each packed file, and all of an archive file without DICOM.
    """
    reasons: dict[str, str] = {}
    for item in inventory.others:
        if item.path not in inventory.packed:
            continue
        holds = holds_dicom(item.file)
        if holds or (holds is None and not attach_unknown):
            reasons[item.path] = HOLDS_DICOM if holds else MAY_HOLD_DICOM
    if reasons:
        inventory = replace(
            inventory,
            others=tuple(item for item in inventory.others if item.path not in reasons),
            excluded=tuple(entry for entry in inventory.excluded if entry.path not in reasons),
            unreadable=(*inventory.unreadable, *(Exclusion(path=path, reason=why) for path, why in reasons.items())),
            unsent_dicom=inventory.unsent_dicom.union(path for path, why in reasons.items() if why == HOLDS_DICOM),
        )
    return replace(inventory, notes=(*inventory.notes, *_notes(inventory, is_choice=attach_unknown is not None)))


def _notes(inventory: Inventory, *, is_choice: bool) -> list[str]:
    holding = [entry.path for entry in inventory.unreadable if entry.reason == HOLDS_DICOM]
    unknown = [entry.path for entry in inventory.unreadable if entry.reason == MAY_HOLD_DICOM]
    notes = []
    if holding:
        notes.append(
            f"Packed files that hold DICOM are not sent: {_some(holding)}. Unpack them, upload them on their own with "
            "xnatctl session upload, or move them away."
        )
    if unknown:
        known = " If you know that they hold no DICOM, add --attach-unknown." if is_choice else ""
        notes.append(
            f"Packed files that may hold DICOM and cannot be read are not sent: {_some(unknown)}. Unpack them or move "
            f"them away.{known}"
        )
    return notes


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{more}"
