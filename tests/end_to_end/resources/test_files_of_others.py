"""Other people put files into the resource during an upload: none of theirs is replaced."""

from __future__ import annotations

import pytest

from xnatctl.api import (
    DeliveryIncomplete,
    PermissionDenied,
    Refused,
)
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl_resource.transport import ResourceTransport


@pytest.mark.parametrize(("content", "outcome"), [(b"A", "verified"), (b"another", "rejected")])
def test_a_file_that_appears_meanwhile_is_looked_into(
    make_plan, files, carry_out, server, session, on_disk, content, outcome
):
    """Somebody else is faster: 200 and a list of duplicates (xnat-api 4.4), which is neither yes nor no."""

    class Slow(ResourceTransport):
        def send(self, batch, emit):
            server.put(f"/data/experiments/{session}/resources/A/files/plain.txt", content)
            return super().send(batch, emit)

    run, error = carry_out(make_plan(*files("A")), resource=Slow)
    assert {item.path: str(item.outcome) for item in run.report.items}["A/plain.txt"] == outcome
    assert isinstance(error, DeliveryIncomplete) is (outcome == "rejected")
    assert on_disk("A") == {"0 [A].txt": b"A", "1 [A].txt": b"A", "plain.txt": content}
    again, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, Refused) is (outcome == "rejected"), "it is somebody else's, however often we try"
    assert on_disk("A")["plain.txt"] == content


def test_a_file_that_appears_between_two_attempts_is_not_replaced(
    make_plan, files, carry_out, server, session, on_disk, sandbox
):
    """The first request was turned away, so what is there at the second is not ours."""
    sandbox.faults.load([{"match": {"method": "PUT", "path": "/files/"}, "nth": 1, "action": "status", "status": 429}])

    class Overtaken(ResourceTransport):
        tries = 0

        def send(self, batch, emit):
            Overtaken.tries += 1
            if Overtaken.tries == 2:
                server.put(f"/data/experiments/{session}/resources/A/files/plain.txt", b"somebody else's")
            return super().send(batch, emit)

    run, error = carry_out(make_plan(*files("A")), resource=Overtaken)
    assert Overtaken.tries == 2
    assert isinstance(error, DeliveryIncomplete)
    assert {item.path: str(item.outcome) for item in run.report.items}["A/plain.txt"] == "rejected"
    assert on_disk("A")["plain.txt"] == b"somebody else's"


def test_what_may_have_been_stored_stays_ours_when_the_next_attempt_is_turned_away(
    make_plan, files, carry_out, session, on_disk, sandbox
):
    """Stored Stored with the answer lost, then 403: on a site without checksums the files are read back."""
    sandbox.state.site["checksums"] = False
    match = {"method": "PUT", "path": "/files/"}
    lost = {"match": match, "nth": 1, "action": "store-then-cut"}
    refused = {"match": match, "nth": "every", "action": "status", "status": 403}
    unread = {"match": {"method": "GET", "path": "/files/."}, "nth": "every", "action": "status", "status": 403}
    unlisted = {"match": {"method": "GET", "path": "/files"}, "nth": 1, "action": "status", "status": 403}
    sandbox.faults.load([lost, refused, unread, unlisted])
    _, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, PermissionDenied)
    sandbox.faults.load([])
    _, error = carry_out(make_plan(*files("A")))
    assert error is None, error
    assert on_disk("A") == {"0 [A].txt": b"A", "1 [A].txt": b"A", "plain.txt": b"A"}


@pytest.mark.parametrize("checksums", [True, False])
def test_a_lost_answer_gives_no_right_to_replace_what_somebody_else_put_there(
    make_plan, files, carry_out, server, session, on_disk, sandbox, checksums
):
    """Nothing of the first request arrived. Before the second a colleague's file is there, in the same bundle."""
    sandbox.state.site["checksums"] = checksums
    sandbox.faults.load([{"match": {"method": "PUT", "path": "/files/"}, "nth": 1, "action": "cut-before-body"}])
    put = f"/data/experiments/{session}/resources/A/files"

    class Overtaken(ResourceTransport):
        tries = 0

        def send(self, batch, emit):
            result = super().send(batch, emit)
            Overtaken.tries += 1
            if Overtaken.tries == 1:
                server.put(f"{put}/plain.txt", b"B")  # of the same size as ours
            return result

    run, error = carry_out(make_plan(*files("A")), resource=Overtaken)
    assert isinstance(error, DeliveryIncomplete)
    assert {item.path: str(item.outcome) for item in run.report.items}["A/plain.txt"] == "rejected"
    assert on_disk("A") == {"0 [A].txt": b"A", "1 [A].txt": b"A", "plain.txt": b"B"}
    _, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, Refused)
    assert "plain.txt" in error.message
    _, error = carry_out(make_plan(*files("A", overwrite=True)))
    assert error is None
    assert on_disk("A")["plain.txt"] == b"A"


@pytest.mark.parametrize("meanwhile", ["nothing", "replaced", "finished"])
def test_half_a_file_is_replaced_in_a_request_of_its_own(
    make_plan, files, carry_out, server, session, on_disk, writes, tmp_path, meanwhile
):
    """What overwrites holds nothing but what an interrupted run of ours left half, looked at once more before."""
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "plain.txt").write_bytes(b"0123456789")
    put = f"/data/experiments/{session}/resources/A/files/plain.txt"

    class Silent(ResourceTransport):
        """Nobody knows what arrived."""

        def send(self, batch, emit):
            unknown = {"outcome": Outcome.AMBIGUOUS, "failure": FailureClass.FATAL, "reason": "no answer"}
            return BatchResult(outcomes=tuple(ItemOutcome(path=item.path, **unknown) for item in batch.items))

    class Watched(ResourceTransport):
        def send(self, batch, emit):
            if meanwhile != "nothing" and "plain.txt" in [item.name for item in batch.items]:
                content = {"replaced": b"01x34", "finished": b"0123456789"}[meanwhile]
                server.call("PUT", put, body=content, inbody="true", overwrite="true")
            return super().send(batch, emit)

    assert carry_out(make_plan(*files("A")), resource=Silent)[1] is not None
    server.put(put, b"01234")
    before = len(writes())
    run, error = carry_out(make_plan(*files("A")), resource=Watched)
    sent = [(request["path"].rpartition("/")[2], "overwrite=true" in request["query"]) for request in writes()[before:]]
    rest = {"0 [A].txt": b"A", "1 [A].txt": b"A"}
    if meanwhile == "replaced":
        assert isinstance(error, DeliveryIncomplete)
        assert on_disk("A") == {**rest, "plain.txt": b"01x34"}
    else:
        assert error is None, error
        assert on_disk("A") == {**rest, "plain.txt": b"0123456789"}
    by_us = {"nothing": [("plain.txt", True)]}.get(meanwhile, [])
    by_them = [("plain.txt", True)] * (meanwhile != "nothing")
    assert sent == [("xnatctl-bundle.zip", False), *by_them, *by_us]
