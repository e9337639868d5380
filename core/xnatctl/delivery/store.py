"""Journals on disk: one SQLite file per destination in the state directory.

Each write is one transaction, durable unless its writer says that it need not be, so that a kill at any instruction
leaves either the state before it or the state after it. Workers that write at the same time share a transaction,
because the disk, not SQLite, is what takes the time. A journal holds paths, UIDs, labels and outcomes; no patient data
and no secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from xnatctl.errors import JournalError
from xnatctl.inventory.fingerprints import check_digest
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import Destination, ResourceRef

#: "xnct": tells our files from other people's databases.
_APPLICATION = 0x786E6374
SCHEMA_VERSION = 2
#: Columns of numbers that may exceed 63 bits have no type, so that SQLite keeps a number that was written as text.
_ITEMS = """
CREATE TABLE items (
    name BLOB PRIMARY KEY, path BLOB NOT NULL, size NOT NULL, mtime_ns NOT NULL, ctime_ns, device, inode, digest TEXT,
    run INTEGER NOT NULL, outcome TEXT NOT NULL, reason BLOB, uri TEXT, attempts INTEGER NOT NULL
) WITHOUT ROWID;
"""
_RUNS = "CREATE TABLE runs (run INTEGER PRIMARY KEY, phase TEXT NOT NULL, facts TEXT NOT NULL);\n"
_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE places (uri TEXT PRIMARY KEY) WITHOUT ROWID;
{_RUNS}{_ITEMS}"""
#: From schema 1, which knew neither change time, device and inode (so that content decides once) nor earlier runs.
_MOVE = """
INSERT INTO items SELECT name, path, size, mtime_ns, NULL, NULL, NULL, digest, run, outcome, reason, uri, attempts
    FROM old_items;
"""
_FROM_1 = f"ALTER TABLE items RENAME TO old_items;{_ITEMS}{_MOVE}DROP TABLE old_items;\n{_RUNS}"
#: What the server is proven to hold: it was found there, or the run that planned it came to its end. Of runs before
#: the first upgrade it is not known how they ended; what they delivered counts.
_PROVEN = """(outcome = 'verified' OR (outcome = 'accepted'
    AND coalesce((SELECT phase FROM runs WHERE runs.run = items.run), 'done') = 'done'))"""
#: What is kept of each run, so that it can be finished after another one.
_RUN_FACTS = ("root", "request")
_BUSY_SECONDS = 10.0
#: Bytes of the longest path that SQLite opens, its side files included.
_LONGEST_PATH = 500
#: KiB of a journal that SQLite keeps in memory; the rest is in the cache of the operating system.
_CACHE = 512

