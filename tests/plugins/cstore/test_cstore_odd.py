"""Receivers that behave oddly: exit code and words are about the receiver, and the printed command helps when it is mended."""

from __future__ import annotations

import threading

import pytest

from xnatctl.cli.report_view import report_document

pytestmark = pytest.mark.once

RERUN = "xnatctl session upload-dicom again"
#: What a DICOM receiver may have nothing to do with.
OF_XNAT = ("XNAT", "disk", "database", "server", "archive", "prearchive", "import", "log in")


@pytest.fixture
def exam(mixed, tmp_path):
    """Three instances, the last one of 1 MiB: the folder, and what must arrive."""
    folder = tmp_path / "exam"
    expected = mixed.write(folder, 2, syntaxes=(mixed.EXPLICIT,))
    large = mixed.write(tmp_path / "large", 1, seed=1, size=1024, syntaxes=(mixed.EXPLICIT,))
    (path,) = (tmp_path / "large").iterdir()
    path.rename(folder / "z")
    return folder, {**expected, **large}


@pytest.fixture
def send(deliver, exam):
    """Send to a receiver, with little patience."""

    def run(receiver, **more):
        patience = {"answer_timeout": 0.2, "base": 0.001, "patience": 0.5, **more}
        return deliver(exam[0], receiver.port, workers=1, called_aet="PACS", calling_aet="SCANNER", **patience)

    return run


def well(receiver):
    """The administrator mended it."""
    receiver.associate = lambda talk: None
    receiver.take = lambda sop_class, syntax: 0
    receiver.answer = lambda talk, number, instance: 0
    receiver.after = receiver.during = lambda *_: ""


def words(done):
    """All that is said to a person."""
    items = done.report.items
    said = [done.error.message, done.error.hint or "", *done.report.warnings]
    return " ".join([*said, *(item.reason or "" for item in items), *(item.note or "" for item in items)])


def always(what):
    return {"answer": lambda talk, number, instance: what}


def rejecting(*answer):
    """After the first association, which finds out whether there is a receiver."""
    return {"associate": lambda talk: answer if talk.number > 1 else None}


