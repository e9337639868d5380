"""Recognises DICOM by its first bytes (DICOM PS3.10 section 7.1)."""

from __future__ import annotations

import re
import struct

from xnatctl.inventory.elements import Read
from xnatctl.inventory.vr import LONG, SHORT

#: Bytes that are needed.
_LEAST = 148


def is_dicom(read: Read, size: int) -> bool:
    """True for DICOM by content, also if it is damaged or lacks elements that sending needs."""
    head = read(min(_LEAST, size))
    return head[128:132] == b"DICM" or is_torn(head, size) or is_plausible(head)


def is_torn(head: bytes, size: int) -> bool:
    """True for a preamble with an incomplete prefix: a file that was cut off very early."""
    return 128 < size < 132 and not any(head[:128]) and b"DICM".startswith(head[128:])


def is_certain(head: bytes) -> bool:
    """True for a file with the prefix DICM, and for a data set without it that begins like no other format."""
    if head[128:132] == b"DICM" or b"DICM".startswith(head[128:132] or b"-"):
        return True
    return _FIRST_ELEMENT.match(head) is not None or _IMPLICIT_CLASS.search(head[:256]) is not None


#: A first element in explicit VR, and SOP Class UID in implicit VR.
_FIRST_ELEMENT = re.compile(
    rb"\x02\x00(?:\x00\x00UL|\x01\x00OB|\x02\x00UI|\x03\x00UI|\x10\x00UI)"
    rb"|\x08\x00(?:\x00\x00UL|\x01\x00UL|\x05\x00CS|\x08\x00CS|[\x12\x13]\x00(?:DA|TM)|[\x14\x16\x18]\x00UI)"
    rb"|\x00\x08(?:\x00\x00UL|\x00\x01UL|\x00\x05CS|\x00\x08CS|\x00[\x12\x13](?:DA|TM)|\x00[\x14\x16\x18]UI)",
    re.DOTALL,
)
_IMPLICIT_CLASS = re.compile(rb"\x08\x00\x16\x00.\x00\x00\x001\.2\.", re.DOTALL)


def is_plausible(head: bytes) -> bool:
    """True for a data set without preamble: it begins with a valid element of group 0002 or 0008."""
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in (2, 8) or element > 0x1000 or (group, element) == (0, 0):
            continue
        vr = head[4:6]
        if vr in SHORT or vr in LONG:
            return True
        if order == "<" and not vr.isalpha():
            length = struct.unpack_from("<I", head, 4)[0]
            if element == 6:  # Language Code Sequence
                return _LANGUAGES.match(head, 4) is not None
            # Any other first element of group 0008 is short, even in length, and its value is text or a group length.
            longest = 1024 if element == 8 and _TEXT.match(head, 8) else 256
            return length <= longest and length % 2 == 0 and element in _FIRST
    return False


#: Elements of group 0008 with which a data set may begin.
_FIRST = (0, 1, 5, 8, 0x10, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18)
_TEXT = re.compile(rb"[ -~]{8}")
#: Length and beginning of a sequence in implicit VR: an item, or an element of group 0008 after an empty one.
_LANGUAGES = re.compile(rb"....\xfe\xff(?:\0|\xdd)\xe0|\0{4}\x08\0", re.DOTALL)
