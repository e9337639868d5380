"""Anonymization scripts, as far as a client can notice them (xnat-import 4.1a).

A script here maps keywords to values: a text is set, None removes the element, `hashUID` derives another UID from the
one that is there. The whole file is parsed and written anew; pixel data stay. A file that ends too early is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from xnatctl_sandbox.receive import part10_reader, part10_writer
from xnatctl_sandbox.receive.dicom_elements import DataSet, Element, Unreadable, text_of, vr_of

HASH = "hashUID"
Script = Mapping[str, str | None]
_SOP_INSTANCE, _META_SOP_INSTANCE = 0x00080018, 0x00020003


def check(script: object) -> None:
    """Check the form of a script. Raises ValueError."""
    if not isinstance(script, dict):
        raise ValueError("A script must be one JSON object that maps keywords to values.")  # noqa: TRY004 - a mistake of the caller's script
    for keyword, value in script.items():
        if _tag_of(keyword) is None:
            raise ValueError(f"Unknown DICOM attribute {keyword}.")
        if value is not None and not isinstance(value, str):
            raise ValueError(f"The value of {keyword} must be a text, or null to remove the element.")


def apply_script(data: part10_reader.Data, script: Script) -> bytes:
    """The file after the script. Raises Unreadable for a file that cannot be parsed to its end."""
    head = part10_reader.read(data)
    for keyword, value in script.items():
        tag = _tag_of(keyword)
        if tag is None:
            raise Unreadable(f"the script names {keyword}, which is no attribute")
        _apply(head.data_set, tag, value)
    uid = head.data_set.get(_SOP_INSTANCE)
    if uid is not None and _META_SOP_INSTANCE in head.meta:
        head.meta[_META_SOP_INSTANCE].value = uid.value
    return part10_writer.write(head)


def _apply(data_set: DataSet, tag: int, value: str | None) -> None:
    if value is None:
        data_set.pop(tag, None)
        return
    if value == HASH:
        before = text_of(data_set.get(tag))
        if not before:
            return
        value = hash_uid(before)
    vr = vr_of(tag)
    written = value.encode()
    padding = (b"\0" if vr == "UI" else b" ") * (len(written) % 2)
    data_set[tag] = Element(tag, vr, written + padding)


def hash_uid(uid: str) -> str:
    """The UID that replaces another, always the same."""
    return f"2.25.{int.from_bytes(hashlib.sha256(uid.encode()).digest()[:15])}"


def _tag_of(keyword: str) -> int | None:
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword)
