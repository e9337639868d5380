"""Decompression on import, where the server can do it (xnat-import 4.1a); pydicom decodes."""

from __future__ import annotations

import io
import warnings

from xnatctl_sandbox.receive import part10_reader, part10_writer
from xnatctl_sandbox.receive.dicom_elements import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    TRANSFER_SYNTAX,
    Element,
    Head,
)


def can_decode(transfer_syntax: str) -> bool:
    """True for a compressed transfer syntax that pydicom can decode here."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        return bool(get_decoder(transfer_syntax).is_available) and transfer_syntax not in _NATIVE
    except NotImplementedError:
        return False


_NATIVE = frozenset({IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN})
_PLANAR_CONFIGURATION, _PIXEL_DATA = 0x00280006, 0x7FE00010


def decompress(data: part10_reader.Data) -> bytes:
    """The file in Explicit VR Little Endian; in its own encoding when its pixel data cannot be decoded.

    Raises Unreadable for what cannot be parsed to its end.
    """
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder

    whole = part10_reader.read(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(io.BytesIO(data))
            frames, planar = [], None
            for frame, described in get_decoder(ds.file_meta.TransferSyntaxUID).iter_buffer(ds):
                frames.append(bytes(frame))
                planar = described.get("planar_configuration")
    except Exception:  # noqa: BLE001 - whatever fails, the original is stored
        return part10_writer.write(whole)
    whole.data_set[_PIXEL_DATA] = Element(_PIXEL_DATA, "OW", b"".join(frames))
    if planar is not None and _PLANAR_CONFIGURATION in whole.data_set:
        whole.data_set[_PLANAR_CONFIGURATION].value = int(planar).to_bytes(2, "little")
    syntax = Element(TRANSFER_SYNTAX, "UI", EXPLICIT.encode() + b"\0")
    return part10_writer.write(Head({**whole.meta, TRANSFER_SYNTAX: syntax}, whole.data_set, whole.rest))
