"""Transports that keep a connection: asked first, resting between batches, answered item by item, never too many."""

from __future__ import annotations

import random
import threading
from contextlib import closing

import pytest

from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.engine.worker_pool import Engine
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.store import Store
from xnatctl.delivery.journal.summaries import items_of
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import ConnectionFailed, TransportError
from xnatctl.model.batches import cut_batches
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.refs import Destination
from xnatctl.plugin.protocols import TransportContext


class Receiver:
    """The far end: `places` connections at the same time, and whatever `answer` says to each item."""

    def __init__(self, places=99, answer=None):
        self.places = places
        self.answer = answer or (lambda item, transport: Outcome.ACCEPTED)
        self.lock = threading.Lock()
        self.open = set()
        self.most = 0
        self.got = []
        self.probes = 0
        self.rests = 0
        self.known = []


class Connected:
    """A transport with a connection of its own."""

    def __init__(self, context, receiver):
        self.context = context
        self.receiver = receiver

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def describe(self):
        return {}

    def batches(self, items, workers):
        return cut_batches(items, workers, max_files=5)

    def probe(self):
        self.receiver.probes += 1
        self.receiver.known = [item.path for item in self.context.items]

    def rest(self):
        self.receiver.rests += 1
        self.close()

    def close(self):
        with self.receiver.lock:
            self.receiver.open.discard(self)

    def send(self, batch, emit):
        receiver = self.receiver
        with receiver.lock:
            if self not in receiver.open and len(receiver.open) >= receiver.places:
                return BatchResult(
                    outcomes=tuple(
                        ItemOutcome(
                            path=item.path, outcome=Outcome.FAILED, failure=FailureClass.CROWDED, reason="no room"
                        )
                        for item in batch.items
                    )
                )
            receiver.open.add(self)
            receiver.most = max(receiver.most, len(receiver.open))
        outcomes = []
        for item in batch.items:
            with receiver.lock:
                receiver.got.append(item.path)
            outcome = ItemOutcome(path=item.path, outcome=receiver.answer(item, self))
            self.context.report(outcome)
            outcomes.append(outcome)
        return BatchResult(outcomes=tuple(outcomes))


@pytest.fixture
def deliver(make_items):
    """Send `count` items with `workers`; returns the states by path."""

    def run(receiver, *, count=40, workers=4, journal=None, policy=None):
        items = make_items(count, series=3)
        journal = journal or Journal()
        context = TransportContext(
            destination=Destination(server="", project="", subject="", session=""),
            workers=workers,
            options={},
            open_item=lambda item: None,
        )
        journal.open(items)
        engine = Engine(
            lambda context: Connected(context, receiver),
            context,
            journal,
            tell=lambda event: None,
            policy=policy or RetryPolicy(base=0.01, random=random.Random(1)),
            stop=StopToken(),
        )
        engine.send(items)
        return {state.item.path: state for state in journal.states()}

    return run


def test_it_is_asked_once_and_knows_what_is_to_come(deliver):
    receiver = Receiver()
    states = deliver(receiver)
    assert receiver.probes == 1
    assert sorted(receiver.known) == sorted(states)


def test_a_probe_that_fails_ends_the_stage_before_anything_is_sent(deliver, monkeypatch):
    def refuse(self):
        raise ConnectionFailed("nobody there")

    monkeypatch.setattr(Connected, "probe", refuse)
    receiver = Receiver()
    with pytest.raises(ConnectionFailed, match="nobody there"):
        deliver(receiver)
    assert not receiver.got


@pytest.mark.parametrize("places", [1, 2])
def test_a_receiver_with_less_room_than_workers_gets_everything_once(deliver, places):
    receiver = Receiver(places=places)
    states = deliver(receiver, count=60, workers=6)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert sorted(receiver.got) == sorted(states)
    assert receiver.most <= places


def test_a_worker_that_waits_leaves_its_connection(deliver):
    """One worker holds the last batch until the other has let go of what it has."""
    receiver = Receiver()
    gate = threading.Event()

    def answer(item, transport):
        if item.path == "00009":
            while not gate.wait(0.01):
                with receiver.lock:
                    if receiver.open == {transport} and receiver.rests:
                        gate.set()
        return Outcome.ACCEPTED

    receiver.answer = answer
    states = deliver(receiver, count=10, workers=2)
    assert receiver.rests >= 1
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}


def test_what_was_answered_stands_when_the_rest_of_the_batch_is_lost(deliver):
    receiver = Receiver()
    cut = []

    def answer(item, transport):
        if item.path == "00007" and not cut:
            cut.append(item)
            raise TransportError("cut")
        return Outcome.ACCEPTED

    receiver.answer = answer
    states = deliver(receiver, count=10, workers=1)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    twice = {path for path in receiver.got if receiver.got.count(path) > 1}
    assert twice <= {"00007"}, "only what had no answer goes again"


def test_an_answer_is_in_the_journal_before_the_next_item_goes(deliver, tmp_path):
    """Read by a second connection, as the next run would after a kill."""
    path = tmp_path / "j.sqlite"
    seen = []
    with closing(Journal(Store(path))) as journal:
        journal.begin({})

        def answer(item, transport):
            seen.append(sum(past.outcome.delivered for past in items_of(path)))
            return Outcome.ACCEPTED

        deliver(Receiver(answer=answer), count=12, workers=1, journal=journal)
    assert seen == list(range(12))


def test_records_that_are_not_flushed_keep_their_order_with_those_that_are(tmp_path):
    path = tmp_path / "j.sqlite"
    with closing(Store(path)) as store:
        for number in range(50):
            store.write(("INSERT OR REPLACE INTO meta VALUES (?, ?)", ("last", str(number))), flush=bool(number % 3))
        assert store.meta()["last"] == "49"
    with closing(Store(path)) as store:
        assert store.meta()["last"] == "49"


def test_a_retry_keeps_to_what_failed(deliver):
    receiver = Receiver()
    failed = set()

    def answer(item, transport):
        if item.path.endswith("3") and item.path not in failed:
            failed.add(item.path)
            return Outcome.FAILED
        return Outcome.ACCEPTED

    receiver.answer = answer
    policy = RetryPolicy(base=0.01)
    policy.attempts = {**policy.attempts, FailureClass.NONE: 3}
    states = deliver(receiver, count=20, policy=policy)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert {path for path, state in states.items() if state.attempts > 1} == failed
