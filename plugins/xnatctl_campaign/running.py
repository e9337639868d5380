"""Carries out a campaign: which rows are left, in which order, and what their results mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import Protocol

from xnatctl_campaign.claims import Claims
from xnatctl_campaign.results import RowResult, RowWork
from xnatctl_campaign.stopping import Stop
from xnatctl_campaign.worker_link import WORKER_ENDED

#: The state of a result for a row that another living worker holds.
HELD = "held"
#: Seconds between two looks at rows that others hold.
_LOOK = 2.0


class Executor(Protocol):
    """Delivers rows in some order; see `xnatctl_executors`."""

    def run(self, rows: Iterable[int], work: RowWork) -> Iterator[RowResult]: ...


class Proof(Protocol):
    """Knows which rows need no delivery."""

    def holds(self, row: int) -> bool:
        """Whether a row is proven, and its files are as they were."""

    def refresh(self) -> None:
        """Read again what other workers did."""


class Watch(Protocol):
    """Shows what a run does."""

    def passed(self, row: int) -> None:
        """A row is proven already."""

    def ended(self, result: RowResult) -> None:
        """The delivery of a row has ended, or another worker holds it."""

    def waiting(self, rows: Sequence[int]) -> None:
        """Other workers hold these rows, and nothing else is left."""


class Run:
    """One run of rows.

    `begin` returns the executor and its work; it is called when the first row is found that is not proven, so that a
    run with nothing to do needs no login. `died` gets the result of a row whose worker died, so that no other process
    entered it in the ledger.
    """

    def __init__(
        self,
        rows: Iterable[int],
        begin: Callable[[], tuple[Executor, RowWork]],
        *,
        proof: Proof,
        stop: Stop,
        watch: Watch,
        claims: Claims,
        died: Callable[[RowResult], None],
    ) -> None:
        self._rows = rows
        self._begin = begin
        self._proof = proof
        self._stop = stop
        self._watch = watch
        self._claims = claims
        self._died = died
        self._held: list[int] = []

    def carry_out(self) -> None:
        """Deliver every row that is not proven; rows that other workers hold come last. Raises what interrupts it."""
        left = self._left(self._rows)
        if (first := next(left, None)) is None:
            return
        executor, work = self._begin()
        rows: Iterable[int] = chain((first,), left)
        while True:
            with closing(executor.run(rows, work)) as results:  # type: ignore[type-var]
                for result in results:
                    self._take(result)
            if not self._held or self._stop():
                return
            rows = self._left(self._released())

    def _left(self, rows: Iterable[int]) -> Iterator[int]:
        """The rows that are not proven, as an executor takes them."""
        for row in rows:
            if self._stop():
                return
            if self._proof.holds(row):
                self._watch.passed(row)
            else:
                yield row

    def _take(self, result: RowResult) -> None:
        if result.state == HELD:
            self._held.append(result.row)
        else:
            self._stop.take(result)
        if result.code == WORKER_ENDED:
            self._died(result)
        self._watch.ended(result)

    def _released(self) -> list[int]:
        """Wait until some of the rows that others hold are free; those that are not stay held."""
        self._watch.waiting(self._held)
        while not self._stop():
            if free := [row for row in self._held if self._is_free(row)]:
                self._held = [row for row in self._held if row not in set(free)]
                self._proof.refresh()
                return free
            time.sleep(_LOOK)
        return []

    def _is_free(self, row: int) -> bool:
        """Whether the worker of a row has ended or is dead: only then a claim succeeds."""
        claim = self._claims.take(row)
        if claim is not None:
            claim.end()
        return claim is not None
