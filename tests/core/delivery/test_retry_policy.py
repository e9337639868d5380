"""Waiting and giving up, as properties: whatever the failures are, no wait is absurd and none goes on for ever."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnatctl.delivery.engine import Engine
from xnatctl.delivery.journal import Journal
from xnatctl.delivery.retry import COMMON, STOPPING, Pause, RetryPolicy, outcome_for
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, Source, UploadItem
from xnatctl.model.refs import Destination
from xnatctl.plugin.protocols import TransportContext

CLASSES = [failure for failure in FailureClass if failure is not FailureClass.NONE]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def policy(seed=0, **more):
    clock = Clock()
    return RetryPolicy(random=random.Random(seed), clock=clock, **more), clock


@given(st.sampled_from(CLASSES), st.integers(1, 50), st.integers(0, 10**6))
def test_a_wait_lies_between_the_floor_and_the_cap(failure, attempt, seed):
    rules, _ = policy(seed)
    wait = rules.delay(failure, attempt)
    if wait is not None:
        ceiling = min(rules.cap, rules.base * 2 ** (attempt - 1))
        assert ceiling / 2 <= wait <= ceiling


@given(st.sampled_from(sorted(COMMON)), st.floats(-1e12, 1e12, allow_nan=False), st.integers(0, 100))
def test_retry_after_rules_when_it_is_named_and_is_capped(failure, seconds, seed):
    rules, _ = policy(seed)
    assert rules.delay(failure, 1, seconds) == min(max(seconds, 0), rules.retry_after_cap)


@given(st.sampled_from(CLASSES), st.integers(0, 1000))
def test_every_class_ends(failure, seed):
    rules, clock = policy(seed)
    attempt, waited = 1, 0.0
    while (wait := rules.delay(failure, attempt)) is not None:
        clock.now += wait
        waited += wait
        attempt += 1
        assert attempt < 20
    assert waited <= rules.patience + rules.cap


def test_waits_are_spread_so_that_workers_do_not_come_back_together():
    rules, _ = policy(3)
    waits = {round(rules.delay(FailureClass.TRANSIENT, 1), 4) for _ in range(50)}
    assert len(waits) > 40


def test_a_blip_that_hits_every_worker_at_once_does_not_end_the_run():
    """A server that restarts fails all of 16 workers in the same second; that is one failure, not sixteen."""
    rules, _ = policy()
    assert all(rules.delay(FailureClass.UNREACHABLE, 1) is not None for _ in range(16))


def test_one_success_of_any_worker_refills_the_budget():
    rules, clock = policy()
    begun = clock()
    assert rules.delay(FailureClass.TRANSIENT, 1) is not None
    clock.now += rules.patience + 1
    assert rules.delay(FailureClass.TRANSIENT, 2) is None
    assert rules.dead(begun)
    rules.succeeded()
    assert not rules.dead(begun)
    assert rules.delay(FailureClass.TRANSIENT, 2) is not None


def test_a_wait_that_the_server_asked_for_is_not_held_against_it():
    rules, clock = policy()
    assert rules.delay(FailureClass.THROTTLED, 1, 300) == 300
    clock.now += 300
    assert rules.delay(FailureClass.TRANSIENT, 2) is not None


# the pool under random weather

FAILURES = st.sampled_from([f for f in CLASSES if f not in STOPPING])
WEATHER = st.lists(st.one_of(st.none(), FAILURES), min_size=0, max_size=60)


class Virtual(Pause):
    """Waits that take no time."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def wait(self, seconds):
        assert seconds >= 0
        self.clock.now += seconds
        return not self.stopped


class Transport:
    """Cuts into batches of three; each request meets the next weather."""

    def __init__(self, weather, sent, lock):
        self.weather, self.sent, self.lock = weather, sent, lock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def batches(self, items, workers):
        return [Batch(id=str(i), items=tuple(items[i : i + 3])) for i in range(0, len(items), 3)]

    def send(self, batch, emit):
        with self.lock:
            failure = self.weather.pop() if self.weather else None
            outcome = Outcome.ACCEPTED if failure is None else outcome_for(failure)
            self.sent += [(item.path, outcome) for item in batch.items]
        return BatchResult(
            outcomes=tuple(
                ItemOutcome(path=item.path, outcome=outcome, failure=failure or FailureClass.NONE)
                for item in batch.items
            )
        )

    def close(self):
        return None


def make_item(number):
    path = f"{number:03d}"
    return UploadItem(path=path, name=f"{path}.dcm", source=Source(path=path), size=1, mtime_ns=0)


@settings(max_examples=150, deadline=None)
@given(WEATHER, st.integers(1, 20), st.integers(1, 6))
def test_the_pool_ends_with_a_word_on_each_file_and_never_repeats_a_success(weather, count, workers):
    sent, lock = [], threading.Lock()
    rules, clock = policy()
    remaining = list(weather)
    context = TransportContext(
        destination=Destination(server="", project="P", subject="S", session="E"),
        workers=workers,
        options={},
        open_item=lambda item: None,
    )
    journal = Journal()
    items = [make_item(number) for number in range(count)]
    engine = Engine(
        lambda _: Transport(remaining, sent, lock),
        context,
        journal,
        tell=lambda event: None,
        policy=rules,
        pause=Virtual(clock),
    )
    engine.send(journal.open(items))
    states = {state.item.path: state for state in journal.states()}
    assert len(states) == count
    delivered = Counter(path for path, outcome in sent if outcome is Outcome.ACCEPTED)
    for path, state in states.items():
        assert state.outcome is not Outcome.SENDING
        assert delivered[path] <= 1
        assert state.outcome.delivered == (delivered[path] == 1)
        if state.outcome is Outcome.PLANNED:
            assert engine.stopped_by is not None
    if not weather:
        assert all(state.outcome is Outcome.ACCEPTED for state in states.values())
        assert len(sent) == count


@pytest.mark.parametrize("failure", sorted(COMMON))
def test_a_dead_server_is_noticed_by_the_first_failures_and_not_by_each_file(failure):
    sent, lock = [], threading.Lock()
    rules, clock = policy()
    context = TransportContext(
        destination=Destination(server="", project="P", subject="S", session="E"),
        workers=4,
        options={},
        open_item=lambda item: None,
    )
    journal = Journal()
    engine = Engine(
        lambda _: Transport([failure] * 10_000, sent, lock),
        context,
        journal,
        tell=lambda event: None,
        policy=rules,
        pause=Virtual(clock),
    )
    engine.send(journal.open([make_item(number) for number in range(300)]))
    tried = {path for path, _ in sent}
    assert engine.stopped_by is not None
    assert len(tried) <= 4 * 3
    assert len(sent) <= 3 * 4 * 10
