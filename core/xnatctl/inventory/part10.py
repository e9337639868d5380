"""Reads the header of a DICOM file, and checks that the file is complete (DICOM PS3.10 7, PS3.5 6 and 7).

This reader exists because pydicom needs 24 times as long. It reads explicit and implicit little endian, big endian and
deflated data sets, with and without preamble. It follows every file to its end by the lengths of its elements, without
reading Pixel Data. Files that it does not understand are passed to pydicom, if that is installed. A file that is too
short is damaged for both.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from typing import Any, NamedTuple

from xnatctl.inventory.deflated import MOST_INFLATED, Inflated
from xnatctl.inventory.elements import Broken, Cut, Elements, Odd, Read, check_behind
from xnatctl.inventory.layouts import HeadLayouts, RestLayouts
from xnatctl.inventory.odd_files import ask_pydicom, has_pydicom
from xnatctl.inventory.recognition import is_certain, is_plausible, is_torn
from xnatctl.inventory.values import moment, patient_hash, shared_text, shared_uid, text
from xnatctl.inventory.vr import LONG, SHORT, UNDEFINED
from xnatctl.model.refs import is_uid
from xnatctl.model.words import counted

#: Number of bytes that are read first.
FIRST = 4096

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: Media Storage Directory Storage: a DICOMDIR, which is not an instance.
_DIRECTORY = "1.2.840.10008.1.3.10"

_MEDIA_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_CLASS, _INSTANCE, _MODALITY = 0x00080016, 0x00080018, 0x00080060
_DATE, _TIME = 0x00080020, 0x00080030
_PATIENT_NAME = 0x00100010
_PATIENT, _STUDY, _SERIES, _NUMBER, _FRAMES = 0x00100020, 0x0020000D, 0x0020000E, 0x00200011, 0x00280008
_DIRECTORY_RECORDS = 0x00041220
_UIDS = frozenset((_CLASS, _INSTANCE, _STUDY, _SERIES))
_WANTED = frozenset(
    (_MEDIA_CLASS, _TRANSFER_SYNTAX, _CLASS, _INSTANCE, _DATE, _TIME, _MODALITY, _PATIENT_NAME, _PATIENT, _STUDY,
     _SERIES, _NUMBER, _FRAMES)
)  # fmt: skip
_LAST = _FRAMES
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
#: Layouts of the elements up to the last wanted one, and of those between it and Pixel Data.
_layouts = HeadLayouts(wanted=_WANTED, fixed=(_TRANSFER_SYNTAX,), last=_LAST)
_rests = RestLayouts(last=0x7FE00007)
_u4 = struct.Struct("<I").unpack_from


class Unreadable(Exception):
    """DICOM by content that cannot be sent; the text is the reason for the report.

    `certain`: the file is DICOM without doubt, see `is_certain`.
    """

    certain = False


class Header(NamedTuple):
    """The values that planning needs. `dataset_offset` is the beginning of the data set, in bytes.

    `patient_hash` serves only to tell patients apart. `study_time` is the digits of Study Date and Study Time; it sorts
    studies and is not stored. `tail` is as in `UploadItem`. `lacks_pixels` is an image without Pixel Data, which may
    have been cut off before them.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    series_number: str
    modality: str
    transfer_syntax_uid: str
    patient_hash: str
    number_of_frames: int
    has_preamble: bool
    dataset_offset: int
    is_directory: bool = False
    study_time: str = ""
    tail: int = 0
    lacks_pixels: bool = False


