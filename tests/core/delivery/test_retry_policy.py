"""Waiting and giving up, as properties: whatever the failures are, no wait is absurd and none goes on for ever."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnatctl.delivery.engine.retry import COMMON, STOPPING, RetryPolicy, outcome_for
from xnatctl.delivery.engine.worker_pool import Engine
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.stopping import StopToken
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
    assert rules.delay(failure, 1, seconds) == min(max(seconds, rules.base / 2), rules.retry_after_cap)


def test_retry_after_of_nothing_is_no_invitation_to_hammer():
    """The first pause is half a second, and each is longer than the one before."""
    rules, _ = policy()
    waits = [rules.delay(FailureClass.THROTTLED, attempt, 0.0) for attempt in range(1, 8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_a_server_that_asks_to_wait_for_ever_is_left_in_the_end():
    rules, clock = policy()
    begun, attempt = clock(), 0
    rules.attempts[FailureClass.THROTTLED] = 1000
    while (wait := rules.delay(FailureClass.THROTTLED, attempt := attempt + 1, 100.0)) is not None:
        clock.now += wait
    assert 500 <= clock.now - begun <= 600


@pytest.mark.parametrize("patience", [5, 60, 600])
def test_a_silent_server_is_waited_for_as_long_as_was_asked(patience):
    rules, clock = policy(patience=patience)
    begun, attempt = clock(), 0
    while (wait := rules.delay(FailureClass.UNREACHABLE, attempt := attempt + 1)) is not None:
        clock.now += wait
    assert min(patience, 40) <= clock.now - begun <= patience + rules.cap
    assert patience <= 60 or clock.now - begun >= 0.7 * patience
    assert rules.dead(begun)


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
    rules.answered()
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


class Virtual(StopToken):
    """Waits that take no time."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def wait(self, seconds):
        assert seconds >= 0
        self.clock.now += seconds
        return not self.requested


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
    return UploadItem(path=path, resource_name=f"{path}.dcm", source=Source(path=path), size=1)


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
        stop=Virtual(clock),
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
        stop=Virtual(clock),
    )
    engine.send(journal.open([make_item(number) for number in range(300)]))
    tried = {path for path, _ in sent}
    assert engine.stopped_by is not None
    assert len(tried) <= 4 * 3
    assert len(sent) <= 3 * 4 * 10


# one budget for all workers


def virtual(answer, count, *, workers=4, batch=1, items=None):
    """Send items of one byte to a server that answers as told; returns states, requests and the seconds that passed."""
    clock = Clock()
    sent, lock = [], threading.Lock()

    class Answering(Transport):
        def batches(self, items, workers):
            return [Batch(id=str(i), items=tuple(items[i : i + batch])) for i in range(0, len(items), batch)]

        def send(self, group, emit):
            with lock:
                sent.append(tuple(item.path for item in group.items))
                failure = answer(group, len(sent))
                clock.now += 0.05
            outcome = Outcome.ACCEPTED if failure is None else outcome_for(failure)
            said = {"outcome": outcome, "failure": failure or FailureClass.NONE, "reason": failure and f"no {failure}"}
            return BatchResult(outcomes=tuple(ItemOutcome(path=item.path, **said) for item in group.items))

    journal, items = Journal(), items or [make_item(number) for number in range(count)]
    context = TransportContext(
        destination=Destination(server="", project="P", subject="S", session="E"),
        workers=workers,
        options={},
        open_item=lambda item: None,
    )
    engine = Engine(
        lambda context: Answering([], sent, lock),
        context,
        journal,
        tell=lambda event: None,
        policy=RetryPolicy(random=random.Random(0), clock=clock),
        stop=Virtual(clock),
    )
    journal.open(items)
    begun = clock.now
    engine.send(items)
    return {state.item.path: state for state in journal.states()}, sent, clock.now - begun, engine


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    "failure",
    [FailureClass.CONCURRENT, FailureClass.REFUSED, FailureClass.UNPARSABLE, FailureClass.TRANSIENT,
     FailureClass.ANSWER_LOST, FailureClass.TOO_LARGE, FailureClass.THROTTLED],
)  # fmt: skip
def test_what_fails_for_ever_ends_soon(failure, workers):
    """Waits of workers that wait at the same time are added up here, so that real ones take less."""
    states, sent, seconds, engine = virtual(lambda batch, number: failure, 300, workers=workers)
    assert seconds < 150
    assert len(sent) <= 60
    assert engine.stopped_by is not None
    assert not any(state.outcome.delivered for state in states.values())


