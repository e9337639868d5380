"""The report of every upload command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any

from xnatctl.errors import XnatctlError
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Exclusion, UploadItem
from xnatctl.model.refs import Destination, ResourceLevel

REPORT_SCHEMA = "xnatctl.report/1"


class Status(StrEnum):
    """How a command ended."""

    COMPLETE = "complete"  # done, and verified as far as was asked for
    PARTIAL = "partial"  # not complete: some files were delivered, or the delivery is not proven
    FAILED = "failed"  # nothing was delivered
    REFUSED = "refused"  # a safety rule stopped it before anything was sent
    PLANNED = "planned"  # a dry run
    INTERRUPTED = "interrupted"  # a signal ended it


class PlaceState(StrEnum):
    """Where the session is."""

    ARCHIVED = "archived"  # in the archive
    PREARCHIVE = "prearchive"  # in the prearchive
    RECEIVER = "receiver"  # handed over to a receiver
    UNKNOWN = "unknown"  # not known, or nowhere


class Level(StrEnum):
    """How well an instance or a file was verified, weakest first.

    `counted`: the server lists the same number of files. `uid`: it lists the SOP Instance UID. `size`: the stored size
    matches as well. `checksum`: the MD5 of the stored file is that of the file on disk.
    """

    NONE = "none"  # not verified
    COUNTED = "counted"  # by the number of files
    UID = "uid"  # by SOP Instance UID
    SIZE = "size"  # by size as well
    CHECKSUM = "checksum"  # by MD5


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One difference between the server and the disk.

    `kind` is `missing`, `extra`, `count`, `remapped`, `size`, `checksum`, `contradiction`, `subject`, `study`,
    `label`, `place` or `state`;
    `series_instance_uid`, `sop_instance_uid` and `path` identify it as far as known, `expected` and `found` are
    counts, or sizes in bytes.
    """

    kind: str
    message: str  # for people
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    path: str = ""
    expected: int | None = None
    found: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


#: The levels, weakest first.
LEVELS = tuple(Level)
#: The limitation of `Level.SIZE`, as an entry of `Verification.limits`.
SIZE_LIMIT = "Content that changed without changing its length cannot be seen by size."


@dataclass(kw_only=True, slots=True)
class Verification:
    """The result of a comparison of the server with the disk.

    `ok` is None if nothing was compared, else whether there are no `differences`. `level` is the weakest level of any
    compared instance, `levels` counts the instances by level. `extra` is files on the server that are not on disk: they
    are differences only in an exact comparison. `limits` are limitations of the levels.
    """

    level: Level = Level.NONE
    ok: bool | None = None
    differences: list[Difference] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)
    extra: list[Difference] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    @classmethod
    def joined(cls, parts: Sequence[Verification]) -> Verification:
        """Combine several comparisons; the level is the weakest of theirs."""
        levels: Counter[str] = Counter()
        for part in parts:
            levels.update(part.levels)
        verdicts = [part.ok for part in parts]
        return cls(
            level=min((part.level for part in parts), key=LEVELS.index, default=Level.NONE),
            ok=False if False in verdicts else None if None in verdicts or not verdicts else True,
            differences=[difference for part in parts for difference in part.differences],
            levels={str(level): levels[level] for level in LEVELS if levels[level]},
            extra=[difference for part in parts for difference in part.extra],
            limits=list(dict.fromkeys(limit for part in parts for limit in part.limits)),
        )


@dataclass(kw_only=True, slots=True)
class ResourceReport:
    """The result for one resource. `id` is its number on the server, `uri` its path there; both are empty if unknown.

    `title` is its name in `ReportItem.resource`. `error` is that of the resource alone: others of the same run may be
    complete.
    """

    title: str
    label: str  # the label of the resource
    level: ResourceLevel  # what carries it
    scan: str = ""  # the scan ID at level scan
    id: str = ""
    uri: str = ""
    verification: Verification = field(default_factory=Verification)  # comparison with the disk
    error: dict[str, object] | None = None


@dataclass(kw_only=True, slots=True)
class ReportItem:
    """One file of the report. `bytes` is its size on disk, `resource` the title of the resource that it belongs to.

    `level` is how well it was verified.
    """

    path: str
    outcome: Outcome
    reason: str | None
    sop_instance_uid: str
    series_instance_uid: str
    bytes: int
    attempts: int = 0
    note: str | None = None
    study_instance_uid: str = ""
    resource: str = ""
    level: Level = Level.NONE


_ITEM_NAMES = tuple(field.name for field in fields(ReportItem))
_item_values = attrgetter(*_ITEM_NAMES)


