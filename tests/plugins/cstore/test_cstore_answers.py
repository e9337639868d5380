"""What a receiver answers to an instance, or does instead: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import threading

import pytest

from xnatctl.model.events import EventKind

pytestmark = pytest.mark.once


@pytest.fixture
def exam(mixed, tmp_path):
    """60 instances in eight transfer syntaxes: the folder, and what must arrive."""
    return tmp_path / "exam", mixed.write(tmp_path / "exam", 60)


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
    ("status", "words"),
    [
        (0xA900, "Data Set Does Not Match SOP Class"),
        (0x0122, "does not accept this SOP class"),
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
        assert "already has this instance" in entries[0].note


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
