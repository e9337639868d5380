"""Receivers that refuse, reject, abort, fall silent: nothing is lost, nothing is there twice, and the cause is named."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from xnatctl.cli.report_view import report_document
from xnatctl.model.events import EventKind
from xnatctl_cstore import association as association_module
from xnatctl_cstore import stream as stream_module

pytestmark = pytest.mark.once


@pytest.fixture
def exam(mixed, tmp_path):
    """60 instances in eight transfer syntaxes: the folder, and what must arrive."""
    return tmp_path / "exam", mixed.write(tmp_path / "exam", 60)


# the association


def test_refused_contexts_name_the_files_and_the_rest_goes(scripted, deliver, mixed, exam):
    folder, expected = exam
    results = {mixed.JPEG_2000: 4, mixed.RLE: 3, mixed.JPEG: 1}
    receiver = scripted(take=lambda sop_class, syntax: results.get(syntax, 0))
    done = deliver(folder, receiver.port)
    assert done.error is not None
    assert done.error.exit_code == 5
    assert "would be refused again" in (done.error.hint or "")
    refused = {item.path: item.reason for item in done.report.items if item.outcome == "rejected"}
    assert len(refused) == 60 - len(receiver.digests)
    assert set(receiver.digests) < set(expected)
    assert all(expected[uid] == digest for uid, digest in receiver.digests.items())
    reasons = set(refused.values())
    assert any("JPEG 2000 Image Compression (Lossless Only)" in r and "xnatctl converts nothing" in r for r in reasons)
    assert any("RLE Lossless" in r and "does not accept this SOP class" in r for r in reasons)
    assert any("JPEG Baseline (Process 1)" in r and "no reason" in r for r in reasons)
    assert done.report.counts.sent + done.report.counts.failed == done.report.counts.found
    assert {item.attempts for item in done.report.items} == {1}, "what is refused is not asked again and again"


def test_a_receiver_that_chooses_another_transfer_syntax_gets_nothing(scripted, deliver, mixed, tmp_path, monkeypatch):
    """Sending the bytes of one syntax under the name of another would be worse than not sending them."""
    mixed.write(tmp_path / "exam", 4, syntaxes=(mixed.JPEG_2000,))
    receiver = scripted()
    original = receiver._associate

    def associate(talk, pdu):
        original(talk, pdu.replace(mixed.JPEG_2000.encode(), mixed.JPEG_LS.encode()))

    receiver._associate = associate
    done = deliver(tmp_path / "exam", receiver.port)
    assert set(done.outcomes.values()) == {"rejected"}
    assert not receiver.stored


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        ((1, 1, 7), "it has no AE title XNAT", "--called-aet must be exactly"),
        ((1, 1, 3), "does not accept the caller XNATCTL", "--calling-aet"),
        ((1, 1, 1), "no reason given", "Its log has the reason"),
        ((1, 2, 2), "protocol version not supported", "Its log has the reason"),
        ("abort", "aborts the association request", "Its log has the reason"),
        ("close", "closes the connection instead of answering", "known addresses"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is a web server (HTTP)", "8104"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "expects TLS", "Add --tls"),
        (b"220 mail.example.org ESMTP\r\n", "is not a DICOM receiver", "8104"),
        (b"\2\0\0\0\0\x0a" + bytes(10), "cannot be read", "administrator"),
    ],
    ids=["called", "calling", "no reason", "version", "abort", "close", "http", "tls", "smtp", "nonsense"],
)  # fmt: skip
def test_a_receiver_that_lets_nobody_in_is_said_at_once(scripted, deliver, exam, answer, message, hint):
    receiver = scripted(associate=lambda talk: answer)
    done = deliver(exam[0], receiver.port)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert message in done.error.message
    assert hint in (done.error.hint or "")
    assert len(receiver.talks) <= 3, "one try, and what finds out who closes it"
    assert set(done.outcomes.values()) == {"planned"}


def test_a_file_whose_transfer_syntax_is_no_uid_cannot_be_explained_to_anybody(scripted, deliver, mixed, tmp_path):
    folder = tmp_path / "exam"
    expected = mixed.write(folder, 8)
    other = mixed.write(tmp_path / "other", 1, seed=1, syntaxes=(mixed.JPEG,))
    (path,) = (tmp_path / "other").iterdir()
    content = path.read_bytes()
    assert content.count(mixed.JPEG.encode()) == 1
    (folder / "odd").write_bytes(content.replace(mixed.JPEG.encode(), b"1.2.840.10008.1.2.4.xx"))
    receiver = scripted()
    done = deliver(folder, receiver.port)
    assert done.error is not None
    assert {path for path, outcome in done.outcomes.items() if outcome != "accepted"} == {"odd"}
    assert done.outcomes["odd"] == "invalid"
    assert "transfer syntax" in done.reasons["odd"]
    assert receiver.digests == expected
    assert other


def test_nobody_listens(deliver, exam):
    import socket
    from contextlib import closing

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    done = deliver(exam[0], port)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert "nothing listens there" in done.error.message
    assert f"telnet 127.0.0.1 {port}" in (done.error.hint or "")
    assert "104" in done.error.hint
    assert "8104" in done.error.hint


def test_a_host_that_does_not_exist(deliver, exam):
    done = deliver(exam[0], 104, host="receiver.invalid")
    assert done.error is not None
    assert done.error.exit_code == 4
    assert "Cannot resolve host receiver.invalid" in done.error.message


def test_a_connection_that_is_taken_and_never_answered(scripted, deliver, exam, monkeypatch):
    monkeypatch.setattr(association_module, "_ASSOCIATE", 0.3)
    monkeypatch.setattr(association_module, "_SUSPICIOUS", 0.1)
    receiver = scripted(associate=lambda talk: "silent")
    done = deliver(exam[0], receiver.port)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert "does not answer an association request" in done.error.message
    assert len(receiver.talks) <= 3


@pytest.mark.parametrize("reason", [(2, 3, 1), (1, 3, 2), (2, 1, 1)], ids=["congestion", "limit", "transient"])
def test_no_room_is_waited_for(scripted, deliver, exam, reason):
    folder, expected = exam
    receiver = scripted(associate=lambda talk: reason if talk.number <= 6 else None)
    done = deliver(folder, receiver.port)
    assert done.error is None, done.reasons
    assert receiver.digests == expected


@pytest.mark.parametrize("how", ["rejects", "rejects without a reason", "leaves waiting"])
@pytest.mark.parametrize("places", [1, 2])
def test_fewer_places_than_workers(scripted, deliver, exam, how, places):
    """Workers for which there is no room hand their files to those that have one; one that rests leaves its place."""
    folder, expected = exam
    if how != "leaves waiting":
        receiver = scripted()
        answer = (2, 3, 2) if how == "rejects" else (1, 1, 1)
        receiver.associate = lambda talk: answer if receiver.open > places else None
    else:
        receiver = scripted(places=places)
    done = deliver(folder, receiver.port, workers=6)
    assert done.error is None, done.reasons
    assert receiver.digests == expected


def test_an_association_that_is_rejected_in_mid_run_ends_the_run(scripted, deliver, exam):
    """The administrator has just removed the AE title: what was answered stands, and the rest is not tried for ever."""
    receiver = scripted(
        associate=lambda talk: (1, 1, 7) if talk.number > 2 else None,
        after=lambda talk, number: "abort" if number == 5 else "",
    )
    done = deliver(exam[0], receiver.port, workers=1)
    assert done.error is not None
    assert done.error.exit_code == 5
    assert Counter(done.outcomes.values())["accepted"] == len(receiver.digests) == 5
    assert any("no AE title XNAT" in reason for reason in done.reasons.values())
    assert "list of AE titles" in (done.error.hint or "")
    assert ", first: " in done.error.message
    assert "(planned)" not in done.error.message


# answers


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("number", [1, 2, 7])
@pytest.mark.parametrize("how", ["abort", "close", "reset", "release"])
def test_an_association_that_ends_after_so_many_instances(scripted, deliver, exam, workers, number, how):
    folder, expected = exam
    receiver = scripted(after=lambda talk, count: how if count == number else "")
    done = deliver(folder, receiver.port, workers=workers)
    assert done.error is None, done.reasons
    assert receiver.digests == expected
    assert done.report.counts.sent == 60


@pytest.mark.parametrize("how", ["abort", "close", "reset", "release"])
def test_an_association_that_ends_instead_of_an_answer(scripted, deliver, exam, how):
    """Every fifth instance of an association gets no answer; on a fresh association it does."""
    folder, expected = exam
    receiver = scripted(answer=lambda talk, number, instance: how if number == 5 else 0)
    done = deliver(folder, receiver.port)
    assert done.error is None, done.reasons
    assert receiver.digests == expected


@pytest.mark.parametrize("how", ["abort", "close"])
def test_one_file_that_always_ends_the_association_costs_one_file(scripted, deliver, exam, how):
    folder, expected = exam
    bad = sorted(expected)[7]
    receiver = scripted(answer=lambda talk, number, instance: how if instance == bad else 0)
    done = deliver(folder, receiver.port, patience=10.0)
    assert done.error is not None
    assert done.error.exit_code == 5
    assert receiver.digests == {uid: digest for uid, digest in expected.items() if uid != bad}
    (entry,) = [item for item in done.report.items if item.outcome != "accepted"]
    assert entry.sop_instance_uid == bad
    assert entry.outcome == "ambiguous", "whether it was stored before the end nobody knows"
    assert ("aborted" if how == "abort" else "closed") in (entry.reason or "")


def test_many_bad_files_cost_no_good_ones(scripted, deliver, exam):
    folder, expected = exam
    bad = set(sorted(expected)[10:30])
    receiver = scripted(answer=lambda talk, number, instance: "abort" if instance in bad else 0)
    done = deliver(folder, receiver.port)
    assert set(receiver.digests) == set(expected) - bad
    assert done.report.counts.failed == len(bad)


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0107, 0x0001])
def test_a_warning_is_a_success_with_a_note(scripted, deliver, exam, status):
    folder, expected = exam
    receiver = scripted(answer=lambda talk, number, instance: (status, "coerced the name"))
    original = receiver._decide

    def decide(talk, context, request, data):
        original(talk, context, request, data)

    receiver._decide = decide
    done = deliver(folder, receiver.port)
    assert done.error is None
    assert set(done.outcomes.values()) == {"accepted"}
    notes = {item.note for item in done.report.items}
    assert len(notes) == 1
    (note,) = notes
    assert f"0x{status:04X}" in note
    assert "coerced the name" in note
    assert len(receiver.talks[-1].proposed) == 8


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0xC000, 0xC123, 0x0110])
def test_trouble_of_the_receivers_own_is_tried_again_on_a_fresh_association(scripted, deliver, exam, status):
    folder, expected = exam
    lock, failed = threading.Lock(), {}
    again = {}

    def answer(talk, number, instance):
        with lock:
            if instance in troubled and instance not in failed:
                failed[instance] = talk.number
                return (status, "disk full")
            if instance in failed:
                again[instance] = talk.number
        return 0

    troubled = set(sorted(expected)[::9])
    receiver = scripted(answer=answer)
    done = deliver(folder, receiver.port)
    assert done.error is None, done.reasons
    assert receiver.digests == expected
    assert set(again) == troubled
    assert all(again[instance] != failed[instance] for instance in troubled)
    assert {item.attempts for item in done.report.items if item.sop_instance_uid in troubled} == {2}
    assert any(event.kind is EventKind.RETRY for event in done.events)


def test_c000_for_ever_costs_its_files_and_keeps_the_comment(scripted, deliver, exam):
    folder, expected = exam
    bad = set(sorted(expected)[:3])
    receiver = scripted(
        answer=lambda talk, number, instance: (0xC000, "unable to read DICOM object null") if instance in bad else 0
    )
    done = deliver(folder, receiver.port)
    assert done.error is not None
    assert done.error.exit_code == 5
    failed = {item.sop_instance_uid: item for item in done.report.items if item.outcome == "failed"}
    assert set(failed) == bad
    assert {item.attempts for item in failed.values()} == {3}
    for item in failed.values():
        assert item.reason == "the receiver answered 0xC000 (Cannot Understand): unable to read DICOM object null"
    assert set(receiver.digests) == set(expected) - bad


def test_a_receiver_without_resources_for_anything_ends_the_run(scripted, deliver, exam):
    """A700 to everything: noticed by the first batches, with the exit code of a receiver that keeps failing."""
    receiver = scripted(answer=lambda talk, number, instance: 0xA700)
    done = deliver(exam[0], receiver.port, base=0.001, patience=1.0)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert "Out of Resources" in done.error.message


@pytest.mark.parametrize(
    ("script", "code", "hint", "again"),
    [
        ({"answer": lambda talk, number, instance: "abort"}, 5, "receiver's log", True),
        ({"answer": lambda talk, number, instance: 0xC000}, 5, "receiver's log", True),
        ({"answer": lambda talk, number, instance: 0xA700}, 4, "lacks resources", True),
        ({"answer": lambda talk, number, instance: 0xA900}, 5, "receiver's administrator", False),
        ({"take": lambda sop_class, syntax: 3}, 5, "receiver's administrator", False),
        ({"answer": lambda talk, number, instance: "silent"}, 4, "--echo", True),
        ({"answer": lambda talk, number, instance: "close"}, 4, "--echo", True),
    ],
    ids=["abort", "C000", "A700", "A900", "contexts", "silence", "close"],
)
def test_the_hint_for_a_receiver_is_about_the_receiver(scripted, deliver, mixed, tmp_path, script, code, hint, again):
    mixed.write(tmp_path / "exam", 3)
    receiver = scripted(**script)
    done = deliver(tmp_path / "exam", receiver.port, workers=1, answer_timeout=0.2, base=0.001, patience=1.0)
    assert done.error is not None
    assert done.error.exit_code == code, done.error
    assert hint in (done.error.hint or "")
    assert "XNAT" not in (done.error.hint or "")
    assert "receiver" in (done.error.hint or "")
    assert done.error.message.startswith("None of 3 files was delivered: ")
    assert done.error.message.endswith(".")
    assert not done.error.message.endswith("..")
    assert "planned" not in done.error.message
    assert done.report.next == (["xnatctl session upload-dicom again"] if again else [])
    assert report_document(done.report).summary[0] != "Nothing was sent."


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA900, "Data Set Does Not Match SOP Class"),
        (0x0122, "does not take this kind of object"),
        (0x0124, "does not let this caller store"),
        (0x0212, "Mistyped Argument"),
        (0x4711, "0x4711"),
    ],
)
def test_what_would_be_refused_again_is_refused_once(scripted, deliver, exam, status, words):
    folder, expected = exam
    bad = sorted(expected)[30]
    receiver = scripted(answer=lambda talk, number, instance: status if instance == bad else 0)
    done = deliver(folder, receiver.port)
    (entry,) = [item for item in done.report.items if item.outcome != "accepted"]
    assert (entry.sop_instance_uid, entry.outcome, entry.attempts) == (bad, "rejected", 1)
    assert words in (entry.reason or "")


@pytest.mark.parametrize("every", [False, True], ids=["one", "all"])
def test_a_duplicate_of_what_was_never_sent_proves_nothing(scripted, deliver, exam, every):
    """PS3.7 C.5.7: the receiver has an instance of this UID, which may hold other content."""
    folder, expected = exam
    receiver = scripted(answer=lambda talk, number, instance: 0x0111 if every or instance == min(expected) else 0)
    for _ in range(2):  # the journal does not take it for delivered
        done = deliver(folder, receiver.port)
        assert done.error is not None
        assert done.error.exit_code == 6
        number = len(expected) if every else 1
        assert f"already has {number} of {len(expected)} instances" in done.error.message
        entries = [item for item in done.report.items if item.note]
        assert len(entries) == number
        assert "says that it has this instance" in entries[0].note


def test_a_duplicate_after_a_lost_answer_is_ours(scripted, deliver, exam):
    folder, expected = exam
    seen = set()

    def answer(talk, number, instance):
        if instance in seen:
            return 0x0111
        seen.add(instance)
        return "close" if instance == min(expected) else 0

    receiver = scripted(answer=answer)
    assert deliver(folder, receiver.port).error is None
    again = deliver(folder, receiver.port)
    assert again.error is None
    assert again.report.counts.skipped == len(expected)


@pytest.fixture
def one_large(mixed, tmp_path):
    """Five small instances and one of 16 MiB, which no socket's buffers take: the folder, what must arrive, its UID."""
    folder = tmp_path / "exam"
    expected = mixed.write(folder, 5, syntaxes=(mixed.EXPLICIT,))
    large = mixed.write(tmp_path / "large", 1, seed=1, size=4096, syntaxes=(mixed.EXPLICIT,))
    (path,) = (tmp_path / "large").iterdir()
    path.rename(folder / "large")
    (uid,) = large
    return folder, {**expected, **large}, uid


