"""Receivers that stop answering or reading, and associations that rest; the next run sends what is missing."""

from __future__ import annotations

import threading

import pytest

from xnatctl.model.events import EventKind
from xnatctl_cstore import association as association_module
from xnatctl_cstore import stream as stream_module

pytestmark = pytest.mark.once


@pytest.fixture
def exam(mixed, tmp_path):
    """60 instances in eight transfer syntaxes: the folder, and what must arrive."""
    return tmp_path / "exam", mixed.write(tmp_path / "exam", 60)


def test_a_receiver_that_stops_answering(scripted, deliver, exam):
    folder, expected = exam
    lock, silent = threading.Lock(), []

    def answer(talk, number, instance):
        with lock:
            if len(silent) < 2 and number == 4:
                silent.append(instance)
                return "silent"
        return 0

    receiver = scripted(answer=answer)
    done = deliver(folder, receiver.port, answer_timeout=1.0)
    assert done.error is None, done.reasons
    assert len(silent) == 2
    # On a busy machine another answer may be late as well, and its instance is then stored twice.
    assert {entry.sop_instance: entry.digest for entry in receiver.stored} == expected


def test_a_receiver_that_never_answers_again_is_given_up(scripted, deliver, exam):
    receiver = scripted(answer=lambda talk, number, instance: "silent")
    done = deliver(exam[0], receiver.port, answer_timeout=0.1, base=0.001, patience=2.0)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert "gave no answer for" in done.error.message
    assert not receiver.stored


def test_a_receiver_that_takes_no_more_data(scripted, deliver, mixed, tmp_path, monkeypatch):
    """It reads nothing: the socket's buffers fill up, and the send makes no progress."""
    monkeypatch.setattr(stream_module, "STALL", 0.3)
    monkeypatch.setattr(association_module, "STALL", 0.3)
    mixed.write(tmp_path / "exam", 1, size=2048, syntaxes=(mixed.EXPLICIT,))
    receiver = scripted(buffer=4096)
    stop = receiver._stopped

    def pdu(talk, original=receiver._pdu):
        if talk.contexts:
            stop.wait(60)
        return original(talk)

    receiver._pdu = pdu
    done = deliver(tmp_path / "exam", receiver.port, workers=1, base=0.001, patience=0.0)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert "took no more data" in done.error.message


def test_an_association_that_was_closed_while_it_was_idle_costs_nothing(
    scripted, mixed, options, tmp_path, monkeypatch
):
    """XNAT ends quiet associations after 60 s; here the receiver hangs up whenever a batch is done."""
    from xnatctl.inventory.walk import scan_path
    from xnatctl.testing.fakes import make_receiver_context
    from xnatctl_cstore.transport import CStoreTransport

    expected = mixed.write(tmp_path / "exam", 30)
    monkeypatch.setattr(association_module, "_REST", 0.0)
    receiver = scripted()
    items = scan_path(str(tmp_path / "exam")).items
    transport = CStoreTransport(make_receiver_context(options=options(receiver.port), items=items))
    batches = tuple(transport.batches(items, 3))
    assert len(batches) > 2
    events = []
    for batch in batches:
        assert {str(outcome.outcome) for outcome in transport.send(batch, events.append)} == {"accepted"}
        receiver.hang_up()
    transport.rest()
    transport.close()
    assert receiver.digests == expected
    assert not [event for event in events if event.kind is EventKind.RETRY], "the end was seen before anything was sent"


def test_the_second_run_sends_what_the_first_did_not(scripted, deliver, exam):
    folder, expected = exam
    receiver = scripted(take=lambda sop_class, syntax: 4 if syntax.endswith("4.90") else 0)
    first = deliver(folder, receiver.port)
    assert first.error is not None
    receiver.take = lambda sop_class, syntax: 0
    second = deliver(folder, receiver.port)
    assert second.error is None
    assert receiver.digests == expected, "nothing twice"
    assert second.report.counts.skipped == first.report.counts.sent
    third = deliver(folder, receiver.port)
    assert third.error is None
    assert third.report.counts.skipped == 60