@pytest.mark.parametrize("failure", [FailureClass.CONCURRENT, FailureClass.REFUSED])
def test_files_that_fail_for_ever_beside_good_ones_share_one_budget(failure):
    def answer(batch, number):
        return failure if int(batch.items[0].path) % 2 else None

    states, _, seconds, engine = virtual(answer, 600)
    assert seconds < 8 * 60 + 60
    assert engine.stopped_by is None
    assert sum(state.outcome.delivered for state in states.values()) == 300


def test_retries_that_help_do_not_use_up_the_budget():
    tried = Counter()

    def answer(batch, number):
        path = batch.items[0].path
        tried[path] += 1
        return FailureClass.CONCURRENT if tried[path] < 4 else None

    states, _, _, _ = virtual(answer, 300)
    assert all(state.outcome.delivered for state in states.values())


# each file on its own


@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("bad", [{0}, {7}, {299}, set(range(40, 60)), set(range(20)), {3, 77, 150, 151}])
def test_a_file_that_is_refused_costs_only_itself(bad, batch):
    def answer(group, number):
        return FailureClass.REFUSED if any(int(item.path) in bad for item in group.items) else None

    states, _, _, engine = virtual(answer, 300, batch=batch)
    refused = {int(path) for path, state in states.items() if state.outcome is Outcome.REJECTED}
    assert refused == bad
    assert sum(state.outcome.delivered for state in states.values()) == 300 - len(bad)
    assert engine.stopped_by is None
    assert all("no refused" in states[f"{number:03d}"].reason for number in bad)


def test_a_bad_series_in_front_does_not_end_the_upload():
    """The first forty of three hundred: files from elsewhere are tried before the server is given up."""
    states, _, _, _ = virtual(lambda group, _: FailureClass.REFUSED if int(group.items[0].path) < 40 else None, 300)
    assert sum(state.outcome.delivered for state in states.values()) == 260


# 413


def sized(limit, sizes):
    """A proxy with a limit; returns what it answers, and the items."""
    items = [
        UploadItem(path=f"{n:03d}", resource_name=f"{n:03d}.dcm", source=Source(path="x"), size=size)
        for n, size in enumerate(sizes)
    ]
    return items, lambda group: FailureClass.TOO_LARGE if sum(item.size for item in group.items) > limit else None


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("limit", "sizes", "batch", "delivered", "most"),
    [
        (0, [500_000] * 300, 100, 0, 12),  # nothing passes
        (0, [500_000 + n for n in range(300)], 1, 0, 12),
        (0, [2_000_000 - n for n in range(300)], 1, 0, 20),
        (1_000_000, [400_000] * 300, 100, 300, 210),  # two at a time pass
        (1_000_000, [*[400_000] * 150, *[5_000_000] * 150], 1, 150, 160),
        (10**9, [400_000] * 300, 100, 300, 3),
    ],
)
def test_the_accepted_size_is_learned_once(limit, sizes, batch, delivered, most, workers):
    items, answer = sized(limit, sizes)
    by_path = {item.path: item for item in items}
    sent = []

    def said(group, number):
        sent.append(len(group.items))
        return answer(Batch(id="x", items=tuple(by_path[item.path] for item in group.items)))

    states, requests, _, _ = virtual(said, len(sizes), batch=batch, workers=workers, items=items)
    assert sum(state.outcome.delivered for state in states.values()) == delivered
    assert len(requests) <= most
    undelivered = [state for state in states.values() if state.outcome is Outcome.FAILED]
    assert all(state.failure is FailureClass.TOO_LARGE for state in undelivered)
