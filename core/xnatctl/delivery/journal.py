"""What is known of each item: intent before the first byte, outcome after the answer.

The engine writes here and nowhere else, so everything that a run must remember passes through `Journal`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem


@dataclass(slots=True)
class ItemState:
    """The latest word on one item. `attempts` counts requests that carried it."""

    item: UploadItem
    outcome: Outcome = Outcome.PLANNED
    failure: FailureClass = FailureClass.NONE
    reason: str | None = None
    note: str | None = None
    uri: str | None = None
    attempts: int = 0
    skipped: bool = False


class Journal(Protocol):
    """The record of a run. Every method may be called from any worker."""

    def open(self, items: Iterable[UploadItem]) -> tuple[UploadItem, ...]:
        """Enter the items of the plan; returns those that are still to be sent."""
        ...

    def intend(self, batch: Batch) -> None:
        """The items of the batch are about to be sent."""
        ...

    def record(self, outcome: ItemOutcome) -> None:
        """What the answer, or its absence, made of one item."""
        ...

    def states(self) -> tuple[ItemState, ...]:
        """The state of every item, in the order of the plan."""
        ...


class RunJournal:
    """The journal of one run, in memory: it forgets when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, ItemState] = {}

    def open(self, items: Iterable[UploadItem]) -> tuple[UploadItem, ...]:
        with self._lock:
            for item in items:
                self._states.setdefault(item.path, ItemState(item))
            return tuple(state.item for state in self._states.values() if not state.outcome.delivered)

    def intend(self, batch: Batch) -> None:
        with self._lock:
            for item in batch.items:
                state = self._states[item.path]
                state.outcome = Outcome.SENDING
                state.attempts += 1

    def record(self, outcome: ItemOutcome) -> None:
        with self._lock:
            state = self._states[outcome.path]
            state.outcome = outcome.outcome
            state.failure = outcome.failure
            state.reason = outcome.reason
            state.note = outcome.note
            state.uri = outcome.uri or state.uri

    def states(self) -> tuple[ItemState, ...]:
        with self._lock:
            return tuple(self._states.values())
