"""Plan > stage > batch > item: what will be sent, as plain data.

A plan converts to JSON and back, and running it needs nothing of the process that made it. Paths are text from
`os.fsdecode`, so names that are not UTF-8 survive the round trip as lone surrogates.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from xnatctl.model.refs import Destination, ResourceLevel, ResourceRef, is_plain_path
from xnatctl.model.secret import masked

PLAN_SCHEMA = "xnatctl.plan/1"


class Payload(StrEnum):
    """What a transport carries."""

    DICOM = "dicom"  # DICOM instances, to a session or a receiver
    RESOURCE = "resource"  # any files, to a resource


class Placement(StrEnum):
    """Where the session should end."""

    ARCHIVE = "archive"  # in the archive of the project
    PREARCHIVE = "prearchive"  # in the prearchive, for review


class Overwrite(StrEnum):
    """How to treat an existing session (xnat-import 3.4)."""

    DELETE = "delete"  # add files, and replace those that match
    APPEND = "append"  # add files; refuse if one exists already
    NONE = "none"  # refuse


#: The kinds of stage that core provides; plugins add others.
SESSION = "session"
RECEIVER = "receiver"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The location of the bytes of items.

    A directory, with `below`: each item is the file at the item's path below `path`, and all items share one source.
    A file: `path` alone. A member of an archive file: `path` is the archive file, `container` one of `zip`, `tar`,
    `tgz`, `tbz2`, `txz`, `tlzma`, `tzst`, `member` its name, `offset` the position of its data (in the decompressed
    stream of a compressed tar). For a zip also `packed_size` in bytes, the number of the compression `method`, and
    `crc`, from the central directory.
    """

    path: str
    container: str | None = None
    member: str | None = None
    offset: int = 0
    packed_size: int | None = None
    method: int | None = None
    crc: int | None = None
    below: bool = False

    @classmethod
    def of_file(cls, file: str, path: str, before: Source | None = None) -> Source:
        """The source of an item that is `file`; `before`, the source of another item, is shared if it fits."""
        if not file.endswith(os.sep + path.replace("/", os.sep)):
            return cls(path=file)
        directory = file[: -len(path) - 1]
        if before is not None and before.below and before.path == directory:
            return before
        return cls(path=directory, below=True)


class FileStatus(NamedTuple):
    """The status by which a changed or replaced file is detected: times in nanoseconds, device and inode; 0 = unknown.

    `packed` is the same in few bytes, because there may be a hundred thousand files.
    """

    mtime_ns: int = 0
    ctime_ns: int = 0
    device: int = 0
    inode: int = 0

    @classmethod
    def of(cls, status: os.stat_result) -> FileStatus:
        """The status from `os.stat`. Numbers beyond 64 bits, such as a time after 2262, are truncated."""
        return cls(
            mtime_ns=((status.st_mtime_ns + _SIGN) & _MASK) - _SIGN,
            ctime_ns=((_change_time(status) + _SIGN) & _MASK) - _SIGN,
            device=status.st_dev & _MASK,
            inode=status.st_ino & _MASK,
        )

    @property
    def packed(self) -> bytes:
        """For `UploadItem.stamp`."""
        return _STAMP.pack(*self)

    @classmethod
    def unpack(cls, stamp: bytes) -> FileStatus:
        """The inverse of `packed`."""
        return cls(*_STAMP.unpack(stamp))

    @staticmethod
    def pack(status: os.stat_result) -> bytes:
        """`packed` of the status from `os.stat`, for a hundred thousand files in half of the time."""
        try:
            return _STAMP.pack(status.st_mtime_ns, _change_time(status), status.st_dev, status.st_ino)
        except struct.error:  # a number beyond 64 bits
            return FileStatus.of(status).packed


def _change_time(status: os.stat_result) -> int:
    """On Windows, whose status alone has attributes, `st_ctime` is the time of the creation, and this is unknown."""
    return 0 if hasattr(status, "st_file_attributes") else status.st_ctime_ns


