"""Reports as documents: complete for programs, short for users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from xnatctl.cli.attached_view import MAY_HAVE_ARRIVED, resource_rows, resources_headline, state_text, state_texts
from xnatctl.cli.series_view import SERIES, UNREADABLE, series_columns, series_names, series_rows
from xnatctl.model.document import Document, DocumentDetail
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Exclusion
from xnatctl.model.report import (
    LEVELS,
    SIZE_LIMIT,
    Difference,
    Level,
    PlaceState,
    Report,
    ReportItem,
    Status,
    Verification,
)
from xnatctl.model.words import counted, elapsed, human_size, part_of, was

_MEANS = {
    Level.NONE: "nothing",
    Level.COUNTED: "count",
    Level.UID: "SOP Instance UID",
    Level.SIZE: "SOP Instance UID and size",
    Level.CHECKSUM: "checksum",
}
#: Names listed in a summary before "and n more".
_LISTED = 5


def report_document(
    report: Report, detail: DocumentDetail = DocumentDetail.WHOLE, *, error_follows: bool = False
) -> Document:
    """The report of an upload command: rows are series, `data` holds every file if `detail` asks for it.

    With `error_follows` people read the error just below, so the lines do not say the same.
    """
    if detail is DocumentDetail.IDENTIFIERS:
        return Document(schema="xnatctl.report/1", data={}, identifiers=_identifiers(report))
    words = state_texts(report)
    of_resources = [bool(item.resource) for item in report.items]
    title = "Resource" if all(of_resources) else "Series or resource" if any(of_resources) else SERIES
    rows = series_rows(
        (
            (item.study_instance_uid, _series_of(item), item.bytes, words(item))
            for item in report.items
            if not item.resource
        ),
        report.series,
        prefix="series " if any(of_resources) else "",
    )
    rows += resource_rows(report)
    if _sent_nothing(report):
        rows = []  # the error says why, and a table of planned files would hide it
    sessions = {study.study_instance_uid: study.session for study in report.studies if study.status is not None}
    for row in rows if sessions else ():
        row["session"] = sessions.get(row["study"], "")
    return Document(
        schema="xnatctl.report/1",
        data=_data(report, detail),
        columns=series_columns(rows, title) if rows else (),
        rows=rows,
        identifiers=_identifiers(report),
        summary=tuple(_report_lines(report, _message(report.error) if error_follows else "")),
    )


def _series_of(item: ReportItem) -> str:
    return item.series_instance_uid if item.sop_instance_uid else UNREADABLE


def _data(report: Report, detail: DocumentDetail) -> dict[str, Any]:
    if detail is DocumentDetail.STREAMED:
        return report.as_outline()
    return report.as_document() if detail is DocumentDetail.WHOLE else {}


def _identifiers(report: Report) -> tuple[str, ...]:
    """The identifiers that `-q` prints."""
    if report.state is PlaceState.RECEIVER:  # a receiver returns no URI, so a study is identified by its UID
        return tuple(dict.fromkeys(item.study_instance_uid for item in report.items if item.study_instance_uid))
    if any(study.status is not None for study in report.studies):
        return tuple(study.uri for study in report.studies if study.uri)
    if len(report.studies) > 1:
        return tuple(study.uri or study.study_instance_uid for study in report.studies)
    return (report.uri,) if report.uri else ()


def _message(error: Mapping[str, object] | None) -> str:
    return str((error or {}).get("message") or "")


def _report_lines(report: Report, below: str) -> Iterable[str]:
    """The lines below the table; `below` is the text that follows them, and is not said twice."""
    if any(study.status is not None for study in report.studies):
        yield from _sessions(report, below)
    else:
        yield _headline(report)
        yield from _studies(report)
    if not _sent_nothing(report):
        yield from _details(report, below)
    yield from (f"{one['writer'].capitalize()}: {one['place']}" for one in report.kept)
    if report.failure is None:
        yield from next_lines(report)


def next_lines(report: Report) -> Iterable[str]:
    """The commands that finish the job, without those that the hint of the error names; they follow the error."""
    hint = str((report.error or {}).get("hint") or "")
    return (f"Next: {command}" for command in dict.fromkeys(report.next) if command not in hint)


def _sent_nothing(report: Report) -> bool:
    """Whether a command was refused or failed before it sent or compared anything."""
    if report.status is Status.REFUSED or report.command == "session verify":
        return report.status is Status.REFUSED
    return not (report.counts.sent + report.counts.skipped or any(item.attempts for item in report.items))


def _details(report: Report, below: str) -> Iterable[str]:
    """Problems, notes and skipped files."""
    yield from _bad_items(report, below)
    yield from _noted(report.items)
    yield from _differences(report, below)
    yield from _extra(report)
    yield from excluded_lines(report.excluded, report.warnings)
    for warning in report.warnings:
        yield f"Warning: {warning}"


def _headline(report: Report) -> str:
    if _sent_nothing(report):
        return "Nothing was compared." if report.command == "session verify" else "Nothing was sent."
    if report.counts.found and any(item.resource for item in report.items):
        return resources_headline(report)
    counts, where = report.counts, report.destination
    archived_nothing = counts.sent + counts.skipped and "archived nothing" not in _message(report.error)
    place = {
        PlaceState.ARCHIVED: f"archived{f' as {where.session}' if where.session else ''} in project {where.project}",
        PlaceState.PREARCHIVE: f"in the prearchive of project {where.project}"
        + (f" as {where.session}" if where.session else ""),
        PlaceState.RECEIVER: f"accepted by {(not where.session and where.server) or 'the receiver'}",
        PlaceState.UNKNOWN: "delivered; this run archived nothing" if archived_nothing else "delivered",
    }[report.state]
    size = human_size(report.bytes)
    delivered = counts.sent + counts.skipped
    compared = report.verification.ok is not None
    if report.command == "session verify":
        return _found(report, place)
    if not counts.sent and counts.skipped == counts.found:
        size = "nothing had to be sent"
    elif not counts.sent and counts.skipped:
        size = "nothing new was sent"
    number = counts.verified if compared else delivered
    if not compared and report.state in (PlaceState.ARCHIVED, PlaceState.PREARCHIVE):
        place = f"delivered, {place}"
    text = f"{part_of(number, counts.found, 'instance')} {place} ({size}, {elapsed(report.seconds)})"
    if not compared and report.state is PlaceState.RECEIVER:
        return f"{text}; archiving was not checked." if report.status is Status.COMPLETE else f"{text}."
    return f"{text}; {checked(report.verification)}." if report.status is Status.COMPLETE else f"{text}."


def _found(report: Report, place: str) -> str:
    """The result of a comparison that sends nothing."""
    counts = report.counts
    if not counts.verified and not any(item.outcome is Outcome.MISSING for item in report.items):
        return "Nothing was compared."
    state = f"{'is' if counts.verified == 1 else 'are'} {place}"
    if report.state is PlaceState.UNKNOWN:
        state = f"{was(counts.verified)} found on the server"
    text = f"{part_of(counts.verified, counts.found, 'instance')} on disk {state}"
    return f"{text}; {checked(report.verification)}." if counts.verified else f"{text}."


def checked(verification: Verification) -> str:
    """How the instances were compared: one level, or each level with its count."""
    if verification.ok is None:
        return "not checked"
    levels = {level: verification.levels[level] for level in reversed(LEVELS[1:]) if level in verification.levels}
    if len(levels) < 2:
        return f"checked by {_MEANS[next(iter(levels), verification.level)]}"
    return "checked by " + ", by ".join(f"{_MEANS[level]} ({number:,})" for level, number in levels.items())


def _sessions(report: Report, below: str) -> Iterable[str]:
    """The studies of a split upload: a summary, then the location of each or why it failed."""
    counts, sessions = report.counts, report.studies
    done = sum(study.status is Status.COMPLETE for study in sessions)
    verb = "hold what is on disk" if report.command == "session verify" else "complete"
    compared = report.command == "session verify" or report.verification.ok is not None
    arrived = counts.verified if compared else counts.sent + counts.skipped
    text = f"{part_of(done, len(sessions), 'session')} {verb}: {part_of(arrived, counts.found, 'instance')}"
    if report.command != "session verify":
        size = human_size(report.bytes) if counts.sent else "nothing had to be sent"
        text += f" ({size}, {elapsed(report.seconds)})"
    yield f"{text}; {checked(report.verification)}." if report.status is Status.COMPLETE else f"{text}."
    words = {Status.COMPLETE: "", Status.PLANNED: "not tried"}
    if report.command == "session verify":
        words[Status.PARTIAL] = "differs"
    for study in sessions:
        place = {PlaceState.ARCHIVED: "archived", PlaceState.PREARCHIVE: "in the prearchive"}.get(study.state, "")
        where = f"{place}: {study.uri}" if place and study.uri else ""
        ended = words.get(study.status or Status.FAILED, str(study.status))
        why = _message(study.error)
        reason = f" ({why})" if why and not _says(below, why) else ""
        yield f"{study.session}: study {study.study_instance_uid}, {', '.join(filter(None, [ended, where]))}{reason}"


def _studies(report: Report) -> Iterable[str]:
    """The location of each study."""
    if len(report.studies) < 2:
        return
    for study in report.studies[:_LISTED]:
        where = f" as {study.session}: {study.uri}" if study.uri else ""
        state = {PlaceState.ARCHIVED: "archived", PlaceState.PREARCHIVE: "in the prearchive"}.get(
            study.state, "not found"
        )
        yield f"Study {study.study_instance_uid}: {state}{where}"
    if len(report.studies) > _LISTED:
        yield f"... and {len(report.studies) - _LISTED:,} more studies; -o json lists all."


def _says(text: str, *parts: str) -> bool:
    return all(part.removesuffix(".") in text for part in parts)


def _bad_items(report: Report, below: str) -> Iterable[str]:
    """Items that did not arrive, by reason; items that were not tried come last, because they are a consequence."""
    words = state_texts(report)
    untried = state_text(Outcome.PLANNED, sends=report.command != "session verify")
    groups: dict[tuple[str, str | None], list[str]] = {}
    for item in report.items:
        if item.outcome not in (Outcome.ACCEPTED, Outcome.VERIFIED):
            what = words(item)
            why = item.reason or ("the connection broke before the answer" if what == MAY_HAVE_ARRIVED else None)
            groups.setdefault((what, why), []).append(item.path)
    if all(item.outcome is Outcome.PLANNED for item in report.items):
        return  # the headline says it
    told = [key for key, paths in groups.items() if key[1] and _says(below, key[1], paths[0])]
    for key in told:
        if 1 < len(groups[key]) <= _LISTED:  # the text below names the first of them
            yield f"{key[0]}: {', '.join(groups[key])}"
    ordered = sorted(
        ((key, paths) for key, paths in groups.items() if key not in told), key=lambda group: group[0][0] == untried
    )
    for (what, reason), paths in ordered[:_LISTED]:
        number = f"{len(paths):,} files, " if len(paths) > 1 else ""
        yield f"{what}: {number}{_some(paths)}" + (f" ({reason})" if reason else "")
    if rest := sum(len(paths) for _, paths in ordered[_LISTED:]):
        yield f"... and {rest:,} more; -o json lists all."


def _some(paths: Sequence[str]) -> str:
    """The first two names and the number of the others."""
    more = f" and {len(paths) - 2:,} more" if len(paths) > 2 else ""
    return f"{', '.join(paths[:2])}{more}"


def _noted(items: Collection[ReportItem]) -> Iterable[str]:
    """Items that were delivered with a note of the receiver."""
    noted = [item for item in items if item.note]
    for item in noted[:_LISTED]:
        yield f"{item.outcome}, with a note: {item.path} ({item.note})"
    if len(noted) > _LISTED:
        yield f"... and {len(noted) - _LISTED:,} more notes; -o json lists all."


def _differences(report: Report, below: str) -> Iterable[str]:
    """Differences that concern no single item; not one that the text below names."""
    listed = ("missing", "remapped", "size", "checksum")  # listed with the items
    differences = [entry for entry in report.verification.differences if entry.kind not in listed]
    names = series_names(report.series)
    # Items of one series often have equal texts.
    lines = Counter(_difference_line(entry, names) for entry in differences)
    for line in [line for line, number in lines.items() if number == 1 and line[1] and _says(below, line[1])]:
        del lines[line]
    for (kind, rest), number in list(lines.items())[:_LISTED]:
        yield f"{kind}: {f'{number:,} x ' if number > 1 else ''}{rest}"
    if more := sum(list(lines.values())[_LISTED:]):
        yield f"... and {more:,} more differences; -o json lists all."


def _extra(report: Report) -> Iterable[str]:
    """What the server holds that is not on disk, and what the comparison cannot decide."""
    extra = report.verification.extra
    scans = sum(1 for entry in extra if not entry.sop_instance_uid and entry.found is None)
    instances = sum(entry.found or 1 for entry in extra) - scans
    parts = [counted(number, noun) for number, noun in ((instances, "instance"), (scans, "scan")) if number]
    if parts:
        yield f"The server also holds {' and '.join(parts)} not on disk; -o json lists them."
    yield from (f"Note: {limit}" for limit in report.verification.limits if limit != SIZE_LIMIT)


def _difference_line(entry: Difference, names: Mapping[str, str]) -> tuple[str, str]:
    uid = entry.series_instance_uid
    series = f"series {names.get(uid, uid)}: " if uid else ""
    where = f"{entry.path}: " if entry.path else series
    return entry.kind, f"{where}{entry.message}"


def excluded_lines(excluded: Sequence[Exclusion], warnings: Iterable[str] = ()) -> Iterable[str]:
    """Skipped files, by reason. Links that `warnings` are about are counted, and not described again."""
    if excluded:
        yield f"Skipped {counted(len(excluded), 'file')}:"
        told = any("symbolic link" in text for text in warnings)
        yield from reason_lines(excluded, told=_LINKS_WITHOUT_TARGET if told else ())


def reason_lines(entries: Iterable[Exclusion], *, told: tuple[str, ...] = ()) -> Iterable[str]:
    """One line per reason, most frequent first; those that begin as `told` says are in the warnings."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        links = bool(told) and entry.reason.startswith(told)
        groups.setdefault(_TOLD if links else kind_of(entry.reason), []).append(entry.path)
    for reason, paths in sorted(groups.items(), key=lambda group: -len(group[1])):
        yield f"  {len(paths):,} x {reason}" + ("" if reason == _TOLD else f": {_some(paths)}")


_LINKS_WITHOUT_TARGET = ("symbolic link to nothing", "symbolic link that leads out of the directory")
_TOLD = "symbolic link (see the warnings)"
#: Reasons that name another file, which differs from file to file, by their beginning.
_NAMING = {
    "duplicate of ": "duplicate",
    "symbolic link to nothing": "symbolic link to nothing",
    "symbolic link to a directory ": "symbolic link to a directory that is already included",
    "symbolic link to ": "symbolic link to another file",
    "hard link to ": "hard link to another file",
}


def kind_of(reason: str) -> str:
    """A reason for skipping without the other file that it names, so that equal reasons are one line."""
    if reason.endswith(", which is not in the archive file"):
        return "symbolic link to a file that is not in the archive file"
    return next((kind for begin, kind in _NAMING.items() if reason.startswith(begin)), reason)
