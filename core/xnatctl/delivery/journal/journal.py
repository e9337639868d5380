"""The state of each item: intent before the first byte, outcome after the answer.

The engine writes only to `Journal`, so it holds everything that a run must remember. With a `Store` it is durable and
the next run continues from it; without one it ends with the process.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, repeat
from typing import Final, Literal

from xnatctl.delivery.journal.records import (
    JournalEntry,
    Left,
    Statement,
    begin_run,
    encode,
    set_meta,
    set_phase,
    set_verified,
    stored,
)
from xnatctl.delivery.journal.states import States, StateView, record_name
from xnatctl.delivery.journal.store import Store
from xnatctl.errors import SourceChanged
from xnatctl.inventory.sources import has_content
from xnatctl.model.outcome import ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.model.refs import ResourceRef
from xnatctl.redaction import Redactor

_UPSERT: Final = """
INSERT INTO items (name, path, size, mtime_ns, ctime_ns, device, inode, digest, run, outcome, reason, uri, attempts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0)
ON CONFLICT (name) DO UPDATE SET path = excluded.path, size = excluded.size, mtime_ns = excluded.mtime_ns,
    ctime_ns = excluded.ctime_ns, device = excluded.device, inode = excluded.inode,
    run = excluded.run, reason = NULL, outcome = excluded.outcome, digest = excluded.digest