def test_a_failure_that_is_answered_before_the_data_is_all_sent(scripted, deliver, one_large):
    folder, expected, bad = one_large
    receiver = scripted(
        answer=lambda talk, number, instance: ("early", 0xA900) if instance == bad else 0, max_pdu=1 << 16
    )
    done = deliver(folder, receiver.port, workers=1)
    assert done.error is not None
    assert [item.sop_instance_uid for item in done.report.items if item.outcome == "rejected"] == [bad]
    assert set(receiver.digests) == set(expected) - {bad}
    assert "abort by peer" in receiver.endings(), "what is left of the data set is not sent"
    assert not [event for event in done.events if event.kind is EventKind.RETRY]


@pytest.mark.parametrize("status", [0x0000, 0xB000])
def test_a_success_that_is_answered_before_the_data_is_all_sent_is_none(scripted, deliver, one_large, status):
    """What the receiver had not got it cannot have stored."""
    folder, expected, bad = one_large
    lock, hasty = threading.Lock(), []

    def answer(talk, number, instance):
        with lock:
            if instance == bad and len(hasty) < 2:
                hasty.append(talk.number)
                return ("early", status)
            return 0

    receiver = scripted(answer=answer, max_pdu=1 << 16)
    done = deliver(folder, receiver.port, workers=1)
    assert len(hasty) == 2
    assert done.error is None, done.reasons
    assert receiver.digests == expected


