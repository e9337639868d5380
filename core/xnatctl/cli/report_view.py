"""Reports and plans as documents: whole for programs, short for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xnatctl.model.document import Column, Document
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Exclusion, Placement, UploadPlan
from xnatctl.model.report import Level, PlaceState, Report, ReportItem, Status

_SERIES_COLUMNS = (
    Column(key="series", title="Series"),
    Column(key="files", title="Files", numeric=True),
    Column(key="size", title="Size", numeric=True),
    Column(key="state", title="State"),
)
_STUDY_COLUMN = Column(key="study", title="Study")
#: Names listed in a summary before "and n more".
_LISTED = 5


def human_size(size: int) -> str:
    """Bytes in IEC units."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


@dataclass
class _Series:
    """Sums of one series."""

    study: str = ""
    files: int = 0
    size: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def row(self, uid: str) -> dict[str, Any]:
        states = ", ".join(
            f"{count} {name}" if len(self.outcomes) > 1 else name for name, count in sorted(self.outcomes.items())
        )
        return {
            "study": self.study,
            "series": uid or "(unknown)",
            "files": self.files,
            "size": human_size(self.size),
            "state": states,
        }


def _by_series(entries: Iterable[tuple[str, str, int, str]]) -> list[dict[str, Any]]:
    """A row for each series, those of one study together; entries are (study, series, bytes, state)."""
    studies: dict[str, dict[str, _Series]] = {}
    for study, uid, size, state in entries:
        series = studies.setdefault(study, {}).setdefault(uid, _Series(study))
        series.files += 1
        series.size += size
        series.outcomes[state] += 1
    return [series.row(uid) for group in studies.values() for uid, series in group.items()]


