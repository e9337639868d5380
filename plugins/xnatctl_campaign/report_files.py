"""The report of a campaign as CSV and as JSON: one row for each row of the manifest, and no file written twice."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from xnatctl.api import Refused, XnatctlError
from xnatctl_campaign.folder import Campaign, now
from xnatctl_campaign.manifest_writer import guarded
from xnatctl_campaign.standing import RowStanding
from xnatctl_campaign.totals import Totals, seconds_of

SCHEMA = "xnatctl.campaign-report/1"
COLUMNS = (
    "row",
    "line",
    "path",
    "project",
    "subject",
    "session",
    "resource",
    "kind",
    "state",
    "code",
    "reason",
    "hint",
    "uri",
    "found",
    "verified",
    "sent",
    "skipped",
    "level",
    "files",
    "bytes",
    "attempts",
    "worker",
    "started",
    "ended",
    "seconds",
)
#: Reports that may be made within one second.
_MOST = 1000


def record_of(row: RowStanding) -> dict[str, Any]:
    """A row of the report; None where nothing is known."""
    entry, manifest = row.entry, row.row
    tried = entry is not None
    ended = entry is not None and entry.state != "started"
    return {
        "row": manifest.number,
        "line": manifest.line,
        "path": manifest.path,
        "project": manifest.project,
        "subject": manifest.subject,
        "session": manifest.session,
        "resource": manifest.resource or None,
        "kind": manifest.kind.value,
        "state": row.standing.value,
        "code": row.code or None,
        "reason": row.reason or None,
        "hint": (entry.hint or None) if entry is not None else None,
        "uri": (entry.uri or None) if entry is not None else None,
        "found": entry.found if entry is not None and ended else None,
        "verified": entry.verified if entry is not None and ended else None,
        "sent": entry.sent if entry is not None and ended else None,
        "skipped": entry.skipped if entry is not None and ended else None,
        "level": (entry.level or None) if entry is not None else None,
        "files": row.files or None,
        "bytes": row.bytes if row.files else None,
        "attempts": entry.generation if entry is not None else 0,
        "worker": row.worker or None,
        "started": _started(row) if tried else None,
        "ended": entry.at if entry is not None and ended else None,
        "seconds": entry.seconds if entry is not None and ended else None,
    }


def _started(row: RowStanding) -> str | None:
    """When the latest attempt began, from when it ended and how long it took."""
    entry = row.entry
    if entry is None or entry.state == "started":
        return None if entry is None else entry.at
    ended = seconds_of(entry.at)
    if ended is None:
        return None
    return datetime.fromtimestamp(ended - entry.seconds, UTC).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")


def write_reports(
    campaign: Campaign, rows: Iterable[RowStanding], totals: Totals, *, csv_file: Path | None, json_file: Path | None
) -> None:
    """Write the rows to new files in one pass, and count them in `totals`.

    Raises Refused if a file exists, XnatctlError if it cannot be written; then there is neither file.
    """
    with ExitStack() as stack:
        csv_out, json_out = (
            None if path is None else stack.enter_context(_new_file(path)) for path in (csv_file, json_file)
        )
        table = None if csv_out is None else csv.writer(csv_out, lineterminator="\n")
        if table is not None:
            table.writerow(COLUMNS)
        before = _json_head(campaign)
        for row in rows:
            totals.add(row)
            record = record_of(row)
            if table is not None:
                table.writerow([guarded(_one_line(record[name])) for name in COLUMNS])
            if json_out is not None:
                json_out.write(f"{before}\n    {json.dumps(record)}")
                before = ","
        if json_out is not None:
            end = "" if before == "," else before
            json_out.write(f'{end}\n  ],\n  "complete": {json.dumps(totals.complete)}\n}}\n')


def _json_head(campaign: Campaign) -> str:
    """The document up to its first row."""
    head = {"schema": SCHEMA, "directory": str(campaign.directory), "at": now(), "campaign": asdict(campaign.info)}
    return json.dumps(head, indent=2).removesuffix("\n}") + ',\n  "rows": ['


def _one_line(value: Any) -> Any:
    """A text without line breaks, which some readers of CSV do not take inside quotes."""
    return " ".join(value.split()) if isinstance(value, str) and not value.isprintable() else value


def new_names(directory: Path) -> tuple[Path, Path]:
    """Names of a CSV and a JSON file in the folder of reports, with the time, that no file has."""
    stem = time.strftime("report-%Y%m%dT%H%M%S")
    for number in range(1, _MOST):
        name = stem if number == 1 else f"{stem}-{number}"
        pair = directory / "reports" / f"{name}.csv", directory / "reports" / f"{name}.json"
        if not any(os.path.lexists(path) for path in pair):
            return pair
    raise Refused(f"{directory / 'reports'} holds {_MOST:,} reports of this second.", hint="Name a file by --csv.")


@contextmanager
def _new_file(path: Path) -> Iterator[IO[str]]:
    """A new file, which is removed if it is not written to its end."""
    try:
        with open(path, "x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink()
                raise
    except FileExistsError:
        raise Refused(
            f"{path} exists already, and a report is never overwritten.", hint="Name another file, or remove this one."
        ) from None
    except OSError as error:
        raise XnatctlError(f"Cannot write {path}: {error.strerror}.", hint="Name another file.") from error
