"""The record of one DICOM file: values of its header, size, checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

from xnatctl_sandbox.receive import anonymization, part10_reader
from xnatctl_sandbox.receive.archive_reader import Readable
from xnatctl_sandbox.receive.dicom_elements import DataSet, text_of
from xnatctl_sandbox.receive.routing import COMMENTS
from xnatctl_sandbox.world.records import Received
from xnatctl_sandbox.world.routing_expressions import Header

_BLOCK = 1 << 18
#: What decides where an object goes. The source has no list of XNAT's identifier tags; the highest of those in
#: xnat-api 5.4 is StudyComments (0032,4000), so a header ends before (0032,4001).
_TAGS = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "Modality",
    "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesNumber", "InstanceNumber", *COMMENTS,
)  # fmt: skip


@dataclass(frozen=True)
class Sums:
    """Size in bytes and checksums in hexadecimal."""

    size: int
    md5: str
    sha256: str


def anonymize(path: Path, script: anonymization.Script, received: Received) -> Received:
    """Run an anonymization script on a stored file; returns its record afterwards. Raises Unreadable."""
    with part10_reader.opened(path) as data:
        content = anonymization.apply_script(data, script)
    path.write_bytes(content)
    return describe_again(path, received, changed=True)


def describe_again(path: Path, received: Received, *, changed: bool = False) -> Received:
    """The record of a file that was written anew; its header is read again when it may have `changed`."""
    with path.open("rb") as stream:
        sums = measure(stream)
    if not changed:
        return replace(received, size=sums.size, md5=sums.md5, sha256=sums.sha256)
    with part10_reader.opened(path) as data:
        ds = header_of(part10_reader.read(data, max(identifying_tags()) + 1).data_set, identifying_tags())
    return replace(describe(ds, received.scan, sums), path=received.path)


def describe(ds: Header, scan: str, sums: Sums) -> Received:
    """The record of a file with this header; its path is still empty."""
    return Received(
        path="",
        sop_instance_uid=ds.get("SOPInstanceUID", ""),
        sop_class_uid=ds.get("SOPClassUID", ""),
        series_instance_uid=ds.get("SeriesInstanceUID", ""),
        study_instance_uid=ds.get("StudyInstanceUID", ""),
        scan=scan,
        modality=ds.get("Modality", ""),
        series_description=ds.get("SeriesDescription", ""),
        instance_number=ds.get("InstanceNumber", ""),
        study_date=ds.get("StudyDate", ""),
        study_time=ds.get("StudyTime", ""),
        size=sums.size,
        md5=sums.md5,
        sha256=sums.sha256,
        series_number=ds.get("SeriesNumber", ""),
    )


def measure(stream: Readable, out: BinaryIO | None = None) -> Sums:
    """Read a stream to its end, and copy it to `out`."""
    size, md5, sha256 = 0, hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while data := stream.read(_BLOCK):
        if out is not None:
            out.write(data)
        md5.update(data)
        sha256.update(data)
        size += len(data)
    return Sums(size, md5.hexdigest(), sha256.hexdigest())


@cache
def identifying_tags() -> tuple[int, ...]:
    """The attributes that decide where an object goes."""
    from pydicom.datadict import tag_for_keyword

    return tuple(tag for keyword in _TAGS if (tag := tag_for_keyword(keyword)) is not None)


def header_of(data_set: DataSet, tags: Iterable[int]) -> Header:
    """The values of these attributes as text, by keyword and by tag."""
    from pydicom.datadict import keyword_for_tag

    charset = text_of(data_set.get(0x00080005))
    header: Header = {}
    for tag in tags:
        if (element := data_set.get(tag)) is not None:
            value = text_of(element, charset)
            header[keyword_for_tag(tag)] = header[tag >> 16, tag & 0xFFFF] = value
    return header
