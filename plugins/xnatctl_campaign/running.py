"""Carries out a campaign: which rows are left, in which order, and what their results mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain
from typing import Protocol

from xnatctl.api import Executor, RowResult, RowWork
from xnatctl_campaign.claims import Claims, Holding
from xnatctl_campaign.stopping import Stop
from xnatctl_campaign.worker_link import WORKER_ENDED

#: The state of a result for a row that another living worker holds.
HELD = "held"
#: Seconds between two looks at rows that others hold.
_LOOK = 2.0
#: Leases for which a run without rows waits for the death of workers of other rows; one shows it.
_PATIENCE = 1.2


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

    def adopted(self, row: int) -> None:
        """A row that another process left is delivered, too."""

    def waiting(self, rows: Sequence[int]) -> None:
        """Other workers hold these rows, and nothing else is left."""


class Run:
    """One run of rows.

    `begin` returns the executor and its work; it is called when the first row is found that is not proven, so that a
    run with nothing to do needs no login. `died` gets the result of a row whose worker died, so that no other process
    entered it in the ledger. `later` are rows that need sessions of others, so they begin after all `rows` have ended.
    `others` are rows outside of this run; those that a dead worker left are delivered, too.
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
        later: Iterable[int] = (),
        others: Iterable[int] = (),
    ) -> None:
        self._rows = rows
        self._later = later
        self._begin = begin
        self._proof = proof
        self._stop = stop
        self._watch = watch
        self._claims = claims
        self._died = died
        self._others = others
        self._held: list[int] = []

    def carry_out(self) -> None:
        """Deliver every row that is not proven; rows that other workers hold come last. Raises what interrupts it."""
        for rows in (self._rows, self._later):
            self._deliver(rows)
            while self._held and not self._stop():
                self._deliver(self._released())
        candidates, end = list(self._others), time.monotonic() + _PATIENCE * self._claims.lease
        while candidates and not self._stop() and time.monotonic() < end:
            dead, candidates = self._dead(candidates)
            self._deliver(self._adopted(dead))
            if candidates:
                time.sleep(_LOOK)

    @cached_property
    def _started(self) -> tuple[Executor, RowWork]:
        return self._begin()

    def _deliver(self, rows: Iterable[int]) -> None:
        """Deliver those of the rows that are not proven."""
        left = self._left(rows)
        if (first := next(left, None)) is None:
            return
        executor, work = self._started
        with closing(executor.run(chain((first,), left), work)) as results:  # type: ignore[type-var]  # a generator
            for result in results:
                self._take(result)

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

    def _dead(self, rows: Sequence[int]) -> tuple[list[int], list[int]]:
        """The rows whose workers are dead, and those whose workers may live; the workers of the others have ended."""
        held = [row for row in rows if self._claims.state_of(row).holding in (Holding.HELD, Holding.DEAD)]
        dead = [row for row in held if self._is_free(row)]
        return dead, [row for row in held if row not in set(dead)]

    def _adopted(self, rows: Sequence[int]) -> Iterator[int]:
        """Rows that dead workers left, as part of this run."""
        if rows:
            self._proof.refresh()
        for row in rows:
            if not self._proof.holds(row):
                self._watch.adopted(row)
                yield row

    def _is_free(self, row: int) -> bool:
        """Whether the worker of a row has ended or is dead: only then a claim succeeds."""
        claim = self._claims.take(row)
        if claim is not None:
            claim.end()
        return claim is not None