def read_header(read: Read, size: int) -> Header | None:
    """The header of a file of `size` bytes; None if it is not DICOM.

    The file is followed to its end without reading values. Raises Unreadable for DICOM that cannot be sent, such as a
    damaged file.
    """
    head = read(min(FIRST, size))
    found = _layouts.find(head)
    try:
        if found is not None:
            elements, offset, end = found
            with suppress(Odd):
                return _header(elements, offset, preamble=True, rest=_rest(read, size, head, end, elements))
        return _parse(read, size, head)
    except Cut as cut:
        least = "" if cut.exact else "at least "
        problem = Unreadable(f"damaged: ends {least}{counted(cut.missing, 'byte')} before the end of an element")
        problem.certain = is_certain(head)
        raise problem from None
    except Broken as broken:
        problem = Unreadable(str(broken))
        problem.certain = is_certain(head)
        raise problem from None
    except Unreadable as problem:
        problem.certain = is_certain(head)
        raise


#: The result of following a file to its end: `tail` as in `UploadItem`, and whether an image lacks Pixel Data.
_Rest = tuple[int, bool]
_UNKNOWN: _Rest = (0, False)


def _rest(read: Read, size: int, head: bytes, position: int, elements: dict[int, bytes]) -> _Rest:
    """Follow a file in explicit VR little endian from `position`, after the wanted tags. Raises Cut, Broken, Odd."""
    end = _rests.find(head, position)
    if end is not None and head[end : end + 4] == _PIXEL_DATA and end + 12 <= len(head):
        length = _u4(head, end + 8)[0]
        if length != UNDEFINED and head[end + 4 : end + 6] in LONG:
            behind = end + 12 + length
            if behind == size:  # nearly every file
                return length, False
            if behind > size:
                raise Cut(behind - size, exact=True)
    reader = Elements(read, size, data=head)
    reader.follow(position, {})
    if not reader.in_order:
        raise Odd("its elements are out of order")  # a wanted one may be among them
    if end is None:
        _rests.missed(head, position)
    return reader.tail, _lacks_pixels(reader, elements)


def _parse(read: Read, size: int, head: bytes) -> Header | None:
    """The header, read element by element; None if the file is not DICOM."""
    if head[128:132] == b"DICM":
        return _parse_from(132, read, size, head)
    if is_torn(head, size):
        raise Cut(132 - size)
    return _parse_from(0, read, size, head) if is_plausible(head) else None


def _parse_from(start: int, read: Read, size: int, head: bytes) -> Header:
    preamble = start > 0
    elements: dict[int, bytes] = {}
    position, syntax = start, ""
    try:
        if head[start : start + 2] == b"\x02\x00":
            position = Elements(read, size, data=head).follow(start, elements, wanted=_WANTED, last=_LAST, group=2)
            syntax = text(elements.get(_TRANSFER_SYNTAX, b""))
        first = read(8, position)
        if position >= size or _begins_directory(elements, first):
            return _header(elements, position, preamble=preamble, rest=_UNKNOWN)
        if syntax != DEFLATED:
            order, implicit = encoding_of(first, syntax)
    except Odd as odd:
        return _pydicom_header(read, size, str(odd), offset=position, preamble=preamble)
    if syntax == DEFLATED:
        return _parse_deflated(Inflated(read, position, size), elements, position, preamble=preamble)
    reader = Elements(read, size, order=order, implicit=implicit, data=head)
    try:
        end = reader.follow(position, elements, wanted=_WANTED, last=_LAST)
        rest = _end(reader, elements, is_all=end >= size)
    except Odd as odd:
        if not _knows_all(reader, elements):
            return _pydicom_header(read, size, str(odd), offset=position, preamble=preamble)
        rest = _pydicom_rest(read, size)
    if syntax in ("", IMPLICIT, EXPLICIT):
        elements[_TRANSFER_SYNTAX] = _native(big=order == ">", implicit=implicit).encode()
    if preamble and syntax not in ("", IMPLICIT, BIG_ENDIAN) and not implicit:
        _layouts.missed(head)
    return _header(elements, position, preamble=preamble, rest=rest)


