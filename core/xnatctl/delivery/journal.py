"""What is known of each item: intent before the first byte, outcome after the answer.

The engine writes here and nowhere else, so everything that a run must remember passes through `Journal`. With a
`Store` beneath it is durable, and the next run goes on from it; without one it ends with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Literal

from xnatctl.delivery.store import Past, Statement, Store, encode, set_meta
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.model.refs import ResourceRef

_UPSERT: Final = """
INSERT INTO items (name, path, size, mtime_ns, digest, run, outcome, reason, uri, attempts)
VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0)
ON CONFLICT (name) DO UPDATE SET path = excluded.path, size = excluded.size, mtime_ns = excluded.mtime_ns,
    run = excluded.run, reason = NULL, outcome = excluded.outcome, digest = excluded.digest
"""
_INTEND: Final = "UPDATE items SET outcome = 'sending', attempts = attempts + 1, digest = NULL WHERE name = ?"
_RECORD: Final = "UPDATE items SET outcome = ?, reason = ?, uri = coalesce(?, uri), digest = ? WHERE name = ?"
_OUTCOME: Final = "UPDATE items SET outcome = ? WHERE name = ?"

#: Rows of one transaction when the plan is entered; bounds memory.
_ROWS: Final = 5000
#: Seconds by which a power cut may set back the record of files that go one by one. The plan and the first intent are
#: on the disk before the first byte; what is forgotten of the rest is sent again under the same names, and waiting for
#: the disk twice for each small file would cost more than sending it. A killed process forgets one answer a worker.
_UNFLUSHED: Final = 1.0
#: A batch of more files or bytes costs more to send again than to wait for the disk: its words are durable at once.
_FEW: Final = (8, 4 * 2**20)


class Phase:
    """How far a run came; the words of `upload status`."""

    SENDING = "sending"
    SETTLING = "settling"
    ATTACHING = "attaching"
    DONE = "done"


def record_name(item: UploadItem, resource: ResourceRef | None = None) -> str:
    """What an item is called in the journal: by its member name, and in a resource by the resource as well."""
    return item.name if resource is None else f"{resource.key}/{item.name}"


@dataclass(slots=True)
class ItemState:
    """The latest word on one item. `attempts` counts requests that carried it.

    `resource` is None for an instance; `digest` is that of the bytes that were read for sending, once all were.
    """

    item: UploadItem
    resource: ResourceRef | None = None
    outcome: Outcome = Outcome.PLANNED
    failure: FailureClass = FailureClass.NONE
    reason: str | None = None
    note: str | None = None
    uri: str | None = None
    attempts: int = 0
    skipped: bool = False
    digest: str | None = None

    @property
    def name(self) -> str:
        """What it is called in the journal."""
        return record_name(self.item, self.resource)


class Journal:
    """The record of a run. Every method may be called from any worker; raises JournalError when it cannot be kept."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._states: dict[str, ItemState] = {}
        self._groups: dict[ResourceRef | None, list[ItemState]] = {}
        self._places: set[str] = set(store.places()) if store else set()
        meta = store.meta() if store else {}
        self._run = int(meta.get("run", "0"))
        self._phase = meta.get("phase", "")
        self._before = meta
        self._flushed = -_UNFLUSHED

    # what earlier runs knew

    @property
    def resuming(self) -> bool:
        """True when an earlier run began here."""
        return self._run > 0

    @property
    def unfinished(self) -> bool:
        """True when an earlier run sent something, or may have, and did not come to its end."""
        return self._store is not None and self._phase != Phase.DONE and self._store.tried()

    @property
    def phase(self) -> str:
        """How far the run came, or the one before it came; empty for a new journal."""
        return self._phase

    def before(self, fact: str) -> str:
        """A fact about the run before this one; empty for a new journal."""
        return self._before.get(fact, "")

    @property
    def places(self) -> frozenset[str]:
        """The URIs that the server answered, in this run and before."""
        with self._lock:
            return frozenset(self._places)

    def past(self) -> Mapping[str, Past]:
        """What earlier runs recorded, by member name."""
        return self._store.past() if self._store else {}

    # this run

    def begin(self, facts: Mapping[str, str]) -> None:
        """A new run begins; `facts` say what was asked for."""
        self._run += 1
        self._phase = Phase.SENDING
        self._remember({**facts, "run": str(self._run), "phase": self._phase})

    def plan(self, items: Iterable[UploadItem], resource: ResourceRef, past: Mapping[str, Past]) -> None:
        """Enter items that are sent later in this run; what an earlier run knew of the same files (`past`) stays."""
        states = self._states_of(items, resource)
        self._enter((state, _still(past.get(state.name), state.item)) for state in states)

    def open(
        self,
        items: Iterable[UploadItem],
        proven: Collection[str] = (),
        resource: ResourceRef | None = None,
        past: Mapping[str, Past] | None = None,
    ) -> tuple[UploadItem, ...]:
        """Enter the items of a stage; returns those that are still to be sent.

        `proven` are the member names of those that an earlier run delivered, and that are still there; `past` is what
        it recorded, where that was read already.
        """
        if past is None:
            past = self.past() if proven else {}
        states = self._states_of(items, resource)
        with self._lock:
            for state in states:
                if state.item.name in proven:
                    state.outcome, state.skipped = Outcome.ACCEPTED, True
                    before = past.get(state.name)
                    state.note = before.reason if before is not None and before.outcome.delivered else None
        self._enter((state, past.get(state.name) if state.skipped else None) for state in states)
        return tuple(state.item for state in states if not state.outcome.delivered)

    def _states_of(self, items: Iterable[UploadItem], resource: ResourceRef | None) -> list[ItemState]:
        with self._lock:
            return [self._states.get(item.path) or self._new_state(item, resource) for item in items]

    def _new_state(self, item: UploadItem, resource: ResourceRef | None) -> ItemState:
        state = self._states[item.path] = ItemState(item, resource)
        self._groups.setdefault(resource, []).append(state)
        return state

    def _enter(self, entries: Iterator[tuple[ItemState, Past | None]]) -> None:
        """Write rows; what the past knew of one is kept in it."""
        while some := [self._entry(state, past) for state, past in islice(entries, _ROWS)]:
            self._write(some)

    def _entry(self, state: ItemState, past: Past | None) -> Statement:
        item = state.item
        outcome = past.outcome if past is not None and not state.outcome.delivered else state.outcome
        digest = state.digest or (past.digest if past is not None else None)
        fields = (encode(state.name), encode(item.path), item.size, item.mtime_ns, digest, self._run)
        return (_UPSERT, (*fields, str(outcome)))

    def intend(self, batch: Batch) -> None:
        """The items of the batch are about to be sent."""
        with self._lock:
            for item in batch.items:
                state = self._states[item.path]
                state.outcome = Outcome.SENDING
                state.attempts += 1
                state.skipped = False  # proven before, and missing all the same
                state.digest = None
            names = [self._states[item.path].name for item in batch.items]
        self._write([(_INTEND, (encode(name),)) for name in names], flush=self._due(batch.items))

    def digest(self, item: UploadItem, digest: str) -> None:
        """The digest of the bytes that were read of an item, in hex; becomes durable with its outcome."""
        with self._lock:
            self._states[item.path].digest = digest

    def digest_of(self, item: UploadItem) -> str | None:
        """The digest of the bytes that were read of an item in this run; None when they were not."""
        with self._lock:
            state = self._states.get(item.path)
            return state.digest if state is not None else None

    def record(self, outcomes: Sequence[ItemOutcome], *, flush: bool = True, later: bool = False) -> None:
        """What the answer, or its absence, made of items of one batch.

        Without `flush` it goes to the disk with what comes next. `later`: it is written together with the next intent,
        or by `sync`, whichever comes first.
        """
        statements: list[Statement] = []
        with self._lock:
            for outcome in outcomes:
                state = self._states[outcome.path]
                state.outcome = outcome.outcome
                state.failure = outcome.failure
                state.reason = outcome.reason
                state.note = outcome.note
                state.uri = outcome.uri or state.uri
                said = outcome.reason or outcome.note
                reason = encode(said) if said is not None else None
                statements.append(
                    (_RECORD, (str(outcome.outcome), reason, outcome.uri, state.digest, encode(state.name)))
                )
                if state.resource is None:
                    state.digest = None  # kept in the file alone
            new = {outcome.uri for outcome in outcomes if outcome.uri} - self._places
            self._places |= new
        statements += [("INSERT OR IGNORE INTO places VALUES (?)", (uri,)) for uri in new]
        flush = bool(new) or (flush and self._due([self.item(outcome.path) for outcome in outcomes]))
        self._write(statements, flush=flush, later=later and not new)

    def sync(self) -> None:
        """Write what was recorded for later: nothing follows for a while."""
        if self._store:
            self._store.write()

    def _due(self, items: Sequence[UploadItem]) -> bool:
        """Whether to wait for the disk: at the first word of a run, for what is much, and when it is long ago."""
        now = time.monotonic()
        files, size = _FEW
        if len(items) > files or sum(item.size for item in items) > size:
            return True
        with self._lock:
            due = now - self._flushed >= _UNFLUSHED
            if due:
                self._flushed = now
            return due

    def item(self, path: str) -> UploadItem:
        """An item of the plan by its path."""
        return self._states[path].item

    def enter(self, phase: str) -> None:
        """The run goes into its next phase."""
        self._phase = phase
        self._remember({"phase": phase})

    def doubt(self, items: Iterable[UploadItem]) -> None:
        """These were delivered once, but are not on the server: the next run sends them again."""
        with self._lock:
            names = [self._states[item.path].name for item in items]
        self._write([(_OUTCOME, (str(Outcome.MISSING), encode(name))) for name in names])

    def states(self, resource: ResourceRef | Literal["all"] | None = "all") -> tuple[ItemState, ...]:
        """The state of every item, in the order of the plan; or of those of one resource, None for the instances."""
        with self._lock:
            if resource == "all":
                return tuple(self._states.values())
            return tuple(self._groups.get(resource, ()))

    def close(self) -> None:
        """Let go of the file."""
        if self._store:
            self._store.close()

    def _remember(self, facts: Mapping[str, str]) -> None:
        self._write(set_meta({**facts, "updated": f"{time.time():.0f}"}))

    def _write(self, statements: Sequence[Statement], *, flush: bool = True, later: bool = False) -> None:
        if self._store and statements:
            self._store.write(*statements, flush=flush, later=later)


def _still(before: Past | None, item: UploadItem) -> Past | None:
    """What the past knows of a file as it is now: of one that changed since it was delivered, that it did."""
    if before is None or before.describes(item):
        return before
    return replace(before, outcome=Outcome.CHANGED, digest=None) if before.outcome.delivered else None
