"""Whether a receipt has the members that a check reads: only one that somebody wrote by hand has not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from xnatctl_receipt.chain import Receipt

_HEADER: Final = {
    "status": str,
    "started": str,
    "ended": str,
    "user": str,
    "asked": dict,
    "destination": dict,
    "series": list,
    "resources": list,
    "studies": list,
    "earlier": list,
}
_DESTINATION: Final = dict.fromkeys(("server", "project", "subject", "session", "state"), str)
_SERIES: Final = dict.fromkeys(
    (
        "study_instance_uid",
        "series_instance_uid",
        "series_number",
        "modality",
        "sop_class_uid",
        "transfer_syntax_uid",
    ),
    str,
)
_STUDY: Final = dict.fromkeys(("study_instance_uid", "session"), str)
_RESOURCE: Final = {"title": str, "uri": (str, type(None))}
_ENTRY: Final = {"n": int, "kind": str, "bytes": int, "sent": str, "sha256": (str, type(None))}


def shape_problem(receipt: Receipt) -> str | None:
    """The first part of a receipt without a member that it must have, as a sentence; None if all are there."""
    header = receipt.header
    if not _has(header, _HEADER):
        return "The header lacks members of a receipt."
    if not _has(header["destination"], _DESTINATION) or not _has(header["asked"], {"server": str, "resource": str}):
        return "The destination lacks members of a receipt."
    for name, members in (("series", _SERIES), ("studies", _STUDY), ("resources", _RESOURCE)):
        if not all(_has(row, members) for row in header[name]):
            return f"The {name} of the header lack members of a receipt."
    for number, entry in enumerate(receipt.entries, 1):
        if not _has(entry, _ENTRY) or (entry["kind"] == "instance" and not _is_instance(entry, len(header["series"]))):
            return f"Entry {number} lacks members of a receipt."
    return None


def _is_instance(entry: Mapping[str, Any], series: int) -> bool:
    number = entry.get("series", -1)
    whole = isinstance(entry.get("sop_instance_uid"), str) and isinstance(entry.get("tail", 0), int)
    return whole and (number is None or (isinstance(number, int) and 0 <= number < series))


def _has(value: object, members: Mapping[str, Any]) -> bool:
    return isinstance(value, dict) and all(
        name in value and isinstance(value[name], kind) for name, kind in members.items()
    )
