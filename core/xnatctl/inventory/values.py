"""Values of DICOM elements, from their bytes (DICOM PS3.5 6.2)."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from sys import intern

from xnatctl.model.refs import is_uid

_NO_DIGIT = re.compile(rb"[^0-9]")

#: Values that most files of a study share are computed once; the caches are bounded.
_few = lru_cache(maxsize=4096)
shared_uid = _few(is_uid)
shared_number = _few(int)


def text(value: bytes) -> str:
    """The first value, without padding."""
    return value.split(b"\\")[0].strip(b" \0").decode("ascii", "replace")


@_few
def shared_text(value: bytes) -> str:
    """`text` of a value that many files share; equal texts are one object."""
    return intern(text(value))


@_few
def patient_hash(identifier: bytes, name: bytes) -> str:
    """Distinguishes patients without naming them: by Patient ID, or by Patient's Name if there is no ID.

    Padding is not part of an ID. Names are compared by their first component group (PS3.5 6.2.1), without case.
    """
    if patient := identifier.strip(b" \0"):
        return hashlib.sha256(patient).hexdigest()[:12]
    parts = [part.strip(b" \0") for part in name.split(b"=")[0].upper().split(b"^")]
    return hashlib.sha256(b"\0" + b"^".join(parts).rstrip(b"^")).hexdigest()[:12]


#: The `patient_hash` of an instance that names no patient.
NO_PATIENT = patient_hash(b"", b"")


@_few
def moment(date: bytes, time: bytes) -> str:
    """Digits that sort by time, with points and colons (ACR-NEMA) or without; empty without a date."""
    day, hour = (_NO_DIGIT.sub(b"", value).decode("ascii") for value in (date, time))
    return f"{day}{hour}" if day else ""
