"""The planning tags of a DICOM file, read from its first bytes (DICOM PS3.10 section 7, PS3.5 sections 6 and 7).

Own reader, because pydicom needs 24 times as long: explicit and implicit little endian, big endian and deflated, with
and without preamble. It reads no pixel data, at most `LIMIT` bytes and `DEPTH` nested sequences; what it cannot make
sense of goes to pydicom when that is installed.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from xnatctl.inventory.values import moment, patient_hash, shared_text, shared_uid, text
from xnatctl.model.refs import is_uid

#: Bytes read first, and at most.
FIRST = 4096
LIMIT = 8 * 2**20
#: Nested sequences that are followed.
DEPTH = 32

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
_UNDEFINED = 0xFFFFFFFF

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: Media Storage Directory Storage: a DICOMDIR, which is no instance.
_DIRECTORY = "1.2.840.10008.1.3.10"

_MEDIA_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_CLASS, _INSTANCE, _MODALITY = 0x00080016, 0x00080018, 0x00080060
_DATE, _TIME = 0x00080020, 0x00080030
_PATIENT, _STUDY, _SERIES, _NUMBER, _FRAMES = 0x00100020, 0x0020000D, 0x0020000E, 0x00200011, 0x00280008
_WANTED = frozenset(
    (
        _MEDIA_CLASS, _TRANSFER_SYNTAX, _CLASS, _INSTANCE, _DATE, _TIME, _MODALITY, _PATIENT, _STUDY, _SERIES, _NUMBER,
        _FRAMES,
    )
)  # fmt: skip
_DIRECTORY_RECORDS = 0x00041220
_LAST = _FRAMES


class Unreadable(Exception):
    """DICOM by content, but it cannot be sent: the reason is for the report.

    `certain` with the mark of PS3.10; without it a file may only look like DICOM.
    """

    certain = False


class _Short(Exception):
    """More bytes are needed."""


class _Odd(Exception):
    """Not understood here; pydicom may know."""


class Header(NamedTuple):
    """What planning needs. `dataset_offset` is where the data set begins, in bytes; `patient_hash` groups, no more.

    `study_time` is Study Date and Study Time, digits alone: it puts studies in order, and is kept nowhere.
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


def read_header(read: Callable[[int], bytes], size: int) -> Header | None:
    """The header of a file of `size` bytes; `read(n)` gives its first n bytes. None when it is not DICOM.

    Raises Unreadable for DICOM that cannot be sent.
    """
    try:
        return _read(read, size)
    except Unreadable as problem:
        problem.certain = read(132)[128:] == b"DICM"
        raise


def _read(read: Callable[[int], bytes], size: int) -> Header | None:
    wanted = min(FIRST, size)
    while True:
        head = read(wanted)
        whole = len(head) >= size or len(head) < wanted
        try:
            found = _parse(head, whole=whole)
            return None if found is None else _header(found[0], found[1], preamble=found[2])
        except _Short:
            if whole:
                return _ask_pydicom(head, "it ends in the middle of its header")
            if len(head) >= LIMIT:
                raise Unreadable(f"its header is longer than {LIMIT // 2**20} MiB") from None
            wanted = min(wanted * 8, size, LIMIT)
        except _Odd as odd:
            return _ask_pydicom(read(min(size, LIMIT)), str(odd))


def is_dicom(read: Callable[[int], bytes], size: int) -> bool:
    """True for DICOM by content, also when it is damaged or lacks what sending needs."""
    try:
        return read_header(read, size) is not None
    except Unreadable:
        return True


