"""Compares an archived session with the prearchive session from which it was archived, file by file.

The prearchive shows no SOP Instance UIDs (xnat-import 6.2), and anonymisation may change sizes when a session
is archived. The names of files stay: XNAT makes them of the UIDs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnatctl.api import NotFound, ServerError
from xnatctl.api.xnat import build_prearchive_row, dicom_file_names, list_scans, prearchive_file_names

if TYPE_CHECKING:
    from xnatctl.api import PrearchiveRef
    from xnatctl.api.xnat import XnatClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """The number of DICOM files in the prearchive session, and the names that the archived session lacks.

    `before` counts those whose names the session held before, so that they prove nothing.
    """

    files: int
    missing: tuple[str, ...]
    before: int


def waiting_files(client: XnatClient, ref: PrearchiveRef) -> Counter[str] | None:
    """The names of the DICOM files of a row, each with its number; None when the server cannot read the row.

    The server reads it first where it has not done so.
    """
    try:
        return prearchive_file_names(client, ref)
    except NotFound:
        pass
    try:
        build_prearchive_row(client, ref)
        return prearchive_file_names(client, ref)
    except (NotFound, ServerError):
        return None


def archived_files(client: XnatClient, session_id: str, waiting: Counter[str]) -> Counter[str]:
    """Which of the names that wait the DICOM files of an archived session have, each with its number."""
    if not waiting or not list_scans(client, session_id):
        return Counter()  # a server may answer 500 if there is nothing to list
    return dicom_file_names(client, session_id, waiting)


def compare(waiting: Counter[str], before: Counter[str], after: Counter[str]) -> Compared:
    """Compare the file names before and after archiving."""
    return Compared(
        files=waiting.total(),
        missing=tuple(sorted((waiting - after).elements())),
        before=(waiting & before).total(),
    )
