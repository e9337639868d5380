"""Compares a receipt with the sessions and resources on the server, as `session verify` compares files on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xnatctl.api import Level, PermissionDenied, Series, Source, UploadItem, counted
from xnatctl.api.xnat import (
    Comparison,
    PrearchiveRow,
    XnatClient,
    find_prearchive_rows,
    find_session,
    get_direct_archive,
    readable_project,
    verify_archived,
    verify_staged,
    whole_number,
)
from xnatctl_receipt.chain import Receipt
from xnatctl_receipt.problems import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerResult:
    """How many files of the receipt the server holds, how many it lists, and by which levels they were found."""

    found: int
    listed: int
    levels: Mapping[str, int]
    problems: Sequence[Problem]


def is_on_server(receipt: Receipt) -> bool:
    """Whether the upload went to an XNAT server, and not to another receiver."""
    return bool(receipt.header["asked"]["server"]) and receipt.header["destination"]["state"] != "receiver"


def compare_server(client: XnatClient, receipt: Receipt) -> ServerResult:
    """Find every instance of the receipt by UID and size, and every file of its resources by size. Raises NotFound."""
    levels: Counter[str] = Counter()
    problems: list[Problem] = []
    listed = 0
    for label, items in _sessions(receipt).items():
        listed += len(items)
        found, differences = _session(client, receipt, label, items)
        levels += found
        problems += differences
    for resource in receipt.header["resources"]:
        files = [e for e in receipt.entries if e.get("resource") == resource["title"] and e["sent"] != "no"]
        listed += len(files)
        found, differences = _resource(client, resource, files)
        levels += found
        problems += differences
    return ServerResult(found=sum(levels.values()), listed=listed, levels=dict(levels), problems=problems)


def _sessions(receipt: Receipt) -> dict[str, list[UploadItem]]:
    """The delivered instances of each session, by its label."""
    header = receipt.header
    of_study = {study["study_instance_uid"]: study["session"] for study in header["studies"] if study["session"]}
    rows = [_series(row) for row in header["series"]]
    sessions: dict[str, list[UploadItem]] = {}
    for entry in receipt.entries:
        if entry["kind"] == "instance" and entry["sent"] != "no":
            series = rows[entry["series"]] if entry["series"] is not None else Series()
            label = of_study.get(series.study_instance_uid) or header["destination"]["session"]
            sessions.setdefault(str(label), []).append(_item(entry, series))
    return sessions


def _series(row: Mapping[str, Any]) -> Series:
    names = ("study_instance_uid", "series_instance_uid", "series_number", "modality", "sop_class_uid")
    return Series(transfer_syntax_uid=row["transfer_syntax_uid"], **{name: row[name] for name in names})


def _item(entry: Mapping[str, Any], series: Series) -> UploadItem:
    """An instance as the comparison needs it; it has no file."""
    uid = str(entry["sop_instance_uid"])
    return UploadItem(
        path=uid,
        source=Source(path=""),
        size=entry["bytes"],
        tail=entry.get("tail", 0),
        sop_instance_uid=uid,
        series=series,
    )


def _session(
    client: XnatClient, receipt: Receipt, label: str, items: Sequence[UploadItem]
) -> tuple[Counter[str], list[Problem]]:
    project = readable_project(client, receipt.header["destination"]["project"])
    session = find_session(client, project, label)
    if session is not None:
        return _compared(verify_archived(client, session.id, items))
    try:
        rows = find_prearchive_rows(client, project, label=label, study_uid=items[0].study_instance_uid)
    except PermissionDenied:
        rows = []
    if rows and rows[0].status in ("READY", "CONFLICT"):
        return _compared(verify_staged(client, rows[0].ref, items))
    return Counter(), [_not_compared(client, project, label, items[0].study_instance_uid, rows)]


def _not_compared(client: XnatClient, project: str, label: str, study: str, rows: Sequence[PrearchiveRow]) -> Problem:
    """Why a session cannot be compared, in the words of `session verify`."""
    name = f"session {label} of project {project}"
    if rows:
        state = f"the session is {rows[0].status} in the prearchive and cannot be counted yet"
    elif (status := _receiving(client, project, label, study)) is not None:
        state = f"the server has not archived the session yet ({status})"
    else:
        message = f"the server has no {name}, neither in the archive nor in the prearchive"
        return Problem(where="server", message=message)
    return Problem(where="server", message=f"{name} cannot be compared: {state}", compared=False)


def _receiving(client: XnatClient, project: str, label: str, study: str) -> str | None:
    """The status of an unfinished direct archive; None when there is none, or none may be seen."""
    try:
        row = get_direct_archive(client, project, study, label)
    except PermissionDenied:
        return None
    return None if row is None else str(row.get("status") or "RECEIVING")


def _compared(comparison: Comparison) -> tuple[Counter[str], list[Problem]]:
    levels = Counter(str(level) for level in comparison.levels if level is not Level.NONE)
    problems = [
        Problem(where="server", message=entry.message, sop_instance_uid=entry.sop_instance_uid)
        for entry in comparison.verification.differences
    ]
    if not problems and comparison.verification.ok is None:
        limits = " ".join(comparison.verification.limits) or "Nothing could be compared."
        problems.append(Problem(where="server", message=limits, compared=False))
    return levels, problems


def _resource(
    client: XnatClient, resource: Mapping[str, Any], files: Sequence[Mapping[str, Any]]
) -> tuple[Counter[str], list[Problem]]:
    """Files of a resource are found by size, and by name where the receipt has names."""
    title, uri = resource["title"], resource["uri"]
    if not uri:
        return Counter(), [Problem(where="server", message=f"the receipt does not say where resource {title} is")]
    stored = Counter(_stored(client, uri, named=all("name" in entry for entry in files)))
    wanted = Counter((str(entry.get("name", "")), int(entry["bytes"])) for entry in files)
    missing = (wanted - stored).total()
    problems = []
    if missing:
        message = f"{counted(missing, 'file')} of resource {title} not found by size"
        problems.append(Problem(where="server", message=message))
    return Counter({str(Level.SIZE): len(files) - missing}), problems


def _stored(client: XnatClient, uri: str, *, named: bool) -> Iterator[tuple[str, int]]:
    for row in client.table(f"{uri}/files"):
        name = row.get("URI", "").partition("/files/")[2] or row.get("Name", "")
        yield name if named else "", whole_number(row.get("Size", "")) or 0
