"""The SOP Instance UID from the beginning of a DICOM file."""

from __future__ import annotations

import re

from xnatctl.inventory.identity import inflated_head
from xnatctl.model.refs import is_uid

#: Bytes that contain it: the elements before it, in the order of the tags (PS3.5 7.1), are short.
ENOUGH = 1 << 16

#: SOPInstanceUID in explicit and implicit little endian, and in explicit big endian.
_INSTANCE = re.compile(rb"\x08\0\x18\0(?:UI(..)|(..)\0\0)|\0\x08\0\x18UI(..)", re.DOTALL)


def instance_uid(head: bytes) -> str:
    """The UID in the data set, not the one in the file meta information; empty if there is none."""
    start = 0
    if head[128:132] == b"DICM":
        has_length = head[132:136] == b"\x02\0\0\0"  # the length of the file meta information (PS3.10 7.1)
        start = 144 + int.from_bytes(head[140:144], "little") if has_length else 132
    head = inflated_head(head) or head[start:]
    match = _INSTANCE.search(head)
    if match is None:
        return ""
    length = int.from_bytes(match[3], "big") if match[3] else int.from_bytes(match[1] or match[2], "little")
    uid = head[match.end() : match.end() + length].rstrip(b"\0 ").decode("ascii", "replace")
    return uid if is_uid(uid) else ""