"""
_KEEP: Final = "UPDATE items SET run = ? WHERE name = ?"
_INTEND: Final = "UPDATE items SET outcome = 'sending', attempts = attempts + 1, digest = NULL WHERE name = ?"
_RECORD: Final = "UPDATE items SET outcome = ?, reason = ?, uri = coalesce(?, uri), digest = ? WHERE name = ?"
_OUTCOME: Final = "UPDATE items SET outcome = ? WHERE name = ?"

#: Prefix of the fact that an item was sent again because of its stored size or sum; the record name follows.
_AGAIN: Final = "again/"

#: Rows per transaction when the plan is entered; bounds memory.
_ROWS: Final = 2000
#: Names per query.
_LOOKED_UP: Final = 500
#: Seconds of records that a power cut may lose when files are sent one by one. The plan and the first intent are on
#: disk before the first byte. Files whose record is lost are sent again under the same names; waiting for the disk
#: twice per small file would cost more. A killed process loses one answer per worker.
_UNFLUSHED: Final = 1.0
#: A larger batch costs more to send again than waiting for the disk, so its records are durable at once.
_FEW: Final = (8, 4 * 2**20)


#: The note of an item that the session held before and no run of the journal delivered.
_THERE: Final = "was in the session before; not delivered by this upload"


class Phase:
    """The phase that a run reached, in the terms of `upload status`."""

    SENDING = "sending"
    SETTLING = "settling"
    ATTACHING = "attaching"
    DONE = "done"


class Journal:
    """The record of a run. Thread-safe; methods raise JournalError if the record cannot be written.

    `redactor` masks the stored reasons and places.
    """

    def __init__(self, store: Store | None = None, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._store = store
        self._lock = threading.Lock()
        self._states = States()
        #: Items with a recorded intent and no outcome yet, with their numbers.
        self._flying: dict[str, tuple[int, UploadItem]] = {}
        self._places: set[str] = set(store.places()) if store else set()
        meta = store.meta() if store else {}
        #: Stored size and sum of items before they were sent again, by record name.
        self._again = {key.removeprefix(_AGAIN): meta.pop(key) for key in list(meta) if key.startswith(_AGAIN)}
        self._run = self._earlier = store.run() if store else 0
        self._phase = meta.get("phase", "")
        self._before = meta
        self._flushed = -_UNFLUSHED

    # earlier runs

    @property
    def resuming(self) -> bool:
        """True if an earlier run used this journal."""
        return self._run > 0

    @property
    def unfinished(self) -> bool:
        """True if earlier runs may have sent something, and not all of their items are proven to be on the server."""
        store = self._store
        if store is None or not store.tried():
            return False
        # A run that sent only resources does not complete the session of an earlier one.
        return self._phase != Phase.DONE or (self.before("sends") == "resources" and store.leaves(self._run))

    @property
    def id(self) -> str:
        """The ID in `upload status`; empty without a file."""
        return self._store.path.stem if self._store else ""

    def left(self) -> list[Left]:
        """Items of earlier runs that are not proven to be on the server and not part of the latest run."""
        return self._store.left(self._run) if self._store else []

    def besides(self, uri: str) -> int:
        """The number of files that earlier runs delivered to a place and that are not part of the latest run."""
        return self._store.besides(self._run, uri) if self._store else 0

    def prove(self, names: Iterable[str]) -> None:
        """Mark items of earlier runs, by record name, as found on the server."""
        self._write(set_verified(names))

    @property
    def phase(self) -> str:
        """The phase of this run, or of the last one before it begins; empty for a new journal."""
        return self._phase

    def before(self, fact: str) -> str:
        """A fact of the previous run; empty for a new journal."""
        return self._before.get(fact, "")

    @property
    def places(self) -> frozenset[str]:
        """The URIs that the server returned, in this run and before."""
        with self._lock:
            return frozenset(self._places)

    def recorded(
        self, items: Iterable[UploadItem], resource: ResourceRef | None = None
    ) -> Iterator[JournalEntry | None]:
        """The entry of earlier runs for each item, in order; read before this run enters them."""
        if self._store is None or not self._earlier:
            return (None for _ in items)
        return self._read(self._store, (record_name(item, resource) for item in items))

    def _read(self, store: Store, names: Iterator[str]) -> Iterator[JournalEntry | None]:
        while some := list(islice(names, _LOOKED_UP)):
            found = store.find(some)
            yield from map(found.get, some)

    # this run

    def begin(self, facts: Mapping[str, str]) -> None:
        """Begin a new run; `facts` describe the request."""
        self._run += 1
        self._phase = Phase.SENDING
        self._remember({**facts, "run": str(self._run), "phase": self._phase}, begin_run(self._run, self._phase, facts))

    def plan(self, items: Sequence[UploadItem], resource: ResourceRef) -> None:
        """Enter items that are sent later in this run; entries of earlier runs for the same files are kept."""
        with self._lock:
            numbers = self._states.enter(items, resource)
        before = self.recorded(items, resource)
        self._write_rows(
            self._row(number, item, resource, None)
            if past is None
            else (_KEEP, (self._run, encode(record_name(item, resource))))
            for number, item, past in zip(numbers, items, before, strict=True)
        )

    def open(
        self,
        items: Sequence[UploadItem],
        proven: Sequence[int] = (),
        resource: ResourceRef | None = None,
        *,
        there: Sequence[int] = (),
    ) -> Sequence[UploadItem]:
        """Enter the items of a stage; returns those that are still to be sent.

        `proven` marks the items that an earlier run delivered and that are still there. `there` marks those among them
        that the session held before and no run of this journal delivered.
        """
        with self._lock:
            numbers = self._states.enter(items, resource)
        marks = proven or bytes(len(items))
        before = self.recorded(items, resource) if any(marks) else repeat(None, len(items))
        self._write_rows(
            self._opened(number, item, resource, past if mark else None, skip=bool(mark))
            for number, item, past, mark in zip(numbers, items, before, marks, strict=True)
        )
        with self._lock:
            for number, mark in zip(numbers, there, strict=False):
                if mark:
                    self._states.skip(number, _THERE)
        left = StateView(self._states, numbers).undelivered
        return items if len(left) == len(items) else left.items

    def _opened(
        self, number: int, item: UploadItem, resource: ResourceRef | None, past: JournalEntry | None, *, skip: bool
    ) -> Statement:
        if skip:
            with self._lock:
                self._states.skip(number, past.reason if past is not None and past.outcome.delivered else None)
        return self._row(number, item, resource, past)

    def _write_rows(self, rows: Iterator[Statement]) -> None:
        while some := list(islice(rows, _ROWS)):
            self._write(some)

    def _row(self, number: int, item: UploadItem, resource: ResourceRef | None, past: JournalEntry | None) -> Statement:
        """The row of an item; keeps what an earlier entry recorded."""
        outcome = self._states.outcome(number)
        if past is not None and not outcome.delivered:
            outcome = past.outcome
        digest = self._states.digest(number) or (past.digest if past is not None else None)
        identity = map(stored, (item.size, *item.status))
        name = encode(record_name(item, resource))
        return (_UPSERT, (name, encode(item.path), *identity, digest, self._run, str(outcome)))

    def intend(self, batch: Batch) -> None:
        """Record that the items of a batch are about to be sent."""
        statements: list[Statement] = []
        with self._lock:
            for item in batch.items:
                number = self._states.number(item.path)
                self._flying[item.path] = (number, item)
                self._states.intend(number)
                statements.append((_INTEND, (encode(record_name(item, self._states.resource(number))),)))
        self._write(statements, flush=self._due(batch.items))

    def digest(self, item: UploadItem, digest: str) -> None:
        """Set the digest (hex) of the bytes that were read from an item; stored with its outcome."""
        with self._lock:
            number = self._flying[item.path][0] if item.path in self._flying else self._states.number(item.path)
            self._states.keep_digest(number, digest)

    def digest_of(self, item: UploadItem) -> str | None:
        """The digest of the bytes that this run read from an item; None if it read none."""
        with self._lock:
            number = self._states.find(item.path)
            return self._states.digest(number) if number is not None else None

    def is_as_sent(self, item: UploadItem) -> bool:
        """False if the content of the file differs from what was sent; reads the whole file."""
        with self._lock:
            number = self._states.find(item.path)
            name = self._states.name(number) if number is not None else record_name(item)
            digest = self._states.digest(number) if number is not None else None
        if digest is None and self._store is not None:
            self.sync()
            past = self._store.find([name]).get(name)
            digest = past.digest if past is not None else None
        if digest is None:
            return True  # it was not sent
        try:
            return has_content(item, digest)
        except SourceChanged:
            return False

    def record(
        self, outcomes: Sequence[ItemOutcome], *, flush: bool = True, later: bool = False
    ) -> list[tuple[UploadItem, bool]]:
        """Record the outcomes of items of one batch.

        Returns the items, each with whether this run had delivered it before.

        Without `flush` the record is durable with the next write. `later`: it is written with the next intent or by
        `sync`, whichever is first.
        """
        statements: list[Statement] = []
        items: list[tuple[UploadItem, bool]] = []
        states = self._states
        with self._lock:
            outcomes = [self._without_secrets(outcome) for outcome in outcomes]
            for outcome in outcomes:
                number, item = self._landed(outcome.path)
                items.append((item, states.taken(number)))
                remembered = states.record(number, outcome)
                text = outcome.reason or outcome.note
                reason = encode(self._redactor.redact(text)) if text is not None else None
                resource, digest = states.resource(number), states.digest(number)
                name = encode(record_name(item, resource))
                statements.append((_RECORD, (str(remembered), reason, outcome.uri, digest, name)))
                if resource is None and self._store is not None:
                    states.keep_digest(number, None)  # stored only in the file
            new = {outcome.uri for outcome in outcomes if outcome.uri} - self._places
            self._places |= new
        statements += [("INSERT OR IGNORE INTO places VALUES (?)", (uri,)) for uri in new]
        flush = bool(new) or (flush and self._due([item for item, _ in items]))
        self._write(statements, flush=flush, later=later and not new)
        return items

    def _without_secrets(self, outcome: ItemOutcome) -> ItemOutcome:
        """The outcome with secrets masked in its URI; its texts are masked where they are stored or printed."""
        if outcome.uri is None or outcome.uri in self._places:
            return outcome
        uri = self._redactor.redact_output(str(outcome.uri))
        return outcome if uri == outcome.uri else replace(outcome, uri=uri)

    def _landed(self, path: str) -> tuple[int, UploadItem]:
        if path in self._flying:
            return self._flying.pop(path)
        number = self._states.number(path)
        return number, self._states.items[number]

    def sync(self) -> None:
        """Write deferred records, because the next write may be far away."""
        if self._store:
            self._store.write()

    def _due(self, items: Sequence[UploadItem]) -> bool:
        """Whether to wait for the disk: for the first record, for large batches, and after a time."""
        now = time.monotonic()
        files, size = _FEW
        if len(items) > files or sum(item.size for item in items) > size:
            return True
        with self._lock:
            due = now - self._flushed >= _UNFLUSHED
            if due:
                self._flushed = now
            return due

    @property
    def total(self) -> int:
        """The number of entered items."""
        return len(self._states)

    def number(self, item: UploadItem) -> int | None:
        """The number of an item; None if it was not entered."""
        return self._states.find(item.path)

    def item(self, number: int) -> UploadItem:
        """An item by its number."""
        return self._states.items[number]

    def enter(self, phase: str) -> None:
        """Enter the next phase of the run."""
        self._phase = phase
        self._remember({"phase": phase}, set_phase(self._run, phase))

    def remember(self, **facts: str) -> None:
        """Store facts about this run; they are on disk when this returns."""
        self._remember(facts, ())

    def doubt(self, items: Iterable[UploadItem]) -> None:
        """Mark delivered items that are not on the server; the next run sends them again."""
        with self._lock:
            names = [self._states.name(self._states.number(item.path)) for item in items]
        self._write([(_OUTCOME, (str(Outcome.MISSING), encode(name))) for name in names])

    def take_back(self, items: Iterable[UploadItem]) -> None:
        """Mark items whose files changed after the run; the next run sends them again."""
        self._write([(_OUTCOME, (str(Outcome.CHANGED), encode(record_name(item)))) for item in items])
        self.enter(Phase.SETTLING)

    def reached(self, items: Iterable[UploadItem], findings: Iterable[int]) -> None:
        """Set the finding for each item from the server's listings."""
        with self._lock:
            for item, finding in zip(items, findings, strict=True):
                self._states.set_finding(self._states.number(item.path), finding)

    def skipped(self, item: UploadItem) -> bool:
        """Whether this run skipped an item because an earlier run had delivered it."""
        with self._lock:
            return self._states.skipped(self._states.number(item.path))

    def was_there(self, item: UploadItem) -> bool:
        """Whether the session held an item before and no run of this journal delivered it."""
        with self._lock:
            return self._states.note(self._states.number(item.path)) == _THERE

    def stored_before(self, item: UploadItem) -> str | None:
        """Stored size and sum of an instance before it was sent again; None if it was not."""
        return self._again.get(record_name(item))

    def send_again(self, stored: Iterable[tuple[UploadItem, str]]) -> None:
        """Record that instances are to be sent again, by this run or the next, with their stored size and MD5.

        Until they are sent again they count as missing.
        """
        facts = {record_name(item): text for item, text in stored}
        self._again |= facts
        missing = [(_OUTCOME, (str(Outcome.MISSING), encode(name))) for name in facts]
        self._write([*set_meta({f"{_AGAIN}{name}": text for name, text in facts.items()}), *missing])

    def states(self, resource: ResourceRef | Literal["all"] | None = "all") -> StateView:
        """The states of all items in plan order, or of those of one resource; None selects the instances."""
        with self._lock:
            numbers = range(len(self._states))
            if resource == "all":
                return StateView(self._states, numbers)
            of = self._states.resource
            return StateView(self._states, array("I", (number for number in numbers if of(number) == resource)))

    def close(self) -> None:
        """Close the file."""
        if self._store:
            self._store.close()

    def _remember(self, facts: Mapping[str, str], more: Sequence[Statement]) -> None:
        self._write([*set_meta({**facts, "updated": f"{time.time():.0f}"}), *more])

    def _write(self, statements: Sequence[Statement], *, flush: bool = True, later: bool = False) -> None:
        if self._store and statements:
            self._store.write(*statements, flush=flush, later=later)
