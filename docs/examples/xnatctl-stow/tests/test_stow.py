"""The transport keeps the contract of receivers, and reads every kind of answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from dicomweb_server import DicomWebServer
from xnatctl_stow.answers import outcomes_of
from xnatctl_stow.check import QidoCheck
from xnatctl_stow.connection import Answer
from xnatctl_stow.plugin import xnatctl_plan_upload, xnatctl_stages, xnatctl_transports
from xnatctl_stow.service import address_of
from xnatctl_stow.transport import StowTransport

from xnatctl.api import (
    AuthenticationError,
    Batch,
    ConnectionFailed,
    FailureClass,
    ItemOutcome,
    Outcome,
    RunContext,
    Stage,
    TransportError,
    UploadItem,
    UploadRequest,
    UsageError,
)
from xnatctl.testing import (
    PlannerContract,
    ReceiverTransportContract,
    StageContract,
    make_item,
    make_receiver_context,
    write_exam,
)


@pytest.fixture
def server() -> Iterator[DicomWebServer]:
    with DicomWebServer() as made:
        yield made


def options(url: str, **more: Any) -> dict[str, Any]:
    """A value for every option of the transport."""
    known = {
        "stow_token": None,
        "stow_user": None,
        "stow_password": None,
        "stow_timeout": 60.0,
        "stow_check": True,
        "stow_wait": 1.0,
    }
    return {"stow_url": url, **known, **more}


class TestTransport(ReceiverTransportContract):
    """What every receiver transport must do."""

    spec = xnatctl_transports()[0]
    unreachable = MappingProxyType({"stow_url": "http://127.0.0.1:9/dicom-web", "stow_password": None})

    @pytest.fixture(autouse=True)
    def _server(self, server: DicomWebServer) -> None:
        self.server = server

    def options_for(self, directory: Path) -> dict[str, Any]:
        """A bearer token, and no password."""
        return {"stow_url": self.server.url, "stow_password": None}

    def arrived(self, directory: Path) -> dict[str, list[bytes]]:
        """By the name of the item."""
        return {f"{uid}.dcm": [content] for uid, content in self.server.stored.items()}


class TestPlanner(PlannerContract):
    """What every planner must do."""

    planner = staticmethod(xnatctl_plan_upload)

    def request(self, directory: Path) -> UploadRequest:
        """An upload by `stow`."""
        known = options("http://127.0.0.1:9/dicom-web")
        return replace(super().request(directory), transport="stow", settles=False, verify=False, options=known)


class TestStage(StageContract):
    """What every stage must do."""

    spec = xnatctl_stages()[0]

    def context(self, stage: Stage, directory: Path) -> RunContext:
        """A run that has a stage before it, which sent nothing."""
        base = super().context(stage, directory)
        known = options("http://127.0.0.1:9/dicom-web")
        sent = Stage(kind="receiver", name="send", transport="stow", transport_options=known)
        return RunContext(replace(base.plan, stages=(sent, stage)), self.services(directory), base.report)

    def test_a_plan_that_sends_nothing_by_stow_is_refused(self, tmp_path: Path) -> None:
        stage = self.stage(tmp_path)
        with pytest.raises(UsageError):
            QidoCheck(super().context(stage, tmp_path), stage)


@pytest.fixture
def items(tmp_path: Path) -> list[UploadItem]:
    """Four instances."""
    exam = write_exam(tmp_path, series=1, instances=4, seed=3, clutter=False)
    return [make_item(instance.path) for instance in exam.instances.values()]


def send(server: DicomWebServer, items: list[UploadItem], **more: Any) -> dict[str, ItemOutcome]:
    """One batch; the outcomes by path."""
    transport = StowTransport(make_receiver_context(options=options(server.url, **more), items=items))
    try:
        return {outcome.path: outcome for outcome in transport.send(Batch(id="b", items=tuple(items)), lambda _: None)}
    finally:
        transport.close()


def test_files_arrive_byte_for_byte(server: DicomWebServer, items: list[UploadItem]) -> None:
    outcomes = send(server, items)
    assert {outcome.outcome for outcome in outcomes.values()} == {Outcome.ACCEPTED}
    assert server.stored == {item.sop_instance_uid: Path(item.file).read_bytes() for item in items}
    assert len(server.requests) == 1


REASONS = {
    0x0110: (Outcome.FAILED, FailureClass.UNPARSABLE, "0x0110 (processing failure)"),
    0x0122: (Outcome.REJECTED, FailureClass.NONE, "0x0122 (SOP class not supported)"),
    0xA700: (Outcome.FAILED, FailureClass.TRANSIENT, "0xA700 (out of resources)"),
    0xA900: (Outcome.REJECTED, FailureClass.NONE, "0xA900 (the data set does not match its SOP class)"),
    0xC000: (Outcome.FAILED, FailureClass.UNPARSABLE, "0xC000 (cannot understand)"),
    0xC122: (Outcome.REJECTED, FailureClass.NONE, "0xC122 (transfer syntax not supported)"),
    0x0099: (Outcome.REJECTED, FailureClass.NONE, "0x0099"),
}


@pytest.mark.parametrize("code", REASONS)
def test_a_refused_instance_has_its_reason_and_the_others_are_accepted(
    server: DicomWebServer, items: list[UploadItem], code: int
) -> None:
    outcome, failure, text = REASONS[code]
    server.refused = {items[2].sop_instance_uid: code}
    outcomes = send(server, items)
    refused = outcomes.pop(items[2].path)
    assert (refused.outcome, refused.failure) == (outcome, failure)
    assert refused.reason == f"the server answered {text}"
    assert {outcome.outcome for outcome in outcomes.values()} == {Outcome.ACCEPTED}
    assert len(outcomes) == 3


def test_a_duplicate_is_accepted_and_core_is_told(server: DicomWebServer, items: list[UploadItem]) -> None:
    server.duplicates = True
    send(server, items[:1])
    outcomes = send(server, items)
    assert outcomes[items[0].path].failure is FailureClass.DUPLICATE
    assert {outcome.outcome for outcome in outcomes.values()} == {Outcome.ACCEPTED}


def test_a_warning_becomes_a_note(server: DicomWebServer, items: list[UploadItem]) -> None:
    server.warned = {items[0].sop_instance_uid: 0xB000}
    outcome = send(server, items)[items[0].path]
    assert (outcome.outcome, outcome.note) == (
        Outcome.ACCEPTED,
        "stored with a warning: 0xB000 (data elements were coerced)",
    )


def test_an_instance_that_the_answer_does_not_mention_is_ambiguous(
    server: DicomWebServer, items: list[UploadItem]
) -> None:
    server.unmentioned = {items[1].sop_instance_uid}
    outcome = send(server, items)[items[1].path]
    assert (outcome.outcome, outcome.failure) == (Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST)
    assert "does not mention it" in str(outcome.reason)


STATUSES = [
    (200, "", Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST),
    (200, "{}", Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST),
    (202, "[[[", Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST),
    (204, "", Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST),
    (200, "<html>log in</html>", Outcome.AMBIGUOUS, FailureClass.DESTINATION),
    (302, "", Outcome.FAILED, FailureClass.DESTINATION),
    (400, "", Outcome.AMBIGUOUS, FailureClass.REFUSED),
    (401, "", Outcome.FAILED, FailureClass.AUTHENTICATION),
    (403, "", Outcome.FAILED, FailureClass.PERMISSION),
    (404, "", Outcome.FAILED, FailureClass.DESTINATION),
    (409, "", Outcome.AMBIGUOUS, FailureClass.REFUSED),
    (413, "", Outcome.FAILED, FailureClass.TOO_LARGE),
    (415, "", Outcome.FAILED, FailureClass.FATAL),
    (422, "", Outcome.AMBIGUOUS, FailureClass.REFUSED),
    (429, "", Outcome.FAILED, FailureClass.THROTTLED),
    (500, "", Outcome.AMBIGUOUS, FailureClass.TRANSIENT),
    (502, "", Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST),
    (503, "", Outcome.FAILED, FailureClass.THROTTLED),
    (507, "", Outcome.FAILED, FailureClass.FATAL),
]


@pytest.mark.parametrize(("status", "text", "outcome", "failure"), STATUSES)
def test_the_status_decides_where_the_answer_names_nothing(
    server: DicomWebServer,
    items: list[UploadItem],
    status: int,
    text: str,
    outcome: Outcome,
    failure: FailureClass,
) -> None:
    server.faults = [(status, {}, text)]
    outcomes = send(server, items).values()
    assert {(entry.outcome, entry.failure) for entry in outcomes} == {(outcome, failure)}
    assert len(outcomes) == 4
    assert all(entry.reason for entry in outcomes)


def test_an_answer_before_the_whole_body_was_sent_is_read(server: DicomWebServer, tmp_path: Path) -> None:
    server.largest = 1000
    exam = write_exam(tmp_path, series=1, instances=1, rows=2048, columns=2048, seed=3, clutter=False)
    (item,) = [make_item(instance.path) for instance in exam.instances.values()]
    assert item.size > 2**23  # more than what the sockets hold
    (outcome,) = send(server, [item]).values()
    assert outcome.failure is FailureClass.TOO_LARGE


def test_retry_after_reaches_the_engine(server: DicomWebServer, items: list[UploadItem]) -> None:
    server.faults = [(503, {"Retry-After": "7"}, "")]
    assert {outcome.retry_after for outcome in send(server, items).values()} == {7.0}


@pytest.mark.parametrize("fault", ["lose", "drop"])
def test_a_lost_answer_is_an_error_that_core_calls_ambiguous(
    server: DicomWebServer, items: list[UploadItem], fault: str
) -> None:
    server.faults = [(fault,)]
    with pytest.raises(TransportError):
        send(server, items)


def test_a_silent_server_is_given_up(server: DicomWebServer, items: list[UploadItem]) -> None:
    server.faults = [("hang",)]
    with pytest.raises(TransportError, match="no answer in time"):
        send(server, items, stow_timeout=0.2)


def test_close_ends_a_request_that_waits_for_its_answer(server: DicomWebServer, items: list[UploadItem]) -> None:
    server.faults = [("hang",)]
    transport = StowTransport(make_receiver_context(options=options(server.url, stow_timeout=3600.0), items=items))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, transport.send(Batch(id="b", items=tuple(items)), lambda _: None))
        assert server.hanging.wait(60)
        transport.close()
        with pytest.raises(TransportError, match="interrupted"):
            waiting.result()
    with pytest.raises(ConnectionFailed, match="interrupted"):
        list(transport.send(Batch(id="b", items=tuple(items)), lambda _: None))
    transport.close()


def test_without_a_server_nothing_was_sent(items: list[UploadItem]) -> None:
    with DicomWebServer() as server:
        pass
    with pytest.raises(ConnectionFailed) as failed:
        send(server, items)
    assert not isinstance(failed.value, TransportError)


def test_the_probe_finds_a_wrong_login(server: DicomWebServer) -> None:
    server.authorization = "Bearer right"
    for token in ("wrong", "right"):
        transport = StowTransport(make_receiver_context(options=options(server.url, stow_token=token)))
        try:
            transport.probe()
        except AuthenticationError as error:
            assert token == "wrong"
            assert "wrong" not in f"{error.message} {error.hint}"
        else:
            assert token == "right"
        finally:
            transport.close()


def answered(items: list[UploadItem], document: Any, status: int = 200) -> list[ItemOutcome]:
    """The outcomes of an answer."""
    answer = Answer(status=status, media_type="application/dicom+json", content=json.dumps(document).encode())
    return list(outcomes_of(items, answer, lambda _, text: text))


def reference(item: UploadItem, **more: Any) -> dict[str, Any]:
    """An item of a sequence."""
    return {"00081155": {"vr": "UI", "Value": [item.sop_instance_uid]}, **more}


def test_an_answer_that_contradicts_itself_proves_nothing(items: list[UploadItem]) -> None:
    sequence = {"vr": "SQ", "Value": [reference(items[0])]}
    (outcome,) = answered(items[:1], {"00081198": sequence, "00081199": sequence})
    assert outcome.outcome is Outcome.AMBIGUOUS


def test_instances_that_the_server_cannot_read_are_refused_when_they_are_as_many(items: list[UploadItem]) -> None:
    other = {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}
    stored = {"vr": "SQ", "Value": [reference(item) for item in items[:3]]}
    outcomes = answered(items, {"00081199": stored, "0008119A": other}, 202)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.ACCEPTED] * 3 + [Outcome.FAILED]
    outcomes = answered(items, {"00081199": {**stored, "Value": stored["Value"][:2]}, "0008119A": other}, 202)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.ACCEPTED] * 2 + [Outcome.AMBIGUOUS] * 2


@pytest.mark.parametrize(
    "document",
    [
        "text",
        [1],
        {"00081199": 1},
        {"00081199": {"Value": [1]}},
        {"00081199": {"Value": [{"00081155": {"Value": [None]}}]}},
        {"00081198": {"Value": [{"00081155": {"Value": ["1.2"]}, "00081197": {"Value": ["x"]}}]}},
    ],
)
def test_a_malformed_answer_proves_nothing(items: list[UploadItem], document: Any) -> None:
    (outcome,) = answered(items[:1], document)
    assert (outcome.outcome, outcome.failure) == (Outcome.AMBIGUOUS, FailureClass.ANSWER_LOST)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("HTTPS://Pacs.Example.org/dicom-web/", "https://pacs.example.org/dicom-web"),
        ("http://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web"),
        ("http://[::1]:8042", "http://[::1]:8042"),
    ],
)
def test_the_address_is_the_base_url(given: str, address: str) -> None:
    assert address_of(options(given)) == address


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("https://alice:geheim@pacs.example.org/dicom-web", {}),
        ("pacs.example.org/dicom-web", {}),
        ("https://", {}),
        ("https://pacs.example.org:port/", {}),
        ("https://pacs.example.org/dicom-web/studies", {}),
        ("https://pacs.example.org/?token=geheim", {}),
        ("https://pacs.example.org", {"stow_token": "geheim", "stow_user": "alice", "stow_password": "geheim"}),
        ("https://pacs.example.org", {"stow_user": "alice"}),
        ("https://pacs.example.org", {"stow_password": "geheim"}),
        ("https://pacs.example.org", {"stow_token": "geheim\nX: y"}),
        ("https://pacs.example.org", {"stow_timeout": 0.0}),
        ("https://pacs.example.org", {"stow_wait": -1.0}),
    ],
)
def test_unusable_options_are_refused_without_their_secrets(url: str, more: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        address_of(options(url, **more))
    assert "geheim" not in f"{refused.value.message} {refused.value.hint}"