def _with_studies(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns, with the study in front when there are several."""
    return (_STUDY_COLUMN, *columns) if len({row["study"] for row in rows}) > 1 else tuple(columns)


def report_document(report: Report, *, whole: bool = True) -> Document:
    """The report of an upload command; rows are series, and `data` holds every file, unless nobody is to see it."""
    rows = _by_series(
        (item.study_instance_uid, item.series_instance_uid, item.bytes, str(item.outcome)) for item in report.items
    )
    identifiers: tuple[str, ...] = (report.uri,) if report.uri else ()
    if report.state is PlaceState.RECEIVER:  # a receiver gives no address, so a study is known by its UID
        identifiers = tuple(dict.fromkeys(item.study_instance_uid for item in report.items if item.study_instance_uid))
    return Document(
        schema="xnatctl.report/1",
        data=report.as_document() if whole else {},
        columns=_with_studies(_SERIES_COLUMNS, rows) if rows else (),
        rows=rows,
        identifiers=identifiers,
        summary=tuple(_report_lines(report)),
    )


def _report_lines(report: Report) -> Iterable[str]:
    yield _headline(report)
    yield from _bad_items(report.items)
    yield from _noted(report.items)
    yield from _differences(report)
    yield from _excluded(report.excluded)
    for warning in report.warnings:
        yield f"Warning: {warning}"
    for command in dict.fromkeys(report.next):
        yield f"Next: {command}"


def _headline(report: Report) -> str:
    counts, where = report.counts, report.destination
    place = {
        PlaceState.ARCHIVED: f"archived as {where.session} in project {where.project}",
        PlaceState.PREARCHIVE: f"in the prearchive of project {where.project} as {where.session}",
        PlaceState.RECEIVER: f"accepted by {(not where.session and where.server) or 'the receiver'}",
        PlaceState.UNKNOWN: "not settled",
    }[report.state]
    size = human_size(report.bytes)
    delivered = counts.sent + counts.skipped
    if report.command == "session verify" and report.status is not Status.REFUSED:
        where_found = "on the server" if report.state is PlaceState.UNKNOWN else place
        return f"{counts.verified} of {counts.found} instances on disk are {where_found}."
    if report.status is Status.REFUSED or not counts.found or (where.session == "" and not delivered):
        return "Nothing was sent."
    if not counts.sent and counts.skipped == counts.found:
        size = "nothing had to be sent"
    text = f"{delivered} of {counts.found} instances {place} ({size}, {report.seconds:.1f} s)"
    checked = {
        Level.NONE: "not checked" if report.state is not PlaceState.RECEIVER else "what became of them was not checked",
        Level.COUNTED: "checked by count",
        Level.UID: "checked by SOP Instance UID",
        Level.CHECKSUM: "checked by checksum",
    }[report.verification.level]
    return f"{text}; {checked}." if report.status is Status.COMPLETE else f"{text}."


def _bad_items(items: Sequence[ReportItem]) -> Iterable[str]:
    bad = [item for item in items if item.outcome not in (Outcome.ACCEPTED, Outcome.VERIFIED)]
    for item in bad[:_LISTED]:
        yield f"{item.outcome}: {item.path}" + (f" ({item.reason})" if item.reason else "")
    if len(bad) > _LISTED:
        yield f"... and {len(bad) - _LISTED} more; -o json lists all."


def _noted(items: Sequence[ReportItem]) -> Iterable[str]:
    """Delivered, with a remark of the receiver."""
    noted = [item for item in items if item.note]
    for item in noted[:_LISTED]:
        yield f"{item.outcome}, with a note: {item.path} ({item.note})"
    if len(noted) > _LISTED:
        yield f"... and {len(noted) - _LISTED} more notes; -o json lists all."


def _differences(report: Report) -> Iterable[str]:
    differences = [entry for entry in report.verification.differences if entry.kind not in ("missing", "remapped")]
    for entry in differences[:_LISTED]:
        yield f"{entry.kind}: series {entry.series_instance_uid or '(all)'}: {entry.message}"
    if len(differences) > _LISTED:
        yield f"... and {len(differences) - _LISTED} more differences; -o json lists all."


def _excluded(excluded: Sequence[Exclusion]) -> Iterable[str]:
    if not excluded:
        return
    groups: dict[str, list[str]] = {}
    for entry in excluded:
        reason = "duplicate" if entry.reason.startswith("duplicate of ") else entry.reason
        groups.setdefault(reason, []).append(entry.path)
    yield f"Left out: {len(excluded)} files that are not instances to send."
    for reason, paths in sorted(groups.items(), key=lambda group: -len(group[1])):
        more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
        yield f"  {len(paths)} x {reason}: {', '.join(paths[:2])}{more}"


def plan_document(plan: UploadPlan, *, description: Mapping[str, str], batches: int) -> Document:
    """The plan of `--dry-run`; nothing was sent."""
    items = plan.items
    rows = _by_series(
        (item.study_instance_uid, item.series_instance_uid, item.size, item.modality or "modality unknown")
        for item in items
    )
    size = human_size(sum(item.size for item in items))
    summary = [
        f"Would send {len(items)} instances ({size}) {_way(plan, rows, batches)}.",
        *(f"{stage.kind}: {stage.name}" for stage in plan.stages),
        *(f"{key}: {value}" for key, value in description.items()),
        *_excluded(plan.excluded),
        *(f"cannot be read: {entry.path} ({entry.reason})" for entry in plan.unreadable),
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
    data = {**plan.as_document(), "transport": dict(description), "batches": batches}
    return Document(
        schema=plan.schema,
        data=data,
        columns=_with_studies((*_SERIES_COLUMNS[:3], Column(key="state", title="Modality")), rows),
        rows=rows,
        identifiers=tuple(item.path for item in items),
        summary=tuple(summary),
    )


def _way(plan: UploadPlan, rows: Sequence[Mapping[str, Any]], batches: int) -> str:
    """How, and to where."""
    where = plan.destination
    server = where.server or "the configured server"
    if not where.session:
        studies = len({row["study"] for row in rows})
        return f"of {studies} {'study' if studies == 1 else 'studies'} with {plan.workers} workers to {server}"
    goal = "archive" if plan.placement is Placement.ARCHIVE else "prearchive"
    target = f"{goal} of project {where.project}, subject {where.subject}, session {where.session}"
    return f"in {batches} requests with {plan.workers} workers to {server}: {target}"