def header_of_file(path: str | bytes) -> Header | None:
    """`read_header` of a file on disk. Raises OSError, Unreadable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return read_header(lambda count: os.pread(descriptor, count, 0), os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _parse(head: bytes, *, whole: bool) -> tuple[dict[int, bytes], int, bool] | None:
    """(elements, offset of the data set, preamble) or None when it is not DICOM."""
    if head[128:132] == b"DICM":
        start, preamble = 132, True
    elif _plausible(head):
        start, preamble = 0, False
    else:
        return None
    elements: dict[int, bytes] = {}
    syntax, position = "", start
    if head[start : start + 2] == b"\x02\x00":
        position = _Parser(head, "<", implicit=False).read(start, elements, group=2)
        _check_end(position, head, whole=whole)
        syntax = text(elements.get(_TRANSFER_SYNTAX, b""))
    if position >= len(head) and whole and preamble:
        return elements, position, preamble
    if syntax == DEFLATED:
        data = _inflate(head[position:])
        _check_end(_Parser(data, "<", implicit=False).read(0, elements), data, whole=whole)
    else:
        order, implicit = _encoding(head, position, syntax)
        _check_end(_Parser(head, order, implicit=implicit).read(position, elements), head, whole=whole)
        if syntax in ("", IMPLICIT, EXPLICIT):
            elements[_TRANSFER_SYNTAX] = _native(big=order == ">", implicit=implicit).encode()
    return elements, position, preamble


def _check_end(end: int, data: bytes, *, whole: bool) -> None:
    """Raises _Short where a head was cut between two elements, or within the first 8 bytes of the next."""
    if end + 8 > len(data) and not whole:
        raise _Short


def _plausible(head: bytes) -> bool:
    """A data set without preamble begins with group 0002 or 0008 and an element that makes sense."""
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in (2, 8) or element > 0x1000 or (group, element) == (0, 0):
            continue
        vr = head[4:6]
        if vr in _SHORT or vr in _LONG:
            return True
        if order == "<" and not vr.isalpha():
            length = struct.unpack_from("<I", head, 4)[0]
            # A first element of group 0008 is short, even in length, and its value is text or a group length.
            return length <= 256 and length % 2 == 0 and (element in (0, 1, 5, 8, 0x12, 0x13, 0x14, 0x16, 0x18))
    return False


def _encoding(head: bytes, position: int, syntax: str) -> tuple[str, bool]:
    """Byte order and whether the VR is implicit: what the meta header says, held against what is there.

    Of the two native little-endian encodings the one that is there counts; pydicom reads such files as well.
    """
    if position + 8 > len(head):
        raise _Short
    vr = head[position + 4 : position + 6]
    explicit_here = vr in _SHORT or vr in _LONG
    if syntax == BIG_ENDIAN:
        return ">", False
    if not syntax:
        big = struct.unpack_from(">H", head, position)[0] in (2, 8)
        return (">" if big else "<"), not explicit_here
    if syntax not in (IMPLICIT, EXPLICIT) and not explicit_here:
        raise _Odd("its encoding is not that of its transfer syntax")
    return "<", not explicit_here


def _native(*, big: bool, implicit: bool) -> str:
    """The transfer syntax of an encoding that was found (PS3.5 A.1 to A.3)."""
    return BIG_ENDIAN if big else IMPLICIT if implicit else EXPLICIT


def _inflate(data: bytes) -> bytes:
    """The beginning of a deflated data set, bounded (PS3.5 A.5)."""
    try:
        return zlib.decompressobj(-15).decompress(data, LIMIT)
    except zlib.error:
        raise Unreadable("its deflated data set is damaged") from None


#: By byte order: tag, VR and short length of an element; a tag; a long length.
_READERS = {
    order: tuple(struct.Struct(f"{order}{form}").unpack_from for form in ("HH2sH", "HH", "I")) for order in "<>"
}


class _Parser:
    """Reads the elements of one encoding until the last wanted tag."""

    def __init__(self, data: bytes, order: str, *, implicit: bool) -> None:
        self._data = data
        self._end = len(data)
        self._implicit = implicit
        self._element, self._tag, self._u4 = _READERS[order]

    def read(  # noqa: C901 - one loop over elements, which every file goes through some forty times
        self, position: int, elements: dict[int, bytes], group: int | None = None
    ) -> int:
        """Fill `elements` from `position`; stops behind the wanted tags, at another `group`, or at the end."""
        data, end, unpack, implicit = self._data, self._end, self._element, self._implicit
        short, wanted = _SHORT, _WANTED
        lowest, highest = (0, _LAST) if group is None else (group << 16, group << 16 | 0xFFFF)
        previous = -1
        while position + 8 <= end:
            number, element, vr, length = unpack(data, position)
            tag = number << 16 | element
            if tag > highest or tag < lowest:
                return position
            if tag <= previous:
                raise _Odd("its elements are out of order")
            previous = tag
            if implicit or vr not in short:
                position, length = self._value(position)
                if length == _UNDEFINED:
                    position = self._skip(position, 0)
                    continue
            else:
                position += 8
            if tag in wanted:
                if length > 4096:
                    raise Unreadable("a UID or number in its header is longer than 4 KiB")
                if position + length > end:
                    raise _Short
                elements[tag] = data[position : position + length]
            elif tag == _DIRECTORY_RECORDS:
                elements[tag] = b""
                return position
            position += length
        if position > end:
            raise _Short
        return position

    def _value(self, position: int) -> tuple[int, int]:
        """Where the value of the element at `position` begins, and its length."""
        if self._implicit:
            return position + 8, self._u4(self._data, position + 4)[0]
        _, _, vr, length = self._element(self._data, position)
        if vr in _SHORT:
            return position + 8, length
        if vr not in _LONG:
            raise _Odd("it holds an element without a known VR")
        if position + 12 > self._end:
            raise _Short
        return position + 12, self._u4(self._data, position + 8)[0]

    def _skip(self, position: int, depth: int) -> int:
        """Behind a sequence of undefined length; `position` is at its first item (PS3.5 7.5)."""
        if depth > DEPTH:
            raise Unreadable(f"its sequences are nested more than {DEPTH} deep")
        while True:
            if position + 8 > self._end:
                raise _Short
            group, element = self._tag(self._data, position)
            length = self._u4(self._data, position + 4)[0]
            position += 8
            if group != 0xFFFE:
                raise _Odd("a sequence in it holds something else than items")
            if element == 0xE0DD:
                return position
            position = self._skip_item(position, depth) if length == _UNDEFINED else position + length

    def _skip_item(self, position: int, depth: int) -> int:
        while True:
            if position + 8 > self._end:
                raise _Short
            if self._tag(self._data, position) == (0xFFFE, 0xE00D):
                return position + 8
            position, length = self._value(position)
            position = self._skip(position, depth + 1) if length == _UNDEFINED else position + length


_NAMES = ("SOP Class", "SOP Instance", "Study Instance", "Series Instance")


def _header(elements: dict[int, bytes], offset: int, *, preamble: bool) -> Header:
    """The header. Raises Unreadable for one that the server could not file (contract xnat-import 3.2)."""
    get = elements.get
    is_directory = shared_text(get(_MEDIA_CLASS, b"")) == _DIRECTORY or _DIRECTORY_RECORDS in elements
    sop_class, instance = shared_text(get(_CLASS, b"")), text(get(_INSTANCE, b""))
    study, series = shared_text(get(_STUDY, b"")), shared_text(get(_SERIES, b""))
    shared = shared_uid(sop_class) and shared_uid(study) and shared_uid(series)
    if not (shared and is_uid(instance)) and not is_directory:
        for name, uid in zip(_NAMES, (sop_class, instance, study, series), strict=True):
            if not uid:
                raise Unreadable(f"DICOM without a {name} UID")
            if not is_uid(uid):
                raise Unreadable(f"DICOM with a malformed {name} UID")
    frames = shared_text(get(_FRAMES, b""))
    return Header(
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        study_instance_uid=study,
        series_instance_uid=series,
        series_number=shared_text(get(_NUMBER, b"")),
        modality=shared_text(get(_MODALITY, b"")),
        transfer_syntax_uid=shared_text(get(_TRANSFER_SYNTAX, b"")),
        patient_hash=patient_hash(get(_PATIENT, b"")),
        number_of_frames=int(frames) if frames.isdecimal() and len(frames) < 9 else 1,
        has_preamble=preamble,
        dataset_offset=offset,
        is_directory=is_directory,
        study_time=moment(get(_DATE, b""), get(_TIME, b"")),
    )


def _ask_pydicom(head: bytes, problem: str) -> Header | None:
    """What pydicom makes of the beginning of a file. Raises Unreadable when it knows no better, or is not there."""
    try:
        import pydicom
        from pydicom.filebase import DicomBytesIO
    except ImportError:
        raise Unreadable(f"DICOM, but {problem}") from None
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(DicomBytesIO(head), stop_before_pixels=True, force=True)
            meta = ds.file_meta
            values = {
                _MEDIA_CLASS: meta.get("MediaStorageSOPClassUID", ""),
                _TRANSFER_SYNTAX: _true_syntax(meta.get("TransferSyntaxUID", ""), *ds.original_encoding),
                _CLASS: ds.get("SOPClassUID", ""),
                _INSTANCE: ds.get("SOPInstanceUID", ""),
                _DATE: ds.get("StudyDate", ""),
                _TIME: ds.get("StudyTime", ""),
                _STUDY: ds.get("StudyInstanceUID", ""),
                _SERIES: ds.get("SeriesInstanceUID", ""),
                _NUMBER: ds.get("SeriesNumber", ""),
                _MODALITY: ds.get("Modality", ""),
                _PATIENT: ds.get("PatientID", ""),
                _FRAMES: ds.get("NumberOfFrames", ""),
            }
    except Exception as error:
        raise Unreadable(f"DICOM, but {problem}") from error
    elements = {tag: ("" if value is None else str(value)).encode("ascii", "replace") for tag, value in values.items()}
    preamble = head[128:132] == b"DICM"
    try:
        return _header(elements, 0, preamble=preamble)
    except Unreadable:
        raise Unreadable(f"DICOM, but {problem}") from None


def _true_syntax(said: str, implicit: bool | None, little: bool | None) -> str:  # noqa: FBT001 - as pydicom has them
    """What the meta header says, or what pydicom found where it says nothing."""
    return said if said or implicit is None else _native(big=little is False, implicit=implicit)