def _parse_deflated(inflated: Inflated, elements: dict[int, bytes], offset: int, *, preamble: bool) -> Header:
    """The header of a deflated data set, which is inflated to its end; a server rewrites all of its bytes."""
    reader = Elements(inflated.read, MOST_INFLATED, extent=inflated.extent)
    try:
        reader.follow(0, elements, wanted=_WANTED, last=_LAST)
        inflated.extent()
        check_behind(inflated.source, inflated.end)
    except Odd as odd:
        size = inflated.extent()
        if not _knows_all(reader, elements):
            return _pydicom_header(inflated.read, size, str(odd), offset=offset, preamble=preamble, syntax=DEFLATED)
        _pydicom_rest(inflated.read, size)
    return _header(elements, offset, preamble=preamble, rest=(0, _lacks_pixels(reader, elements)))


def _knows_all(reader: Elements, elements: dict[int, bytes]) -> bool:
    """Whether a reader that stopped early had read everything that planning needs."""
    return reader.reached > _LAST and elements.keys() >= _UIDS


def _end(reader: Elements, elements: dict[int, bytes], *, is_all: bool) -> _Rest:
    """The result of following the file; `is_all`: nothing follows. Raises Unreadable."""
    if reader.has_pixels and not is_all and not elements.keys() >= _UIDS:
        raise Unreadable("DICOM whose UIDs do not stand before its Pixel Data")
    return reader.tail, _lacks_pixels(reader, elements)


def _lacks_pixels(reader: Elements, elements: dict[int, bytes]) -> bool:
    """Whether an image has no Pixel Data; the SOP class identifies an image that was cut off before Rows."""
    if reader.has_pixels or reader.refers_to_pixels:
        return False
    return reader.has_rows or _IMAGE.match(elements.get(_CLASS, b"")) is not None


