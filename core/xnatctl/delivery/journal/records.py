"""The rows of a journal and the SQL statements that change them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from xnatctl.inventory.fingerprints import check_digest
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import is_uid

#: Items that the server is proven to hold: they were found there, or their run completed. For runs of schema 1 it is
#: not known how they ended, so delivered items count.
PROVEN: Final = """(outcome = 'verified' OR (outcome = 'accepted'
    AND coalesce((SELECT phase FROM runs WHERE runs.run = items.run), 'done') = 'done'))"""
#: Facts that are stored per run, so that it can be finished after another one.
_RUN_FACTS: Final = ("root", "request", "study", "studies")

Statement = tuple[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """The record of an earlier run about one file.

    `digest` is that of the sent bytes: `content_hash` for an instance, MD5 for a file of a resource.
    """

    path: str  # relative to the root of the upload
    size: int  # bytes
    mtime_ns: int  # modification time when it was sent
    digest: str | None
    outcome: Outcome  # the last one
    uri: str | None  # where the server put it
    attempts: int  # requests that carried it
    reason: str | None = None  # why it was not delivered
    ctime_ns: int | None = None  # change time
    device: int | None = None  # number of the file system
    inode: int | None = None  # number of the file

    def describes(self, item: UploadItem) -> bool:
        """True if the file is proven to be unchanged without reading it.

        A program can restore the modification time of a file, but not its change time. If change time or inode are
        unknown, the result is False and the content decides.
        """
        status = item.status
        if not status.ctime_ns or not status.inode:
            return False
        known = (self.mtime_ns, self.ctime_ns, self.device, self.inode)
        return (self.path, self.size, known) == (item.path, item.size, status)


def stored(number: int) -> int | str:
    """A number as SQLite can store it: text if it exceeds 64 bits with sign. `int` is the inverse."""
    return number if -(1 << 63) <= number < 1 << 63 else str(number)


def encode(text: str) -> bytes:
    """A path as bytes of the file system, because not every name is text."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """An item of an earlier run that is not proven to be on the server. `name` is its record name, `root` is text.

    `request` is the request of that run as plain data, and `studies` are the UIDs of its studies; empty if not known.
    """

    name: str
    path: str
    outcome: Outcome
    reason: str | None
    uri: str | None
    root: str
    request: Mapping[str, Any]
    studies: frozenset[str] = frozenset()


def text_of(value: object) -> str:
    """A value that must be text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:80]!r} is no text")
    return value


def meta_of(db: sqlite3.Connection) -> dict[str, str]:
    """The facts about a journal. Raises TypeError."""
    return {text_of(key): text_of(value) for key, value in db.execute("SELECT key, value FROM meta")}


def rows_of(db: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterator[tuple[str, JournalEntry]]:
    """Records with their names. Raises ValueError, TypeError for invalid rows."""
    old = db.execute("PRAGMA user_version").fetchone()[0] == 1
    identity = "NULL, NULL, NULL" if old else "ctime_ns, device, inode"
    columns = f"name, path, size, mtime_ns, {identity}, digest, outcome, uri, attempts, reason"
    rows = db.execute(f"SELECT {columns} FROM items {where}", values)  # noqa: S608 - `where` is of this module
    for name, path, size, mtime_ns, ctime_ns, device, inode, digest, outcome, uri, attempts, reason in rows:
        if digest is not None:
            check_digest(digest)
        yield (
            decode(name),
            JournalEntry(
                path=decode(path),
                size=int(size),
                mtime_ns=int(mtime_ns),
                ctime_ns=_known(ctime_ns),
                device=_known(device),
                inode=_known(inode),
                digest=digest,
                outcome=Outcome(outcome),
                uri=text_of(uri) if uri is not None else None,
                attempts=int(attempts),
                reason=decode(reason) if reason is not None else None,
            ),
        )


def _known(number: int | str | None) -> int | None:
    return None if number is None else int(number)


def left_of(db: sqlite3.Connection, run: int) -> list[Left]:
    """Unproven items of runs other than this one; raises like `rows_of`."""
    if db.execute("PRAGMA user_version").fetchone()[0] == 1:
        return []  # schema 1, which stores only the latest run
    found = db.execute(
        f"SELECT name, path, outcome, reason, uri, facts FROM items LEFT JOIN runs USING (run) "  # noqa: S608 - our text
        f"WHERE run != ? AND NOT {PROVEN} ORDER BY run DESC, name",
        (run,),
    )
    known: dict[str | None, tuple[str, Mapping[str, Any], frozenset[str]]] = {}
    left = []
    for name, path, outcome, reason, uri, text in found:
        if text not in known:
            facts = json.loads(text or "{}")
            known[text] = (
                json.loads(facts.get("root") or '""'),
                json.loads(facts.get("request") or "{}"),
                studies_of(facts),
            )
        root, request, studies = known[text]
        left.append(
            Left(
                name=decode(name),
                path=decode(path),
                outcome=Outcome(outcome),
                reason=decode(reason) if reason is not None else None,
                uri=text_of(uri) if uri is not None else None,
                root=root,
                request=request,
                studies=studies,
            )
        )
    return left


def studies_of(facts: Mapping[str, str]) -> frozenset[str]:
    """The UIDs of the studies that a run sent; empty if not known. Raises ValueError."""
    uids = json.loads(facts["studies"]) if facts.get("studies") else [facts.get("study")]
    return frozenset(str(uid) for uid in uids if uid)


def set_meta(values: Mapping[str, str]) -> list[Statement]:
    """Statements that store facts about the journal."""
    return [("INSERT OR REPLACE INTO meta VALUES (?, ?)", pair) for pair in values.items()]


def begin_run(run: int, phase: str, facts: Mapping[str, str]) -> list[Statement]:
    """Statements that store the facts of a new run; earlier runs without items are deleted."""
    kept = {key: facts[key] for key in _RUN_FACTS if key in facts}
    return [
        ("DELETE FROM runs WHERE run NOT IN (SELECT run FROM items)", ()),
        ("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (run, phase, json.dumps(kept))),
    ]


def set_phase(run: int, phase: str) -> list[Statement]:
    """Statements that store the phase of a run."""
    return [("UPDATE runs SET phase = ? WHERE run = ?", (phase, run))]


def set_verified(names: Iterable[str]) -> list[Statement]:
    """Statements that mark items as verified."""
    return [("UPDATE items SET outcome = 'verified' WHERE name = ?", (encode(name),)) for name in names]


def instances_by_uid(left: Sequence[Left]) -> dict[str, Left]:
    """The instances among the items, by SOP Instance UID."""
    names = {item.name.removesuffix(".dcm"): item for item in left if item.name.endswith(".dcm")}
    return {uid: item for uid, item in names.items() if is_uid(uid)}
