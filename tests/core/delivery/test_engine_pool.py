"""The pool: one batch alone until the session is fixed, retries by class, stops, interrupts."""

from __future__ import annotations

import random
import threading

import pytest
from systems import interrupt_main_thread

from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.engine.worker_pool import Engine
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import ConnectionFailed, Interrupted, PluginUnavailable, TransportError
from xnatctl.model.events import Event, EventKind
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch
from xnatctl.model.refs import Destination
from xnatctl.plugin.protocols import TransportContext


class InstantStop(StopToken):
    """Waits take no time; what was asked for is remembered."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, seconds):
        self.waits.append(seconds)
        return not self.requested


def context(workers):
    return TransportContext(
        destination=Destination(server="", project="P", subject="S", session="E"),
        workers=workers,
        options={},
        open_item=lambda item: None,
    )


def all_of(batch, outcome, failure, **more):
    return BatchResult(
        outcomes=tuple(ItemOutcome(path=i.path, outcome=outcome, failure=failure, **more) for i in batch.items)
    )


@pytest.fixture
def engine():
    def build(transport, *, workers=4, anchored=lambda: True, stop=None, events=None, policy=None, abort=lambda: None):
        journal = Journal()
        built = Engine(
            transport,
            context(workers),
            journal,
            tell=(events if events is not None else []).append,
            anchored=anchored,
            stop=stop or InstantStop(),
            policy=policy or RetryPolicy(random=random.Random(1)),
            abort=abort,
        )
        return built, journal

    return build


def run(engine, journal, items):
    journal.open(items)
    engine.send(items)
    return {state.item.path: state for state in journal.states()}


@pytest.mark.parametrize("workers", [1, 4, 8])
def test_every_item_is_sent_once(engine, scripted, accept, make_items, workers):
    transport = scripted(accept)
    items = make_items(50, series=3)
    states = run(*engine(transport, workers=workers), items)
    assert sorted(path for batch in transport.sent for path in batch) == sorted(i.path for i in items)
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert {state.attempts for state in states.values()} == {1}


def test_nothing_is_sent_beside_the_first_batch_until_the_session_is_fixed(engine, scripted, accept, make_items):
    gate = threading.Event()
    fixed = threading.Event()

    def answer(batch, number):
        if number == 1:
            gate.wait(0.3)  # time for the others to break the rule
            fixed.set()
        else:
            assert fixed.is_set()
        return accept(batch)

    transport = scripted(answer)
    states = run(*engine(transport, workers=8, anchored=fixed.is_set), make_items(40))
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}


def test_ambiguous_items_are_sent_again_and_only_they(engine, scripted, accept, make_items):
    lost = set()

    def answer(batch, number):
        if number == 2:
            first, *rest = batch.items
            lost.update(i.path for i in rest)
            return BatchResult(
                outcomes=(
                    ItemOutcome(path=first.path, outcome=Outcome.ACCEPTED),
                    *(
                        ItemOutcome(path=i.path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.ANSWER_LOST)
                        for i in rest
                    ),
                )
            )
        return accept(batch)

    transport = scripted(answer)
    states = run(*engine(transport, workers=1), make_items(9))
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert {path for path, state in states.items() if state.attempts == 2} == lost


def test_a_transport_that_lost_the_answer_makes_the_batch_ambiguous_then_sends_it_again(
    engine, scripted, accept, make_items
):
    def answer(batch, number):
        if number == 1:
            raise TransportError("cut")
        return accept(batch)

    states = run(*engine(scripted(answer)), make_items(3))
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}


def test_too_large_halves_down_to_one_file(engine, scripted, accept, make_items):
    def answer(batch, number):
        if len(batch.items) > 1:
            return all_of(batch, Outcome.FAILED, FailureClass.TOO_LARGE)
        return accept(batch)

    transport = scripted(answer)
    states = run(*engine(transport), make_items(9))
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}
    assert max(len(batch) for batch in transport.sent) > 1


def test_a_single_file_that_is_too_large_is_said_and_costs_only_itself(engine, scripted, accept, make_items):
    def answer(batch, number):
        if any(i.path == "00003" for i in batch.items):
            return all_of(batch, Outcome.FAILED, FailureClass.TOO_LARGE, reason="413")
        return accept(batch)

    states = run(*engine(scripted(answer)), make_items(9))
    assert states["00003"].outcome is Outcome.FAILED
    assert all(state.outcome is Outcome.ACCEPTED for path, state in states.items() if path != "00003")


@pytest.mark.parametrize(
    "failure", [FailureClass.AUTHENTICATION, FailureClass.PERMISSION, FailureClass.DESTINATION, FailureClass.NOT_XNAT]
)
def test_some_failures_stop_the_run_at_once(engine, scripted, make_items, failure):
    transport = scripted(lambda batch, number: all_of(batch, Outcome.FAILED, failure))
    built, journal = engine(transport, anchored=lambda: False)
    states = run(built, journal, make_items(40))
    assert len(transport.sent) == 1
    assert built.stopped_by is not None
    assert built.stopped_by.failure is failure
    assert sum(state.outcome is Outcome.PLANNED for state in states.values()) == 39


def test_a_dead_server_is_noticed_by_the_first_failures(engine, scripted, make_items):
    transport = scripted(lambda batch, number: all_of(batch, Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST))
    run(*engine(transport, anchored=lambda: True, workers=4), make_items(400))
    assert len(transport.sent) <= 20


def test_a_server_that_calls_everything_unparsable_is_not_asked_about_each_file(engine, scripted, make_items):
    """A full disk is reported like that, and 20,000 files would take hours to find it out."""
    transport = scripted(lambda batch, number: all_of(batch, Outcome.AMBIGUOUS, FailureClass.UNPARSABLE, reason="no"))
    states = run(*engine(transport, workers=4), make_items(400))
    assert len(transport.sent) <= 60  # sent too: what four workers have in flight when the limit is reached
    assert sum(state.outcome is Outcome.PLANNED for state in states.values()) > 300


def test_files_that_one_server_dislikes_do_not_keep_the_others_from_it(engine, scripted, accept, make_items):
    def answer(batch, number):
        bad = [item for item in batch.items if int(item.path) % 3]
        return all_of(batch, Outcome.AMBIGUOUS, FailureClass.UNPARSABLE, reason="no") if bad else accept(batch)

    transport = scripted(answer)
    transport.batches = lambda items, workers: [Batch(id=item.path, items=(item,)) for item in items]
    states = run(*engine(transport, workers=2), make_items(60))
    assert sum(state.outcome is Outcome.ACCEPTED for state in states.values()) == 20


def test_retry_after_is_obeyed(engine, scripted, accept, make_items):
    stop = InstantStop()

    def answer(batch, number):
        if number == 1:
            return all_of(batch, Outcome.FAILED, FailureClass.THROTTLED, retry_after=7.0)
        return accept(batch)

    run(*engine(scripted(answer), stop=stop), make_items(1))
    assert stop.waits == [7.0]


def test_an_item_that_the_transport_forgot_is_ambiguous_not_lost(engine, scripted, accept, make_items):
    def answer(batch, number):
        return BatchResult(outcomes=()) if number == 1 else accept(batch)

    states = run(*engine(scripted(answer)), make_items(2))
    assert {state.outcome for state in states.values()} == {Outcome.ACCEPTED}


def test_a_plugin_that_raises_ends_the_stage_with_its_words(engine, scripted, make_items):
    def answer(batch, number):
        raise ValueError("no such thing")

    built, journal = engine(scripted(answer))
    states = run(built, journal, make_items(1))
    assert "no such thing" in states["00000"].reason
    assert built.stopped_by.failure is FailureClass.FATAL


@pytest.mark.parametrize("answer", [None, 42, BatchResult(outcomes=(1, 2))])
def test_an_answer_that_is_none_is_said(engine, scripted, make_items, answer):
    states = run(*engine(scripted(lambda batch, number: answer)), make_items(1))
    assert states["00000"].outcome is Outcome.FAILED
    assert "not a BatchResult" in states["00000"].reason


def test_a_transport_that_ends_the_program_ends_its_stage(engine, scripted, make_items):
    def answer(batch, number):
        raise SystemExit(3)

    states = run(*engine(scripted(answer)), make_items(1))
    assert "SystemExit" in states["00000"].reason


def test_a_transport_cannot_call_its_own_work_verified(engine, scripted, make_items):
    states = run(
        *engine(scripted(lambda batch, number: all_of(batch, Outcome.VERIFIED, FailureClass.NONE))), make_items(1)
    )
    assert states["00000"].outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("where", ["batches", "worker"])
@pytest.mark.parametrize("error", [RuntimeError("no luck"), SystemExit(3), ConnectionFailed("nobody there")])
def test_a_transport_that_fails_beside_its_batches_ends_the_stage_with_its_words(
    engine, scripted, accept, make_items, where, error
):
    transport = scripted(accept)
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if where == "batches" or len(calls) > 1:  # the first one cuts the batches, the others are the workers'
            raise error
        return transport

    if where == "batches":
        transport.batches = fail
    built, journal = engine(transport if where == "batches" else fail)
    items = make_items(3)
    journal.open(items)
    expected = ConnectionFailed if isinstance(error, ConnectionFailed) else PluginUnavailable
    with pytest.raises(expected, match=str(error)):
        built.send(items)
    assert {state.outcome for state in journal.states()} == {Outcome.PLANNED}


def test_batches_that_lose_a_file_are_refused(engine, scripted, accept, make_items):
    transport = scripted(accept)
    transport.batches = lambda items, workers: ()
    built, journal = engine(transport)
    with pytest.raises(PluginUnavailable, match="every file exactly once"):
        built.send(make_items(2))


def test_an_interrupt_cuts_what_is_in_flight_and_starts_nothing_new(engine, scripted, make_items):
    cut = threading.Event()

    def answer(batch, number):
        interrupt_main_thread()
        assert cut.wait(10)
        raise TransportError("cut")

    transport = scripted(answer)
    built, journal = engine(transport, workers=2, abort=cut.set, stop=StopToken(), anchored=lambda: False)
    items = make_items(20)
    journal.open(items)
    with pytest.raises(Interrupted) as caught:
        built.send(items)
    assert caught.value.exit_code == 130
    assert len(transport.sent) == 1
    assert transport.closed
    assert {state.outcome for state in journal.states()} == {Outcome.PLANNED, Outcome.AMBIGUOUS}


def test_events_come_in_the_main_thread_and_count_every_item(engine, scripted, accept, make_items):
    threads = set()

    class Events(list):
        def append(self, event):
            threads.add(threading.current_thread())
            super().append(event)

    events = Events()
    run(*engine(scripted(accept), events=events), make_items(30))
    assert threads == {threading.main_thread()}
    assert sum(event.kind is EventKind.ITEM_DONE for event in events) == 30


def test_bytes_belong_to_the_batch_that_is_sent_whatever_a_transport_says(engine, scripted, accept, make_items):
    events = []
    transport = scripted(accept)
    send = transport.send

    def telling(batch, emit):
        emit(Event(kind=EventKind.BYTES_SENT, data={"bytes": 3, "batch": "another", "resource": "another"}))
        return send(batch, emit)

    transport.send = telling
    run(*engine(transport, events=events), make_items(30))
    told = {kind: [event.data for event in events if event.kind is kind] for kind in EventKind}
    sent, started, done = (told[EventKind[name]] for name in ("BYTES_SENT", "BATCH_STARTED", "ITEM_DONE"))
    assert sorted(entry["batch"] for entry in sent) == sorted(entry["batch"] for entry in started)
    assert {entry["batch"] for entry in done} == {entry["batch"] for entry in started}
    assert {entry["resource"] for entry in (*sent, *started, *done)} == {""}
