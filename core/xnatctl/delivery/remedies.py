"""What makes files fit to be sent, by the kinds of trouble that they have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xnatctl.model.plan import Exclusion

#: What to do with one file and with several, by the beginning of the reason why they cannot be sent.
_BY_BEGINNING: Final = {
    "damaged": ("repair the file", "repair the files", "repair what is damaged"),
    "a packed file": ("unpack the file", "unpack the files", "unpack what is packed"),
    "its content is not": ("fetch its content", "fetch their content", "fetch what is not there"),
    "XNAT keeps its": ("rename the file", "rename the files", "rename those of XNAT's own names"),
    "its name is not text": ("rename the file", "rename the files", "rename those that XNAT's catalog cannot hold"),
    "DICOM": ("correct its header", "correct their headers", "correct the headers that are wrong"),
}
_READABLE: Final = ("make the file readable", "make the files readable", "make the other files readable")


def remedy_for(entries: Iterable[Exclusion]) -> str:
    """A sentence without its period, such as "Repair the file or move it away", with each kind of trouble once."""
    found = list(entries)
    kinds = sorted({_kind(entry.reason) for entry in found}, key=_READABLE.__eq__)
    if len(kinds) == 1:
        what = f"{kinds[0][len(found) > 1]} or move {'it' if len(found) == 1 else 'them'} away"
    else:
        what = f"{', '.join(several for _, _, several in kinds)}, or move the files away"
    return f"{what[:1].upper()}{what[1:]}"


def _kind(reason: str) -> tuple[str, str, str]:
    return next((kind for begin, kind in _BY_BEGINNING.items() if reason.startswith(begin)), _READABLE)