#: CR, DX, mammography, intra-oral, CT, ultrasound, MR, Secondary Capture, XA, RF, NM, visible light, PET (PS3.4 B.5).
_IMAGE = re.compile(
    rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(?:1(?:\.[1-3](?:\.1)?)?|2(?:\.[12])?|3\.1|4(?:\.[13])?|6\.[12]|7(?:\.[1-4])?"
    rb"|12\.[12](?:\.1)?|20|77\.1\.[1-6]|128|130)\0?\Z"
)


def encoding_of(first: bytes, syntax: str) -> tuple[str, bool]:
    """Byte order, and whether the VR is implicit: the transfer syntax, checked against the first element.

    Of the two native little-endian encodings the actual one is used; pydicom reads such files too.
    """
    if len(first) < 8:
        raise Cut(8 - len(first))
    vr = first[4:6]
    explicit_here = vr in SHORT or vr in LONG
    if syntax == BIG_ENDIAN:
        return ">", False
    if not syntax:
        big = struct.unpack_from(">H", first)[0] in (2, 8)
        return (">" if big else "<"), not explicit_here
    if syntax not in (IMPLICIT, EXPLICIT) and not explicit_here:
        raise Odd("its encoding is not that of its transfer syntax")
    return "<", not explicit_here


def _native(*, big: bool, implicit: bool) -> str:
    """The transfer syntax of the actual encoding (PS3.5 A.1 to A.3)."""
    return BIG_ENDIAN if big else IMPLICIT if implicit else EXPLICIT


_NAMES = ("SOP Class", "SOP Instance", "Study Instance", "Series Instance")


def _is_directory(elements: dict[int, bytes]) -> bool:
    return shared_text(elements.get(_MEDIA_CLASS, b"")) == _DIRECTORY or _DIRECTORY_RECORDS in elements


def _begins_directory(elements: dict[int, bytes], first: bytes) -> bool:
    """Whether the data set is that of a DICOMDIR; `first` are its first bytes. Records it in `elements`."""
    if first[:2] == b"\x04\x00":
        elements[_DIRECTORY_RECORDS] = b""
    return _is_directory(elements)


def _header(elements: dict[int, bytes], offset: int, *, preamble: bool, rest: _Rest) -> Header:
    """The header. Raises Unreadable for one that the server could not file (xnat-import 3.2)."""
    get = elements.get
    is_directory = _is_directory(elements)
    sop_class, instance = shared_text(get(_CLASS, b"")), text(get(_INSTANCE, b""))
    study, series = shared_text(get(_STUDY, b"")), shared_text(get(_SERIES, b""))
    shared = shared_uid(sop_class) and shared_uid(study) and shared_uid(series)
    if not (shared and is_uid(instance)) and not is_directory:
        for name, uid in zip(_NAMES, (sop_class, instance, study, series), strict=True):
            if not uid:
                raise Unreadable(f"DICOM without a {name} UID")
            if not is_uid(uid):
                raise Unreadable(f"DICOM with a malformed {name} UID: a UID has at most 64 digits and dots")
    frames = shared_text(get(_FRAMES, b""))
    return Header(
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        study_instance_uid=study,
        series_instance_uid=series,
        series_number=shared_text(get(_NUMBER, b"")),
        modality=shared_text(get(_MODALITY, b"")),
        transfer_syntax_uid=shared_text(get(_TRANSFER_SYNTAX, b"")),
        patient_hash=patient_hash(get(_PATIENT, b""), get(_PATIENT_NAME, b"")),
        number_of_frames=int(frames) if frames.isdecimal() and len(frames) < 9 else 1,
        has_preamble=preamble,
        dataset_offset=offset,
        is_directory=is_directory,
        study_time=moment(get(_DATE, b""), get(_TIME, b"")),
        tail=rest[0],
        lacks_pixels=rest[1],
    )


def _pydicom_header(read: Read, size: int, problem: str, *, offset: int, preamble: bool, syntax: str = "") -> Header:
    """The header by pydicom, for a file that `Elements` cannot follow.

    `syntax` is given for an inflated data set. Raises Cut, Broken, and Unreadable if pydicom cannot read the file
    either, or is not installed.
    """
    found = ask_pydicom(read, size, _WANTED)
    if found is None:
        way_out = "" if has_pydicom() else "; install the extra dicom to have pydicom read it"
        raise Unreadable(f"DICOM, but {problem}{way_out}")
    try:
        return _header(_values(found[0], syntax), offset, preamble=preamble, rest=(0 if syntax else found[1], False))
    except Exception as error:  # pydicom decodes values now, and may raise anything
        raise Unreadable(f"DICOM, but {problem}") from error


def _values(ds: Any, syntax: str) -> dict[int, bytes]:
    """The wanted elements of pydicom's data set."""
    meta = ds.file_meta
    values = {
        _MEDIA_CLASS: meta.get("MediaStorageSOPClassUID", ""),
        _TRANSFER_SYNTAX: syntax or _true_syntax(meta.get("TransferSyntaxUID", ""), *ds.original_encoding),
        _CLASS: ds.get("SOPClassUID", ""),
        _INSTANCE: ds.get("SOPInstanceUID", ""),
        _DATE: ds.get("StudyDate", ""),
        _TIME: ds.get("StudyTime", ""),
        _STUDY: ds.get("StudyInstanceUID", ""),
        _SERIES: ds.get("SeriesInstanceUID", ""),
        _NUMBER: ds.get("SeriesNumber", ""),
        _MODALITY: ds.get("Modality", ""),
        _PATIENT: ds.get("PatientID", ""),
        _PATIENT_NAME: ds.get("PatientName", ""),
        _FRAMES: ds.get("NumberOfFrames", ""),
    }
    return {tag: ("" if value is None else str(value)).encode("ascii", "replace") for tag, value in values.items()}


def _pydicom_rest(read: Read, size: int) -> _Rest:
    """The result for a file whose header is known, but which `Elements` cannot follow. Raises Cut, Broken."""
    found = ask_pydicom(read, size, _WANTED)
    return _UNKNOWN if found is None else (found[1], False)


def _true_syntax(named: str, implicit: bool | None, little: bool | None) -> str:  # noqa: FBT001 - as pydicom has them
    """The transfer syntax in the meta header, or the encoding that pydicom found if it names none."""
    return named if named or implicit is None else _native(big=little is False, implicit=implicit)
