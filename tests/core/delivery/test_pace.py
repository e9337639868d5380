"""More in flight while that pays, fewer when the server has too much; a number that the user named is kept."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from xnatctl.delivery.engine.concurrency import ConcurrencyLimiter
from xnatctl.delivery.engine.worker_pool import Engine
from xnatctl.delivery.journal.journal import Journal
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch
from xnatctl.testing import make_context, make_item

FINE = (ItemOutcome(path="a", outcome=Outcome.ACCEPTED),)


def failed(failure: FailureClass) -> tuple[ItemOutcome, ...]:
    return (ItemOutcome(path="a", outcome=Outcome.AMBIGUOUS, failure=failure),)


class Server:
    """Simulated: each request takes `seconds`, at most `capacity` at once."""

    def __init__(self, pace: ConcurrencyLimiter, seconds: float = 0.02, capacity: int = 100) -> None:
        self.pace = pace
        self.seconds, self.capacity = seconds, capacity
        self.limits: list[int] = []

    def answer(self, count: int, clock: list[float], outcomes=FINE) -> None:
        for _ in range(count):
            clock[0] += self.seconds / min(self.pace.limit, self.capacity)
            self.pace.observe(outcomes)
            self.limits.append(self.pace.limit)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def pace(clock: list[float]) -> ConcurrencyLimiter:
    return ConcurrencyLimiter(4, 16, clock=lambda: clock[0])


def test_it_grows_as_long_as_more_at_once_is_faster(pace: ConcurrencyLimiter, clock: list[float]) -> None:
    Server(pace).answer(2000, clock)
    assert pace.limit == 16


def test_it_stays_where_the_server_has_enough(pace: ConcurrencyLimiter, clock: list[float]) -> None:
    server = Server(pace, capacity=8)
    server.answer(6000, clock)
    late = server.limits[2000:]
    assert max(late) <= 10
    assert sorted(late)[len(late) // 2] == 8


@pytest.mark.parametrize(
    "failure",
    [FailureClass.THROTTLED, FailureClass.TRANSIENT, FailureClass.CONCURRENT, FailureClass.ANSWER_LOST],
)
def test_it_falls_by_half_once_for_each_trouble(
    pace: ConcurrencyLimiter, clock: list[float], failure: FailureClass
) -> None:
    server = Server(pace)
    server.answer(2000, clock)
    for _ in range(16):  # all that were in flight meet it
        pace.observe(failed(failure))
    assert pace.limit == 8
    pace.observe(failed(failure))
    assert pace.limit == 4


def test_one_refused_file_is_no_burst(pace: ConcurrencyLimiter, clock: list[float]) -> None:
    server = Server(pace)
    server.answer(2000, clock)
    pace.observe(failed(FailureClass.UNPARSABLE))
    assert pace.limit == 16
    for _ in range(2):
        pace.observe(failed(FailureClass.UNPARSABLE))
    assert pace.limit == 8


def test_it_never_stops_and_comes_back(pace: ConcurrencyLimiter, clock: list[float]) -> None:
    for _ in range(200):
        pace.observe(failed(FailureClass.TRANSIENT))
    assert pace.limit == 1
    Server(pace).answer(4000, clock)
    assert pace.limit > 4


def test_a_number_that_was_named_is_kept(clock: list[float]) -> None:
    pace = ConcurrencyLimiter(4, clock=lambda: clock[0])
    server = Server(pace)
    server.answer(1000, clock)
    server.answer(100, clock, failed(FailureClass.TRANSIENT))
    assert set(server.limits) == {4}


class Crowd:
    """A transport whose later batches wait for each other: they are answered only when `together` are in flight."""

    together = threading.Barrier(6)

    def __init__(self, context) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def describe(self):
        return {}

    def batches(self, items, workers):
        return [Batch(id=item.path, items=(item,)) for item in items]

    def send(self, batch, emit):
        (item,) = batch.items
        if item.path.startswith("late"):
            self.together.wait(60)
        else:
            threading.Event().wait(0.02)
        return BatchResult(outcomes=(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED),))

    def close(self) -> None:
        pass


def test_the_engine_gives_work_to_more_workers_when_the_pace_grows(tmp_path: Path) -> None:
    paths = [f"early{number:03}" for number in range(80)] + [f"late{number}" for number in range(12)]
    items = []
    for path in paths:
        (tmp_path / path).write_bytes(b"x")
        items.append(make_item(tmp_path / path, path=path, resource_name=f"{path}.dcm"))
    journal = Journal()
    journal.open(items)
    Engine(Crowd, replace(make_context(), workers=4), journal, tell=lambda event: None, most=16).send(items)
    assert {state.outcome for state in journal.states()} == {Outcome.ACCEPTED}
