"""Receivers that accept nobody, or not everything, or end an association: nothing is lost, and the cause is named."""

from __future__ import annotations

from collections import Counter

import pytest

from xnatctl_cstore import association as association_module

pytestmark = pytest.mark.once


@pytest.fixture
def exam(mixed, tmp_path):
    """60 instances in eight transfer syntaxes: the folder, and what must arrive."""
    return tmp_path / "exam", mixed.write(tmp_path / "exam", 60)


def test_refused_contexts_name_the_files_and_the_rest_goes(scripted, deliver, mixed, exam):
    folder, expected = exam
    results = {mixed.JPEG_2000: 4, mixed.RLE: 3, mixed.JPEG: 1}
    receiver = scripted(take=lambda sop_class, syntax: results.get(syntax, 0))
    done = deliver(folder, receiver.port)
    assert done.error is not None
    assert done.error.exit_code == 5
    assert "would fail again" in (done.error.hint or "")
    refused = {item.path: item.reason for item in done.report.items if item.outcome == "rejected"}
    assert len(refused) == 60 - len(receiver.digests)
    assert set(receiver.digests) < set(expected)
    assert all(expected[uid] == digest for uid, digest in receiver.digests.items())
    reasons = set(refused.values())
    assert any(
        "JPEG 2000 Image Compression (Lossless Only)" in r and "xnatctl does not convert files" in r for r in reasons
    )
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
        ((1, 1, 7), "it has no AE title XNAT", "--called-aet must match"),
        ((1, 1, 3), "does not accept the caller XNATCTL", "--calling-aet"),
        ((1, 1, 1), "no reason given", "the reason in its log"),
        ((1, 1, 2), "application context name not supported", "the reason in its log"),
        ((1, 2, 1), "no reason given", "the reason in its log"),
        ((1, 2, 2), "protocol version not supported", "the reason in its log"),
        ("abort", "aborts the association request", "the reason in its log"),
        ("close", "closes the connection instead of answering", "known addresses"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is a web server", "8104"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "expects TLS", "Add --tls"),
        (b"220 mail.example.org ESMTP\r\n", "is not a DICOM receiver", "8104"),
        (b"\2\0\0\0\0\x0a" + bytes(10), "cannot be read", "administrator"),
    ],
    ids=["called", "calling", "no reason", "context name", "ACSE", "version", "abort", "close", "http", "tls", "smtp", "nonsense"],
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
    assert "accepts your AE title" in (done.error.hint or "")
    assert ", first: " in done.error.message
    assert "(planned)" not in done.error.message