Statement = tuple[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What an earlier run recorded of one file.

    `digest` is that of the bytes that were sent: of an instance as `content_hash` has it, of a resource's file MD5.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str | None
    outcome: Outcome
    uri: str | None
    attempts: int
    reason: str | None = None
    ctime_ns: int | None = None
    device: int | None = None
    inode: int | None = None

    def describes(self, item: UploadItem) -> bool:
        """True when the file is proven to be the same without reading it.

        A program can restore the modification time of a file, but not its change time. Where change time or inode is
        not known, the answer is False, and the content decides.
        """
        if not item.ctime_ns or not item.inode:
            return False
        return (self.path, self.size, self.mtime_ns, self.ctime_ns, self.device, self.inode) == (
            item.path, item.size, item.mtime_ns, item.ctime_ns, item.device, item.inode,
        )  # fmt: skip


def stored(number: int) -> int | str:
    """A number as SQLite can keep it: text where it exceeds 64 bits with sign. `int` is the inverse."""
    return number if -(1 << 63) <= number < 1 << 63 else str(number)


def encode(text: str) -> bytes:
    """A path as the file system has it; not every name is text."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")


def journal_key(destination: Destination, root: str | None = None, resources: Sequence[ResourceRef] = ()) -> str:
    """Sixteen hex digits that name the journal of a destination.

    `root` where a receiver names no session; `resources` where they alone are written to. The subject is no part of it
    where a session is named: a label is unique in its project, whatever subject it is filed under.
    """
    parts = [destination.server, destination.project.casefold(), destination.session.casefold(), root or ""]
    if resources:
        parts += [destination.subject if not destination.session else "", *sorted(ref.key for ref in resources)]
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:16]


class Store:
    """One journal file, open for writing. Every method may be called from any worker; close it at the end.

    Raises JournalError when the file cannot be used or written; nothing may be sent then.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self._pending: list[Statement] = []
        self._flush = False
        self._synchronous = "FULL"
        self._fault: JournalError | None = None
        self._closed = False
        self._queued = self._written = 0
        self._queue_lock = threading.Lock()
        self._write_lock = threading.Lock()
        if fresh:
            remove(path)
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        with explained(self.path):
            with suppress(FileExistsError):
                # SQLite would make it with the umask; its side files take the mode of this one.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            _refuse_no_file(self.path)
            db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                _check_kind(db, self.path)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute(f"PRAGMA cache_size = -{_CACHE}")
                _bring_up(db)
            except BaseException:
                db.close()
                raise
            return db

    def close(self) -> None:
        """Write what was to be written later and close the file; never raises, and does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        with suppress(JournalError):
            self.write()
        with suppress(sqlite3.Error):
            self._db.close()

    # reading

    def meta(self) -> dict[str, str]:
        """Everything known of the journal as a whole."""
        with self._write_lock, explained(self.path):
            return dict(self._db.execute("SELECT key, value FROM meta"))

    def run(self) -> int:
        """The number of the latest run; 0 for a new journal."""
        with self._write_lock, explained(self.path):
            found = self._db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
            return int(found[0]) if found is not None else 0

    def places(self) -> tuple[str, ...]:
        """The URIs where the server said that it put something."""
        with self._write_lock, explained(self.path):
            return tuple(uri for (uri,) in self._db.execute("SELECT uri FROM places"))

    def find(self, names: Sequence[str]) -> dict[str, Past]:
        """What earlier runs recorded of some files, by member name."""
        marks = ",".join("?" * len(names))
        with self._write_lock, explained(self.path):
            return dict(_rows(self._db, f"WHERE name IN ({marks})", list(map(encode, names))))

    def left(self, run: int) -> list[Left]:
        """Items of runs before this one that are not proven to be on the server, in the order of their names."""
        with self._write_lock, explained(self.path):
            return _left(self._db, run)

    def leaves(self, run: int) -> bool:
        """True when there are such items."""
        with self._write_lock, explained(self.path):
            query = f"SELECT 1 FROM items WHERE run != ? AND NOT {_PROVEN} LIMIT 1"  # noqa: S608 - our own text
            return self._db.execute(query, (run,)).fetchone() is not None

    def untouched(self) -> bool:
        """True when nothing was sent, and nothing is known of any file."""
        with self._write_lock, explained(self.path):
            known = self._db.execute(
                "SELECT 1 FROM items WHERE attempts > 0 OR outcome != 'planned' LIMIT 1"
            ).fetchone()
        return known is None

    def tried(self) -> bool:
        """True when something was sent, or may have been."""
        with self._write_lock, explained(self.path):
            return self._db.execute("SELECT 1 FROM items WHERE attempts > 0 LIMIT 1").fetchone() is not None

    # writing

    def write(self, *statements: Statement, flush: bool = True, later: bool = False) -> None:
        """Carry out statements in one transaction, perhaps together with those of other workers.

        Returns when they are on the disk; without `flush` as soon as the operating system has them, so that they
        outlive this process, and the next flushed write takes them to the disk. `later`: the next write of anybody
        carries them out as well, before its own. Raises JournalError when they are not written, from then on always.
        """
        with self._queue_lock:
            self._pending += statements
            self._flush = self._flush or flush
            self._queued += 1
            ticket = self._queued
        if later:
            return
        with self._write_lock:
            if self._fault is not None:
                raise self._fault
            if self._written >= ticket:
                return  # another worker took ours along
            with self._queue_lock:
                batch, self._pending = self._pending, []
                flush, self._flush = self._flush, False
                upto = self._queued
            try:
                with explained(self.path):
                    self._commit(batch, "FULL" if flush else "NORMAL")
            except JournalError as error:
                self._fault = error  # what others asked for is not written either
                raise
            self._written = upto

    def _commit(self, statements: Sequence[Statement], synchronous: str) -> None:
        """The one place where a journal changes. In WAL mode NORMAL leaves out the fsync of this transaction."""
        if synchronous != self._synchronous:
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for sql, group in groupby(statements, key=itemgetter(0)):
                self._db.executemany(sql, map(itemgetter(1), group))
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def set_meta(values: Mapping[str, str]) -> list[Statement]:
    """Statements that remember facts about the journal as a whole."""
    return [("INSERT OR REPLACE INTO meta VALUES (?, ?)", pair) for pair in values.items()]


def begin_run(run: int, phase: str, facts: Mapping[str, str]) -> list[Statement]:
    """Statements that remember what a run was asked for; earlier runs of which nothing is left are forgotten."""
    kept = {key: facts[key] for key in _RUN_FACTS if key in facts}
    return [
        ("DELETE FROM runs WHERE run NOT IN (SELECT run FROM items)", ()),
        ("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (run, phase, json.dumps(kept))),
    ]


def set_phase(run: int, phase: str) -> list[Statement]:
    """Statements that remember how far a run came."""
    return [("UPDATE runs SET phase = ? WHERE run = ?", (phase, run))]


def set_verified(names: Iterable[str]) -> list[Statement]:
    """Statements that remember of items that the server holds them."""
    return [("UPDATE items SET outcome = 'verified' WHERE name = ?", (encode(name),)) for name in names]


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """An item of an earlier run that is not proven to be on the server. `name` is that of its record, `root` as text.

    `request` is what that run was asked for, as plain data; empty where it is not known.
    """

    name: str
    path: str
    outcome: Outcome
    reason: str | None
    root: str
    request: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A journal as `upload status` shows it. `request` is what was asked for, as plain data, `study` the UID of it.

    `counts` are the items of the latest run, `left` those of earlier ones that are not proven to be on the server.
    """

    id: str
    path: Path
    destination: Destination
    phase: str
    root: str
    updated: float
    request: Mapping[str, Any]
    counts: Mapping[Outcome, int]
    left: Sequence[Left] = ()
    study: str = ""
    problem: str | None = None

    @property
    def found(self) -> int:
        """Items of the latest run, and those that earlier runs left."""
        return sum(self.counts.values()) + len(self.left)

    @property
    def delivered(self) -> int:
        """Those that the server took."""
        taken = sum(count for outcome, count in self.counts.items() if outcome.delivered)
        return taken + sum(item.outcome.delivered for item in self.left)

    @property
    def complete(self) -> bool:
        """True when the latest run came to its end, and earlier ones left nothing."""
        return self.problem is None and self.phase == "done" and not self.left


def summaries(directory: Path) -> Iterator[Summary]:
    """Every journal of the state directory in which a run began; one that cannot be read has a `problem`."""
    with explained(directory):
        paths = sorted(directory.glob("*.sqlite"))
    for path in paths:
        try:
            if (summary := _summary(path)) is not None:
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


def _summary(path: Path) -> Summary | None:
    """None when every run was refused before it began. Raises JournalError."""
    with _reading(path) as db:
        meta = dict(db.execute("SELECT key, value FROM meta"))
        if not meta:
            return None
        run = int(meta["run"])
        counts = db.execute("SELECT outcome, count(*) FROM items WHERE run = ? GROUP BY outcome", (run,)).fetchall()
        request = json.loads(meta["request"])
        if not isinstance(request, dict):
            raise TypeError("its request is no object")
        return Summary(
            id=path.stem,
            path=path,
            destination=Destination(**json.loads(meta["destination"])),
            phase=meta["phase"],
            root=json.loads(meta["root"]),
            updated=float(meta["updated"]),
            request=request,
            counts={Outcome(outcome): count for outcome, count in counts},
            left=_left(db, run),
            study=meta.get("study", ""),
        )


def _left(db: sqlite3.Connection, run: int) -> list[Left]:
    if db.execute("PRAGMA user_version").fetchone()[0] == 1:
        return []  # a journal that no run has opened since it knew only the latest run
    found = db.execute(
        f"SELECT name, path, outcome, reason, facts FROM items LEFT JOIN runs USING (run) "  # noqa: S608 - our text
        f"WHERE run != ? AND NOT {_PROVEN} ORDER BY run DESC, name",
        (run,),
    )
    known: dict[str | None, tuple[str, Mapping[str, Any]]] = {}
    left = []
    for name, path, outcome, reason, text in found:
        if text not in known:
            facts = json.loads(text or "{}")
            known[text] = json.loads(facts.get("root") or '""'), json.loads(facts.get("request") or "{}")
        root, request = known[text]
        left.append(
            Left(
                name=decode(name),
                path=decode(path),
                outcome=Outcome(outcome),
                reason=decode(reason) if reason is not None else None,
                root=root,
                request=request,
            )
        )
    return left


def items_of(path: Path) -> list[Past]:
    """The items of the latest run of a journal, in the order of their paths. Raises JournalError."""
    with _reading(path) as db:
        run = int(dict(db.execute("SELECT key, value FROM meta"))["run"])
        return [past for _, past in _rows(db, "WHERE run = ? ORDER BY path", [run])]


def _rows(db: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterator[tuple[str, Past]]:
    old = db.execute("PRAGMA user_version").fetchone()[0] == 1
    identity = "NULL, NULL, NULL" if old else "ctime_ns, device, inode"
    columns = f"name, path, size, mtime_ns, {identity}, digest, outcome, uri, attempts, reason"
    rows = db.execute(f"SELECT {columns} FROM items {where}", values)  # noqa: S608 - `where` is of this module
    for name, path, size, mtime_ns, ctime_ns, device, inode, digest, outcome, uri, attempts, reason in rows:
        if digest is not None:
            check_digest(digest)
        yield (
            decode(name),
            Past(
                path=decode(path),
                size=int(size),
                mtime_ns=int(mtime_ns),
                ctime_ns=_known(ctime_ns),
                device=_known(device),
                inode=_known(inode),
                digest=digest,
                outcome=Outcome(outcome),
                uri=uri,
                attempts=int(attempts),
                reason=decode(reason) if reason is not None else None,
            ),
        )


def _known(number: int | str | None) -> int | None:
    return None if number is None else int(number)


class _reading:  # noqa: N801 - used as a with statement
    """A journal opened for reading while its run may go on writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = explained(path)

    def __enter__(self) -> sqlite3.Connection:
        with self._guard:
            _refuse_no_file(self._path)
            self._db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                _check_kind(self._db, self._path)
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    raise JournalError(f"{self._path} is empty: its run ended before it began.")
            except BaseException:
                self._db.close()
                raise
        return self._db

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._db.close()
        self._guard.__exit__(kind, error, trace)


class explained:  # noqa: N801 - used as a with statement
    """Turns what SQLite and the file system say into a JournalError that says what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            raise JournalError(
                f"The journal {self._path} cannot be used: {error}.", hint=_advice(error, self._path)
            ) from error
        if isinstance(error, _DAMAGE):
            raise JournalError(
                f"The journal {self._path} is damaged: {type(error).__name__}: {error}.", hint=_START_OVER
            ) from error


#: What values raise that no version of ours has written.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
_START_OVER = "Start over with --no-resume: the old journal is deleted and every file is sent again."


def _refuse_no_file(path: Path) -> None:
    """SQLite would wait for the writer of a FIFO. Raises JournalError for what is there and is no regular file."""
    if path.exists() and not path.is_file():
        raise JournalError(
            f"{path} is not a regular file, so it cannot be a journal.",
            hint="Move it away, or name another place with XNATCTL_STATE_DIR, and run the command again.",
        )


def _advice(error: Exception, path: Path) -> str:
    text = str(error).lower()
    full = "full" in text or "no space" in text or "disk i/o" in text or "file too large" in text
    if full:
        return (
            "Nothing is sent without a record of it. Free space there, or name another place with XNATCTL_STATE_DIR, "
            "and run the command again."
        )
    if "malformed" in text or "not a database" in text:
        return _START_OVER
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return (
            "Its path is too long for SQLite: name a shorter place with XNATCTL_STATE_DIR, and run the command again."
        )
    return "Check the permissions there, or name another place with XNATCTL_STATE_DIR, and run the command again."


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not a journal, and one that a later version wrote."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and application == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    if application != _APPLICATION:
        raise JournalError(f"{path} is a database, but not a journal of xnatctl.", hint="Move it away.")
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path} was written by a later version of xnatctl (schema {version}; this one reads {SCHEMA_VERSION}).",
            hint="Use that version to finish the upload, or start over with --no-resume.",
        )


def _bring_up(db: sqlite3.Connection) -> None:
    """Make the tables of a new file; bring those of an earlier version to the present one, whole or not at all."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA_VERSION:
            for statement in (_FROM_1 if version else _SCHEMA).split(";\n"):
                if statement.strip():
                    db.execute(statement)
            if version:
                meta = dict(db.execute("SELECT key, value FROM meta"))
                if meta:
                    for sql, values in begin_run(int(meta["run"]), meta.get("phase", ""), meta):
                        db.execute(sql, values)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def remove(path: Path) -> None:
    """Delete a journal that no run is using. Raises JournalError."""
    with explained(path):
        _refuse_no_file(path)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