def test_an_answer_to_another_message_is_no_answer(scripted, deliver, exam):
    folder, expected = exam
    receiver = scripted()
    original = receiver._reply
    lock, wrong = threading.Lock(), []

    def reply(talk, context, request, field, status, comment, *, small=False):
        with lock:
            if len(wrong) < 3 and talk.instances == 4:
                wrong.append(talk.number)
                request = {**request, 0x0110: b"\x99\x99"}
                receiver.stored.pop()
        original(talk, context, request, field, status, comment, small=small)

    receiver._reply = reply
    done = deliver(folder, receiver.port, workers=1)
    assert done.error is None, done.reasons
    assert wrong
    assert receiver.digests == expected


# silence


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
    from xnatctl.testing.fakes import make_context
    from xnatctl_cstore.transport import CStoreTransport

    expected = mixed.write(tmp_path / "exam", 30)
    monkeypatch.setattr(association_module, "_REST", 0.0)
    receiver = scripted()
    items = scan_path(str(tmp_path / "exam")).items
    context = replace(make_context(options=options(receiver.port)), items=items)
    with CStoreTransport(context) as transport:
        batches = tuple(transport.batches(items, 3))
        assert len(batches) > 2
        events = []
        for batch in batches:
            result = transport.send(batch, events.append)
            assert {str(outcome.outcome) for outcome in result.outcomes} == {"accepted"}
            receiver.hang_up()
    assert receiver.digests == expected
    assert not [event for event in events if event.kind is EventKind.RETRY], "the end was seen before anything was sent"


# resuming


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
