"""What a server keeps of a DICOM file that was sent: the same data set and the same tail, not the same bytes.

XNAT writes the head of a file anew up to StudyComments (0032,4000) and copies the rest, so group lengths, the preamble and
the lengths of sequences change there and nothing else. pydicom reads both files here, and no code of the sandbox.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

#: The first tag of what is copied as it is.
STOP = 0x00324001
EXPLICIT = "1.2.840.10008.1.2.1"


def kept(file: Path | str | bytes) -> str:
    """A digest of transfer syntax, head and tail; equal for a sent file and for the stored one that was made of it."""
    head, tail = parts(file)
    return hashlib.sha256(repr(head).encode("utf-8", "surrogateescape") + tail).hexdigest()


def parts(file: Path | str | bytes) -> tuple[Any, bytes]:
    """Transfer syntax and elements of the head, and the bytes from there to the end of the file."""
    from pydicom.filereader import read_partial

    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    stream = io.BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = read_partial(stream, stop_when=lambda tag, _vr, _length: tag >= STOP, force=True)
        syntax = str(ds.file_meta.get("TransferSyntaxUID", EXPLICIT))
        return (syntax, _elements(ds)), data[stream.tell() :]


def assert_kept(stored: Path | str | bytes, sent: Path | str | bytes) -> None:
    """The stored file holds the data set and the tail of the sent one."""
    (one, tail), (other, expected) = parts(stored), parts(sent)
    assert one == other
    assert tail == expected


def _elements(ds: Any) -> list[tuple[int, Any]]:
    """Every element but the group lengths, in order."""
    found: list[tuple[int, Any]] = []
    for tag in sorted(ds.keys()):
        if tag.element == 0:
            continue
        try:
            element = ds[tag]
        except Exception:  # a value that pydicom cannot convert is compared as it is
            found.append((int(tag), ds.get_item(tag).value))
            continue
        if element.VR == "SQ":
            found.append((int(tag), [_elements(item) for item in element.value]))
        elif isinstance(element.value, bytes):
            found.append((int(tag), element.value + bytes(len(element.value) % 2)))
        else:
            found.append((int(tag), repr(element.value)))
    return found