_STAMP: Final = struct.Struct("<qqQQ")
_MASK: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63
_UNKNOWN: Final = _STAMP.pack(0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """The values that instances of a series share, in one object.

    Instances that differ in the last three have an object for each combination. `series_description` is that of the
    first file of the series. It is free text, which may name a patient: documents show it, and nothing stores it.
    """

    study_instance_uid: str = ""  # StudyInstanceUID
    series_instance_uid: str = ""  # SeriesInstanceUID
    series_number: str = ""  # SeriesNumber, as text
    modality: str = ""  # Modality
    sop_class_uid: str = ""  # SOPClassUID
    transfer_syntax_uid: str = ""  # TransferSyntaxUID
    number_of_frames: int = 1  # NumberOfFrames
    series_description: str = field(default="", compare=False)  # SeriesDescription


_NO_SERIES: Final = Series()
#: Fields of plain values, without the detour of `asdict`: a plan of many items is written in a third of the time.
_SERIES_FIELDS: Final = tuple(field.name for field in fields(Series) if field.compare)
_SOURCE_FIELDS: Final = tuple(field.name for field in fields(Source) if field.name != "below")


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadItem:
    """One file to send, with the header values that planning and verification need.

    `path` is relative to the root of the upload and is displayed; `size` is in bytes. `stamp` is the packed
    `FileStatus` of the file, or of the archive file of a member, by which a changed source is detected. `tail` is the
    number of bytes at the end of the file, usually Pixel Data, that a server keeps when it rewrites the header; 0 if
    there are none or it is unknown.
    For a resource the DICOM fields are empty and `resource_name` is the path inside the resource.
    """

    path: str
    source: Source  # location of its bytes
    size: int
    stamp: bytes = _UNKNOWN
    tail: int = 0
    resource_name: str = ""
    sop_instance_uid: str = ""  # empty for a file of a resource
    series: Series = _NO_SERIES  # values that it shares with others

    @property
    def name(self) -> str:
        """The name under which it is sent: `<SOPInstanceUID>.dcm`, or the path inside the resource."""
        return self.resource_name or f"{self.sop_instance_uid}.dcm"

    @property
    def file(self) -> str:
        """The file on disk that holds its bytes: its own, or an archive file."""
        if not self.source.below:
            return self.source.path
        return f"{self.source.path}{os.sep}{self.path.replace('/', os.sep)}"

    @property
    def status(self) -> FileStatus:
        """`stamp`, unpacked."""
        return FileStatus.unpack(self.stamp)

    @property
    def goes_alone(self) -> bool:
        """True for a file of a resource that can have its own request: it is not empty, and a URL can carry its name.

        XNAT refuses empty bodies (xnat-api 4.3) and stores other names in encoded form (xnat-api 4.5).
        """
        return self.size > 0 and is_plain_path(self.name)

    @property
    def study_instance_uid(self) -> str:
        """Of its series."""
        return self.series.study_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Of its series."""
        return self.series.series_instance_uid

    @property
    def series_number(self) -> str:
        """Of its series."""
        return self.series.series_number

    @property
    def modality(self) -> str:
        """Of its series."""
        return self.series.modality

    @property
    def sop_class_uid(self) -> str:
        """Of its series."""
        return self.series.sop_class_uid

    @property
    def transfer_syntax_uid(self) -> str:
        """Of its series."""
        return self.series.transfer_syntax_uid

    @property
    def number_of_frames(self) -> int:
        """Of its series."""
        return self.series.number_of_frames

    def as_document(self) -> dict[str, Any]:
        """Plain data for JSON, in one level except the source."""
        source = {name: getattr(self.source, name) for name in _SOURCE_FIELDS}
        return {
            "path": self.path,
            "source": {**source, "path": self.file},
            "size": self.size,
            **self.status._asdict(),
            "tail": self.tail,
            "name": self.name,
            "sop_instance_uid": self.sop_instance_uid,
            **{name: getattr(self.series, name) for name in _SERIES_FIELDS},
        }


def by_study(items: Iterable[UploadItem]) -> dict[str, list[UploadItem]]:
    """The items of each study, by its UID, in their order."""
    studies: dict[str, list[UploadItem]] = {}
    for item in items:
        studies.setdefault(item.study_instance_uid, []).append(item)
    return studies


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Items that are sent together and fail together. `id` is unique in its stage and stable for equal input."""

    id: str
    items: tuple[UploadItem, ...]  # at least one

    @property
    def size(self) -> int:
        """Bytes of all items."""
        return sum(item.size for item in self.items)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """A file that is not sent, and why."""

    path: str  # relative to the root of the upload
    reason: str  # a few words, for the report


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of a plan; the next begins when this one is done (a barrier).

    `kind` names the registered stage that runs it: core provides `session` and `receiver`, plugins provide others.
    `name` describes it, `steps` describes it in more detail, in order, for people. A stage that sends names its
    `transport` and the options of that transport; `items` are the files that it sends, or that it needs for other
    reasons. `options` are those of the kind, plain data for JSON; `session` takes `verify`, `checksum` and `exact`.
    `resource` is the resource for files that are not DICOM, and `unreadable` are files of the stage that cannot be
    sent.
    """

    kind: str
    name: str
    steps: tuple[str, ...] = ()
    transport: str | None = None
    transport_options: Mapping[str, Any] = field(default_factory=dict)  # a value for every option of the transport
    items: Sequence[UploadItem] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    resource: ResourceRef | None = None
    unreadable: tuple[Exclusion, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRequest:
    """An upload as the user requested it, before anything was read.

    `workers` batches are in flight at once; if `most_workers` is larger, core adapts the number between the two.

    `verify` compares the server with the disk at the end, with `checksum` by MD5 as well; with `exact`, additional
    files on the server are a difference.

    `command` is the name of the command ("session upload"). `settles` is False if the transport hands over to a
    receiver, whose archive can only be checked if `follow` names the XNAT behind it: base URL, project, and the
    session label if known. `resource` is the resource for files that are not DICOM. `options` are those of the
    transport and of the command that core does not know. `large_archive` lifts the limits of an archive file.
    `attach_unknown` attaches packed files that cannot be read inside. `study_instance_uid` selects one study if `path`
    holds several. `sources` are all paths of an upload from several, the first of which is `path`; see `paths`.
    """

    command: str
    path: str  # a directory, a file or an archive file
    destination: Destination  # as the user named it
    transport: str  # the name of a transport
    workers: int
    most_workers: int = 0
    placement: Placement = Placement.ARCHIVE  # where the session should end
    overwrite: Overwrite = Overwrite.DELETE  # for a session that exists already
    verify: bool = True
    checksum: bool = False
    exact: bool = False
    settles: bool = True
    follow_symlinks: bool = False  # also links that lead out of `path`
    hidden: bool = False  # also hidden files, except those of operating systems
    large_archive: bool = False
    attach_unknown: bool = False
    follow: Destination | None = None
    resource: ResourceRef | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    study_instance_uid: str = ""
    sources: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything that is uploaded: `sources`, or `path` alone."""
        return self.sources or (self.path,)

    def as_document(self) -> dict[str, Any]:
        """Plain data for JSON, with secret options masked; another process that has these can repeat the request."""
        return {**asdict(self), "options": masked(self.options)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> UploadRequest:
        """The inverse of `as_document`. Raises TypeError, KeyError or ValueError for other data."""
        fields = dict(document)
        fields["destination"] = Destination(**fields["destination"])
        fields["placement"] = Placement(fields["placement"])
        fields["overwrite"] = Overwrite(fields["overwrite"])
        fields["resource"] = _resource(fields.get("resource"))
        fields["follow"] = Destination(**fields["follow"]) if fields.get("follow") else None
        fields["sources"] = tuple(fields.get("sources", ()))
        return cls(**fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadPlan:
    """Ordered stages, and the files that are not sent, for the report.

    `excluded` was skipped by a rule; `unreadable` could not be read, and `invalid` is damaged DICOM: an upload with
    files of the latter two is not complete. `listing` is compared at the end to find files that appeared or changed
    below `root`; without it they are not searched. `follow_symlinks` as in the request. `request` is the request of
    the plan; the journal stores it, so that another process can finish the upload. `sources` are the absolute paths of
    an upload from several, in the order of the inventory; `root` is then the directory that holds them.
    """

    command: str  # that of the request
    root: str
    destination: Destination  # where the upload should end
    workers: int  # batches in flight at once
    placement: Placement  # that of the request
    overwrite: Overwrite  # that of the request
    stages: tuple[Stage, ...]  # in the order in which they run
    excluded: tuple[Exclusion, ...] = ()
    unreadable: tuple[Exclusion, ...] = ()
    invalid: tuple[Exclusion, ...] = ()
    warnings: tuple[str, ...] = ()  # for people; shown before the first byte
    most_workers: int = 0  # as in the request
    follow_symlinks: bool = False
    listing: str = ""
    request: UploadRequest | None = None
    schema: str = PLAN_SCHEMA  # the version of this record
    sources: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """What is uploaded: `sources`, or `root` alone."""
        return self.sources or (self.root,)

    @property
    def items(self) -> Sequence[UploadItem]:
        """The items of all stages that send, in order."""
        parts = [stage.items for stage in self.sending]
        return parts[0] if len(parts) == 1 else tuple(item for part in parts for item in part)

    @property
    def sending(self) -> tuple[Stage, ...]:
        """The stages that send, in order."""
        return tuple(stage for stage in self.stages if stage.transport is not None)

    @property
    def hands_over(self) -> bool:
        """True if a receiver takes the files, so that nothing can be settled on a server."""
        return any(stage.kind == RECEIVER for stage in self.stages)

    @property
    def is_resources_only(self) -> bool:
        """True for a plan that neither makes a session nor waits for one."""
        return all(stage.resource is not None for stage in self.stages)

    @property
    def unsendable(self) -> tuple[Exclusion, ...]:
        """Files of the upload that cannot be sent."""
        return (*self.unreadable, *self.invalid)

    def as_document(self) -> dict[str, Any]:
        """Plain data for JSON, with secret options masked."""
        bare = replace(self, stages=tuple(replace(stage, items=()) for stage in self.stages))
        document = asdict(bare)
        for entry, stage in zip(document["stages"], self.stages, strict=True):
            entry["items"] = tuple(item.as_document() for item in stage.items)
            entry["transport_options"] = masked(stage.transport_options)
        if self.request is not None:
            document["request"] = self.request.as_document()
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> UploadPlan:
        """The inverse of `as_document`.

        Raises ValueError for an unknown schema or a missing field, TypeError for an unknown field.
        """
        if document.get("schema") != PLAN_SCHEMA:
            raise ValueError(f"not a plan that this version reads: schema {document.get('schema')!r}")
        try:
            fields = dict(document)
            fields["destination"] = Destination(**fields["destination"])
            fields["placement"] = Placement(fields["placement"])
            fields["overwrite"] = Overwrite(fields["overwrite"])
            fields["stages"] = tuple(_stage(entry) for entry in fields["stages"])
            fields["excluded"] = tuple(Exclusion(**entry) for entry in fields["excluded"])
            fields["unreadable"] = tuple(Exclusion(**entry) for entry in fields["unreadable"])
            fields["invalid"] = tuple(Exclusion(**entry) for entry in fields.get("invalid", ()))
            fields["warnings"] = tuple(fields["warnings"])
            fields["sources"] = tuple(fields.get("sources", ()))
            fields["request"] = UploadRequest.from_document(fields["request"]) if fields.get("request") else None
            return cls(**fields)
        except (KeyError, AttributeError, struct.error) as error:
            raise ValueError(f"not a plan: {type(error).__name__}: {error}") from error


def _stage(entry: Mapping[str, Any]) -> Stage:
    fields = dict(entry)
    fields["steps"] = tuple(fields.get("steps", ()))
    items: list[UploadItem] = []
    shared: dict[Series, Series] = {}
    for item in fields["items"]:
        items.append(_item(item, items[-1].source if items else None, shared))
    fields["items"] = tuple(items)
    fields["resource"] = _resource(fields.get("resource"))
    fields["unreadable"] = tuple(Exclusion(**refused) for refused in fields.get("unreadable", ()))
    return Stage(**fields)


def _resource(entry: Mapping[str, Any] | None) -> ResourceRef | None:
    if entry is None:
        return None
    return ResourceRef(**{**entry, "level": ResourceLevel(entry["level"]), "tags": tuple(entry["tags"])})


def _item(entry: Mapping[str, Any], before: Source | None, shared: dict[Series, Series]) -> UploadItem:
    """The inverse of `UploadItem.as_document`; items share their sources and series."""
    rest = dict(entry)
    path, size, tail, uid = (rest.pop(name) for name in ("path", "size", "tail", "sop_instance_uid"))
    source, name = Source(**rest.pop("source")), rest.pop("name")
    if source.container is None:
        source = Source.of_file(source.path, path, before)
    status = FileStatus(*(rest.pop(field) for field in FileStatus._fields))
    series = Series(**rest)
    return UploadItem(
        path=path,
        source=source,
        size=size,
        stamp=status.packed,
        tail=tail,
        resource_name="" if name == f"{uid}.dcm" else name,
        sop_instance_uid=uid,
        series=shared.setdefault(series, series),
    )
