"""Receiver transports: core cuts batches, records each outcome as it comes, and takes over no wrong outcome."""

from __future__ import annotations

import random

import pytest
from running import receiving

from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.engine.worker_pool import Engine
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import ConnectionFailed, PluginUnavailable, TransportError
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.refs import Destination
from xnatctl.plugin.protocols import ConnectedTransport, TransportContext


class Receiver:
    """Answers what `answers(item, attempt)` yields for each item."""

    def __init__(self, context, answers, seen):
        self.context, self.answers, self.seen = context, answers, seen

    def describe(self):
        return {"to": self.context.address}

    def send(self, batch, emit):
        for item in batch.items:
            self.seen.append(item.path)
            yield from self.answers(item, self.seen.count(item.path))

    def close(self):
        pass


def said(item, outcome=Outcome.ACCEPTED, **more):
    return ItemOutcome(path=item.path, outcome=outcome, **more)


@pytest.fixture
def deliver(make_items):
    """Send `count` items; returns the states by path, and what was sent in order."""

    def run(answers, *, count=12, workers=1, kind=Receiver, journal=None):
        items, seen, journal = make_items(count, series=2), [], journal or Journal()
        where = Destination(server="test:there", project="", subject="", session="")
        context = TransportContext(destination=where, workers=workers, options={}, open_item=lambda item: None)
        journal.open(items)
        policy = RetryPolicy(base=0.001, patience=5, random=random.Random(1))
        engine = Engine(
            receiving(lambda context: kind(context, answers, seen)),
            context,
            journal,
            tell=lambda event: None,
            policy=policy,
            stop=StopToken(),
        )
        engine.send(items)
        return {state.item.path: state for state in journal.states()}, seen

    return run


def test_it_gets_batches_although_it_cuts_none(deliver):
    states, seen = deliver(lambda item, attempt: [said(item)], count=250, workers=3)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert sorted(seen) == sorted(states)


def test_an_outcome_is_recorded_before_the_next_one_is_asked_for(deliver):
    journal = Journal()
    before = []

    def answers(item, attempt):
        before.append(sum(state.outcome.delivered for state in journal.states()))
        yield said(item)

    deliver(answers, journal=journal)
    assert before == list(range(12))


@pytest.mark.parametrize(
    ("error", "during"), [(TransportError("cut"), Outcome.AMBIGUOUS), (ConnectionFailed("away"), Outcome.FAILED)]
)
def test_an_error_concerns_the_items_without_an_outcome(deliver, error, during):
    """What was answered stands, and only the others are sent again."""

    def answers(item, attempt):
        if item.path.endswith("7") and attempt == 1:
            raise error
        yield said(item)

    states, seen = deliver(answers)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert {path for path in seen if seen.count(path) > 1} <= {path for path in states if path >= "00007"}
    never, _ = deliver(lambda item, attempt: (_ for _ in ()).throw(error) if item.path == "00007" else [said(item)])
    assert never["00007"].outcome is during


@pytest.mark.parametrize("outcomes", [(Outcome.ACCEPTED, Outcome.FAILED), (Outcome.FAILED, Outcome.ACCEPTED)])
def test_two_outcomes_that_differ_leave_the_result_unknown(deliver, outcomes):
    states, _ = deliver(
        lambda item, attempt: (
            [said(item, outcome) for outcome in (outcomes if item.path == "00003" else outcomes[:1])]
            if item.path == "00003"
            else [said(item)]
        )
    )
    state = states.pop("00003")
    assert state.outcome is Outcome.AMBIGUOUS
    assert "two outcomes" in state.reason
    assert {other.outcome for other in states.values()} == {Outcome.ACCEPTED}


def test_the_same_outcome_twice_is_one(deliver):
    states, _ = deliver(lambda item, attempt: [said(item), said(item)])
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}


def test_an_item_without_an_outcome_is_ambiguous(deliver):
    states, seen = deliver(lambda item, attempt: [] if item.path == "00003" else [said(item)])
    assert states["00003"].outcome is Outcome.AMBIGUOUS
    assert seen.count("00003") > 1


def test_it_cannot_call_its_own_work_verified_and_an_item_of_nobody_is_no_item(deliver):
    stray = ItemOutcome(path="not planned", outcome=Outcome.ACCEPTED)
    states, _ = deliver(lambda item, attempt: [said(item, Outcome.VERIFIED), stray])
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}


@pytest.mark.parametrize("answer", [None, 42, "accepted"])
def test_an_answer_that_is_no_outcome_ends_the_stage_with_the_name_of_the_plugin(deliver, answer):
    class Wrong(Receiver):
        def send(self, batch, emit):
            return answer if answer != 42 else [answer]

    states, _ = deliver(None, kind=Wrong)
    reasons = {state.reason for state in states.values() if state.outcome is Outcome.FAILED}
    assert any("plugin tested, tests 1.0" in reason for reason in reasons if reason)
    assert not [state for state in states.values() if state.outcome.delivered]


def test_outcomes_without_end_end_the_stage(deliver):
    def endless(item, attempt):
        while True:
            yield said(item)

    states, _ = deliver(endless)
    reasons = " ".join(filter(None, (state.reason for state in states.values())))
    assert "more outcomes than the batch has items" in reasons
    assert [state for state in states.values() if not state.outcome.delivered]


def test_a_connection_that_cannot_be_released_is_closed(deliver):
    told = []

    class Connected(Receiver):
        def probe(self):
            pass

        def rest(self):
            raise RuntimeError("no luck")

        def close(self):
            told.append("close")

    with pytest.raises(PluginUnavailable, match="no luck"):
        deliver(lambda item, attempt: [said(item)], kind=Connected)
    assert "close" in told


def test_an_object_without_the_methods_is_refused_by_name(deliver):
    class Half:
        def __init__(self, *arguments):
            pass

        def describe(self):
            return {}

    with pytest.raises(PluginUnavailable, match="Half has no method send and no method close"):
        deliver(None, kind=Half)


def test_one_that_keeps_a_connection_is_asked_first_and_releases_it(deliver):
    told = []

    class Connected(Receiver):
        def probe(self):
            told.append("probe")

        def rest(self):
            told.append("rest")

        def close(self):
            told.append("close")

    assert issubclass(Connected, ConnectedTransport)
    deliver(lambda item, attempt: [said(item)], kind=Connected)
    assert told[0] == "probe"
    assert told[-2:] == ["rest", "close"]


def test_a_crowded_receiver_is_served_by_fewer_workers(deliver):
    def answers(item, attempt):
        if attempt == 1 and item.path == "00005":
            yield said(item, Outcome.FAILED, failure=FailureClass.CROWDED, reason="no room")
        else:
            yield said(item)

    states, _ = deliver(answers, workers=3)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
