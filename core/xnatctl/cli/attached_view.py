"""Resources in a report: one row each, and a headline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xnatctl.model.outcome import Outcome
from xnatctl.model.refs import Destination, ResourceLevel, ResourceRef
from xnatctl.model.report import LEVELS, Level, PlaceState, Report, ReportItem, ResourceReport, Status
from xnatctl.model.words import elapsed, human_size, part_of

_INSTANCES_BY = {
    Level.COUNTED: "count",
    Level.UID: "SOP Instance UID",
    Level.SIZE: "SOP Instance UID and size",
    Level.CHECKSUM: "checksum",
}
_FILES_BY = {Level.SIZE: "path and size", Level.CHECKSUM: "checksum"}
#: The state of a file that was sent and whose answer was not read.
MAY_HAVE_ARRIVED = "may have arrived"


def state_text(outcome: Outcome, *, sends: bool = True) -> str:
    """The text for an outcome. An item that was not tried is "not sent", or "not compared" in a read-only command.

    What was sent and not answered may have arrived, which no person calls "ambiguous".
    """
    if outcome is Outcome.PLANNED:
        return "not sent" if sends else "not compared"
    if outcome in (Outcome.AMBIGUOUS, Outcome.SENDING):
        return MAY_HAVE_ARRIVED
    return str(outcome)


def state_texts(report: Report) -> Callable[[ReportItem], str]:
    """Return the function that gives the state of an item as text, which depends on the command of the report."""
    compared = [report.verification, *(resource.verification for resource in report.resources)]
    differences = [entry for verification in compared for entry in verification.differences]
    differing = {entry.message for entry in differences if entry.kind in ("size", "checksum")}
    sends = report.command != "session verify"

    def words(item: ReportItem) -> str:
        if item.outcome is Outcome.MISSING and item.reason in differing:
            return "differs"
        return state_text(item.outcome, sends=sends)

    return words


def resource_rows(report: Report) -> list[dict[str, Any]]:
    """One row per resource, with the columns of series."""
    rows, words = [], state_texts(report)
    for title in _titles(report):
        items = [item for item in report.items if item.resource == title]
        if not items:
            continue  # refused before the run began
        outcomes = Counter(map(words, items))
        state = ", ".join(f"{count} {name}" if len(outcomes) > 1 else name for name, count in sorted(outcomes.items()))
        rows.append(
            {
                "study": "",
                "series": f"resource {title}",
                "name": f"resource {title}",
                "series_number": "",
                "series_description": "",
                "modality": "",
                "files": len(items),
                "size": sum(item.bytes for item in items),
                "state": state,
            }
        )
    return rows


def resources_headline(report: Report) -> str:
    """State what was delivered, where, and how it was checked."""
    instances = [item for item in report.items if not item.resource]
    files = [item for item in report.items if item.resource]
    parts = []
    if instances:
        compared = report.verification.ok is not None
        number = sum(item.outcome is Outcome.VERIFIED for item in instances) if compared else _delivered(instances)
        where = report.destination
        place = {
            PlaceState.ARCHIVED: f"archived as {where.session} in project {where.project}",
            PlaceState.PREARCHIVE: f"in the prearchive of project {where.project} as {where.session}",
        }.get(report.state, "not archived")
        parts.append(f"{part_of(number, len(instances), 'instance')} {place if compared else f'delivered, {place}'}")
    parts.append(f"{part_of(_delivered(files), len(files), 'file')} {_stored(report)} {_named(report)}")
    size = human_size(report.bytes)
    if not report.counts.sent and report.counts.skipped == report.counts.found:
        size = "nothing had to be sent"
    elif not report.counts.sent and report.counts.skipped:
        size = "nothing new was sent"
    text = f"{' and '.join(parts)} ({size}, {elapsed(report.seconds)})"
    return f"{text}; {_checked(instances, files)}." if report.status is Status.COMPLETE else f"{text}."


def _stored(report: Report) -> str:
    """Files that were not compared are "delivered": the server's 200 does not prove that they were stored."""
    return "delivered to" if any(part.verification.ok is None for part in report.resources) else "stored in"


def _checked(instances: Sequence[ReportItem], files: Sequence[ReportItem]) -> str:
    """State how instances and files were compared."""
    of_instances, of_files = _ways(instances, _INSTANCES_BY), _ways(files, _FILES_BY)
    if not instances:
        return f"checked by {of_files}" if of_files else "not checked"
    if of_instances and of_files:
        return f"instances checked by {of_instances}, files by {of_files}"
    words = {way: f"checked by {way}" if way else "not checked" for way in (of_instances, of_files)}
    return f"instances {words[of_instances]}, files {words[of_files]}"


def _ways(items: Sequence[ReportItem], words: Mapping[Level, str]) -> str:
    """The level that the items reached, or each level with its count; empty when nothing was compared."""
    levels = Counter(item.level for item in items if item.level in words)
    if len(levels) < 2:
        return next((words[level] for level in levels), "")
    return ", by ".join(f"{words[level]} ({levels[level]})" for level in reversed(LEVELS) if levels[level])


def _titles(report: Report) -> Sequence[str]:
    """The resources of the report, including those that the run did not reach."""
    known = [resource.title for resource in report.resources]
    return tuple(dict.fromkeys([*known, *(item.resource for item in report.items if item.resource)]))


def _named(report: Report) -> str:
    titles = _titles(report)
    if len(titles) > 1 or not report.resources:
        return f"{len(titles):,} resources" if len(titles) > 1 else f"resource {titles[0]}"
    return f"resource {report.resources[0].label} of {parent_text(report.resources[0], report.destination)}"


def parent_text(resource: ResourceReport | ResourceRef, where: Destination) -> str:
    """The parent of a resource as text. The project of an accession ID is unknown until the server was asked."""
    project = f" in project {where.project}" if where.project else ""
    match resource.level:
        case ResourceLevel.PROJECT:
            return f"project {where.project}"
        case ResourceLevel.SUBJECT:
            return f"subject {where.subject}{project}"
        case ResourceLevel.SCAN:
            return f"scan {resource.scan} of session {where.session}{project}"
    return f"session {where.session}{project}"


def _delivered(items: Sequence[ReportItem]) -> int:
    return sum(item.outcome in (Outcome.ACCEPTED, Outcome.VERIFIED) for item in items)
