"""Read-only summaries of the journals on this machine, for `upload status`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnatctl.delivery.journal.reading import reading
from xnatctl.delivery.journal.records import JournalEntry, Left, left_of, meta_of, rows_of, studies_of
from xnatctl.delivery.journal.schema import explained
from xnatctl.errors import JournalError
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import Destination


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A journal as `upload status` shows it.

    `request` is the request as plain data, `study` the UID of a session's study, `studies` those of all sent studies.
    `counts` are the items of the latest run by outcome, `unsendable` its files that cannot be sent, as (path, outcome,
    reason), and `left` the items of earlier runs that are not proven to be on the server.
    """

    id: str  # what `upload status` calls it
    path: Path  # the file of the journal
    destination: Destination  # where the upload goes
    phase: str  # how far it came
    root: str  # what is uploaded, or the directory that holds it
    updated: float  # seconds since the epoch
    request: Mapping[str, Any]
    counts: Mapping[Outcome, int]
    unsendable: Sequence[tuple[str, Outcome, str | None]] = ()
    left: Sequence[Left] = ()
    study: str = ""
    studies: frozenset[str] = frozenset()
    problem: str | None = None  # why it cannot be read
    sources: Sequence[str] = ()  # the paths that are uploaded

    @property
    def found(self) -> int:
        """The number of files of the latest run and unproven files of earlier runs."""
        return sum(self.counts.values()) + len(self.unsendable) + len(self.left)

    @property
    def delivered(self) -> int:
        """The images that the server accepted."""
        taken = sum(count for outcome, count in self.counts.items() if outcome.delivered)
        return taken + sum(item.outcome.delivered for item in self.left)

    @property
    def complete(self) -> bool:
        """True if the latest run completed and earlier runs left nothing."""
        return self.problem is None and self.phase == "done" and not self.left


def summaries(directory: Path) -> Iterator[Summary]:
    """The journals of a state directory in which a run began; an unreadable one has a `problem`."""
    with explained(directory):
        paths = sorted(directory.glob("*.sqlite"))
    for path in paths:
        try:
            if (summary := summary_of(path)) is not None:
                yield summary
        except JournalError as error:
            yield Summary(
                id=path.stem,
                path=path,
                destination=Destination(server="", project="", subject="", session=""),
                phase="unreadable",
                root="",
                updated=0.0,
                request={},
                counts={},
                problem=error.message,
            )


def summary_of(path: Path) -> Summary | None:
    """The summary of one journal; None if every run was refused before it began. Raises JournalError."""
    with reading(path) as db:
        meta = meta_of(db)
        if not meta:
            return None
        run = int(meta["run"])
        counts = db.execute("SELECT outcome, count(*) FROM items WHERE run = ? GROUP BY outcome", (run,)).fetchall()
        request = json.loads(meta["request"])
        if not isinstance(request, dict):
            raise TypeError("its request is not an object")
        return Summary(
            id=path.stem,
            path=path,
            destination=Destination(**json.loads(meta["destination"])),
            phase=meta["phase"],
            root=json.loads(meta["root"]),
            sources=json.loads(meta.get("sources") or f"[{meta['root']}]"),
            updated=float(meta["updated"]),
            request=request,
            counts={Outcome(outcome): count for outcome, count in counts},
            unsendable=[
                (path, Outcome(outcome), reason) for path, outcome, reason in json.loads(meta.get("unsendable", "[]"))
            ],
            left=left_of(db, run),
            study=meta.get("study", ""),
            studies=studies_of(meta),
        )


def items_of(path: Path) -> list[JournalEntry]:
    """The items of the latest run of a journal, in path order. Raises JournalError."""
    with reading(path) as db:
        run = int(meta_of(db)["run"])
        return [past for _, past in rows_of(db, "WHERE run = ? ORDER BY path", [run])]


def destinations_of(directory: Path, study: str) -> Iterator[Destination]:
    """The sessions to which the journals of a directory delivered images of a study. Skips unreadable journals."""
    delivered = [str(outcome) for outcome in Outcome if outcome.delivered]
    where = f"WHERE outcome IN ({', '.join('?' * len(delivered))}) LIMIT 1"
    for path in sorted(directory.glob("*.sqlite")):
        with suppress(JournalError), reading(path) as db:
            meta = meta_of(db)
            if meta and meta.get("study") == study and any(rows_of(db, where, delivered)):
                yield Destination(**json.loads(meta["destination"]))


def unchanged(path: Path, items: Iterable[UploadItem]) -> int:
    """The number of delivered items whose files are unchanged. Raises JournalError."""
    delivered = [str(outcome) for outcome in Outcome if outcome.delivered]
    with reading(path) as db:
        where = f"WHERE outcome IN ({', '.join('?' * len(delivered))})"
        known = {entry.path: entry for _, entry in rows_of(db, where, delivered)}
    return sum((entry := known.get(item.path)) is not None and entry.describes(item) for item in items)