@dataclass(kw_only=True, slots=True)
class Counts:
    """`found == sent + skipped + failed` in an upload that ran; `skipped` = delivered by an earlier run."""

    found: int = 0
    excluded: int = 0
    sent: int = 0
    skipped: int = 0
    failed: int = 0
    verified: int = 0


@dataclass(kw_only=True, slots=True)
class StudyReport:
    """The result for one of several studies.

    `subject` and `session` are labels, `uri` is its path on the server; they are empty if it was not found. The rest
    is that of the study's own upload, and None if a receiver took the studies together.
    """

    study_instance_uid: str  # StudyInstanceUID
    state: PlaceState  # where it is
    subject: str = ""
    session: str = ""
    uri: str | None = None
    status: Status | None = None  # how its upload ended
    counts: Counts | None = None  # of its files
    bytes: int | None = None  # size of what was delivered
    seconds: float | None = None  # duration of its upload
    verification: Verification | None = None  # comparison with the disk
    error: dict[str, object] | None = None  # as in an error document


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesReport:
    """What a series is, from the header of its first file; `series_description` may name a patient."""

    study_instance_uid: str  # StudyInstanceUID
    series_instance_uid: str  # SeriesInstanceUID
    series_number: str  # SeriesNumber, as text
    series_description: str  # SeriesDescription
    modality: str  # Modality

    @classmethod
    def of(cls, items: Iterable[UploadItem]) -> list[SeriesReport]:
        """Every series of these files, in their order."""
        found: dict[tuple[str, str], SeriesReport] = {}
        for series in {id(item.series): item.series for item in items if item.sop_instance_uid}.values():
            found.setdefault(
                (series.study_instance_uid, series.series_instance_uid),
                cls(**{name: getattr(series, name) for name in _SERIES_NAMES}),
            )
        return list(found.values())


_SERIES_NAMES = tuple(field.name for field in fields(SeriesReport))


@dataclass(kw_only=True, slots=True)
class Report:
    """The report of an upload command; `state` and `uri` are the location of the session."""

    command: str  # such as "session upload"
    status: Status  # how the command ended
    destination: Destination  # as the server names it
    transport: str  # the name of the transport
    state: PlaceState = PlaceState.UNKNOWN
    uri: str | None = None
    counts: Counts = field(default_factory=Counts)  # of the files
    bytes: int = 0  # size of what was delivered
    seconds: float = 0.0  # duration of the command
    verification: Verification = field(default_factory=Verification)  # comparison of the server with the disk
    items: Collection[ReportItem] = ()  # one per file
    excluded: list[Exclusion] = field(default_factory=list)  # files skipped by a rule
    warnings: list[str] = field(default_factory=list)  # for people
    next: list[str] = field(default_factory=list)  # commands that finish the job
    failure: XnatctlError | None = None  # the error that ends the command
    resources: list[ResourceReport] = field(default_factory=list)  # one per resource
    studies: list[StudyReport] = field(default_factory=list)  # one per study, when there are several
    sources: list[str] = field(default_factory=list)  # the paths that are uploaded, absolute
    series: list[SeriesReport] = field(default_factory=list)  # one per series
    kept: list[dict[str, str]] = field(default_factory=list)  # `writer` and `place` of each copy that was kept

    @property
    def error(self) -> dict[str, object] | None:
        """The error that ended the command, as plain data."""
        return self.failure.as_document() if self.failure is not None else None

    def as_document(self) -> dict[str, Any]:
        """The JSON document of `docs/reference/output.md`, keys in its order."""
        document = self.as_outline()
        document["items"] = list(document["items"])
        return document

    def as_outline(self) -> dict[str, Any]:
        """`as_document`, in which the items are an iterator that makes each entry as it is read."""
        return {
            "schema": REPORT_SCHEMA,
            "command": self.command,
            "status": str(self.status),
            "destination": {**asdict(self.destination), "state": str(self.state), "uri": self.uri},
            "transport": self.transport,
            "sources": list(self.sources),
            "counts": asdict(self.counts),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "verification": asdict(self.verification),
            "studies": [asdict(study) for study in self.studies],
            "series": [asdict(series) for series in self.series],
            "resources": [asdict(resource) for resource in self.resources],
            "items": map(_entry, self.items),
            "excluded": [{"path": entry.path, "reason": entry.reason} for entry in self.excluded],
            "warnings": list(self.warnings),
            "next": list(self.next),
            "kept": list(self.kept),
            "error": self.error,
        }


def _entry(item: ReportItem) -> dict[str, Any]:
    return dict(zip(_ITEM_NAMES, _item_values(item), strict=True))  # `asdict` would copy every text of every file