@pytest.mark.parametrize(
    ("script", "code", "hint", "again"),
    [
        (always("abort"), 5, "receiver's log", True),
        ({"during": lambda talk: "abort" if len(talk.pdus) > 1 else ""}, 5, "receiver's log", True),
        (always(0xC000), 5, "receiver's log", True),
        (always((0xC001, "cannot")), 5, "receiver's log", True),
        (always(0x0110), 5, "receiver's log", True),
        (always(0xA700), 4, "out of resources", True),
        (always(0xA900), 5, "receiver's administrator", False),
        (always(0x0122), 5, "receiver's administrator", False),
        (always(0x0124), 5, "receiver's administrator", False),
        (always(0x0211), 5, "receiver's administrator", False),
        ({"take": lambda sop_class, syntax: 1}, 5, "receiver's administrator", False),
        ({"take": lambda sop_class, syntax: 2}, 5, "receiver's administrator", False),
        ({"take": lambda sop_class, syntax: 3}, 5, "receiver's administrator", False),
        ({"take": lambda sop_class, syntax: 4}, 5, "receiver's administrator", False),
        (always("silent"), 4, "--echo", True),
        (always("close"), 4, "--echo", True),
        (always("reset"), 4, "--echo", True),
        (always("release"), 4, "--echo", True),
        (always(b"\4\0\0\0\1\0half"), 4, "--echo", True),
        (always(b"HTTP/1.1 500 Internal Server Error\r\n\r\n"), 4, "--echo", True),
        ({"during": lambda talk: "close" if len(talk.pdus) > 1 else ""}, 4, "--echo", True),
        (rejecting(2, 3, 1), 4, "fewer --workers", True),
        (rejecting(2, 3, 2), 4, "fewer --workers", True),
        (rejecting(1, 3, 2), 4, "fewer --workers", True),
        (rejecting(1, 1, 1), 4, "fewer --workers", True),
        (rejecting(1, 1, 2), 4, "accepts your AE title", True),
        (rejecting(1, 1, 3), 4, "accepts your AE title", True),
        (rejecting(1, 1, 7), 4, "accepts your AE title", True),
        (rejecting(1, 2, 2), 4, "accepts your AE title", True),
    ],
    ids=[
        "abort", "abort midway", "C000", "C001", "0110", "A700", "A900", "0122", "0124", "0211",
        "user rejection", "no reason", "no SOP class", "no transfer syntax",
        "silence", "close", "reset", "release", "half a PDU", "HTTP", "close midway",
        "congestion", "limit", "limit of ACSE", "no reason to reject", "context name", "calling", "called", "version",
    ],
)  # fmt: skip
def test_nothing_is_delivered_and_the_words_are_about_the_receiver(scripted, send, exam, script, code, hint, again):
    receiver = scripted(**script)
    done = send(receiver)
    assert done.error is not None
    assert done.error.exit_code == code, done.error
    assert hint in (done.error.hint or "")
    assert "receiver" in (done.error.hint or "")
    assert not [word for word in OF_XNAT if word in words(done).replace("Internal Server", "")], words(done)
    assert done.error.message.startswith("None of 3 files was delivered: ")
    assert done.error.message.endswith(".")
    assert not done.error.message.endswith("..")
    assert "planned" not in done.error.message
    assert done.report.next == ([RERUN] if again else [])
    assert (RERUN in (done.error.hint or "")) == again
    assert report_document(done.report).summary[0] != "Nothing was sent."
    assert (done.report.counts.sent, receiver.stored) == (0, [])
    well(receiver)
    assert send(receiver, answer_timeout=30.0).error is None
    assert receiver.digests == exam[1]


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("abort", 5, "aborted the association"),
        (0xC000, 5, "0xC000"),
        (0xA900, 5, "0xA900"),
        (0xA700, 5, "0xA700"),
        ("close", 5, "closed the connection"),
        ("silent", 5, "gave no answer"),
        (b"\4\0\0\0\1\0half", 5, "closed the connection"),
    ],
    ids=["abort", "C000", "A900", "A700", "close", "silence", "half a PDU"],
)
def test_one_instance_is_not_delivered_and_the_words_are_about_the_receiver(scripted, send, exam, what, code, said):
    _, expected = exam
    bad = sorted(expected)[1]
    receiver = scripted(answer=lambda talk, number, instance: what if instance == bad else 0)
    done = send(receiver)
    assert done.error is not None
    assert done.error.exit_code == code
    assert done.error.message.startswith("1 of 3 files was not delivered: ")
    assert said in done.error.message
    assert "receiver" in (done.error.hint or "")
    assert not [word for word in (*OF_XNAT, "complete the session") if word in words(done).replace(RERUN, "")], words(
        done
    )
    assert RERUN in (done.error.hint or "")
    assert done.report.counts.sent == len(receiver.digests) == 2
    well(receiver)
    again = send(receiver, answer_timeout=30.0)
    assert again.error is None
    assert (again.report.counts.sent, again.report.counts.skipped) == (1, 2)
    assert receiver.digests == expected


def slowly(talk, number, instance):
    threading.Event().wait(0.02)  # at each fragment
    return 0


@pytest.mark.parametrize(
    "script",
    [
        {"answer": slowly},
        always(("split", 0)),
        {"after": lambda talk, number: "abort"},
        {"after": lambda talk, number: "close"},
        {"after": lambda talk, number: "reset"},
        {"after": lambda talk, number: "release"},
        {"associate": lambda talk: (2, 3, 2) if talk.number % 2 else None, "after": lambda talk, number: "abort"},
        {"during": lambda talk: "abort" if talk.number == 2 and len(talk.pdus) == 3 else ""},
        {"max_pdu": 128},
        {"max_pdu": 0},
    ],
    ids=[
        "slow", "odd fragments", "abort after each", "close after each", "reset after each", "release after each",
        "no room each other time", "abort once", "PDUs of 128 bytes", "PDUs without limit",
    ],
)  # fmt: skip
def test_what_does_no_harm_is_no_failure(scripted, send, exam, script):
    receiver = scripted(**script)
    done = send(receiver, answer_timeout=30.0, patience=60.0)
    assert done.error is None, (done.error, done.reasons)
    assert receiver.digests == exam[1]
