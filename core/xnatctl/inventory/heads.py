"""The SOP Instance UID of a DICOM file of which only the beginning is there."""

from __future__ import annotations

import re

from xnatctl.inventory.identity import inflated_head
from xnatctl.model.refs import is_uid

#: Bytes that hold it: what stands before it in the order of the tags (PS3.5 7.1) is short.
ENOUGH = 1 << 16

#: SOPInstanceUID in explicit and implicit little endian, and in explicit big endian.
_INSTANCE = re.compile(rb"\x08\0\x18\0(?:UI(..)|(..)\0\0)|\0\x08\0\x18UI(..)", re.DOTALL)


def instance_uid(head: bytes) -> str:
    """The UID that the data set names, not the one of the file meta information; empty where it shows none."""
    start = 0
    if head[128:132] == b"DICM":
        named = head[132:136] == b"\x02\0\0\0"  # the length of the file meta information (PS3.10 7.1)
        start = 144 + int.from_bytes(head[140:144], "little") if named else 132
    head = inflated_head(head) or head[start:]
    match = _INSTANCE.search(head)
    if match is None:
        return ""
    length = int.from_bytes(match[3], "big") if match[3] else int.from_bytes(match[1] or match[2], "little")
    uid = head[match.end() : match.end() + length].rstrip(b"\0 ").decode("ascii", "replace")
    return uid if is_uid(uid) else ""
