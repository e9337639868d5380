"""The transport keeps the contract of transports for sessions, and stages as it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xnatctl_usercache.plugin import xnatctl_transports
from xnatctl_usercache.transport import UserCacheTransport

from xnatctl.api import Event, Outcome, TransportContext
from xnatctl.testing import FakeHttp, FakeImporter, TransportContract, make_context, make_item, write_exam

(SPEC,) = xnatctl_transports()


class TestContract(TransportContract):
    """What every transport for sessions must do; with the plugin installed, also uploads to the sandbox."""

    spec = SPEC


def context(server: FakeHttp, *, version: tuple[int, ...] = (1, 8, 11)) -> TransportContext:
    """What it is made with."""
    server.importer.version = version
    return replace(make_context(server.importer), http=server)


def deliver(made: TransportContext, directory: Path) -> list[str]:
    """Send one batch by a transport; returns the staged paths while it is in use."""
    exam = write_exam(directory, series=1, instances=3, clutter=False)
    items = [make_item(instance.path) for instance in exam.instances.values()]
    heard: list[Event] = []
    with UserCacheTransport(made) as transport:
        for batch in transport.batches(items, 1):
            result = transport.send(batch, heard.append)
            assert {(o.outcome, o.uri) for o in result.outcomes} == {(Outcome.ACCEPTED, result.uris[0])}
        assert isinstance(made.http, FakeHttp)
        return sorted(made.http.stored)


def test_one_file_waits_in_the_cache_and_is_removed_at_the_end(tmp_path: Path) -> None:
    server = FakeHttp(FakeImporter())
    (path,) = deliver(context(server), tmp_path)
    assert path.startswith("/data/user/cache/resources/xnatctl/files/")
    assert path.endswith("-1.tar")
    assert server.stored == {}


def test_an_interrupt_leaves_the_file_and_the_next_run_has_the_same_path(tmp_path: Path) -> None:
    server = FakeHttp(FakeImporter())
    interrupted = replace(context(server), stop_requested=lambda: True)
    first = deliver(interrupted, tmp_path)
    assert sorted(server.stored) == first
    assert deliver(context(server), tmp_path) == first
    assert server.stored == {}


def test_an_old_server_gets_a_zip(tmp_path: Path) -> None:
    server = FakeHttp(FakeImporter())
    (path,) = deliver(context(server, version=(1, 8, 2)), tmp_path)
    assert path.endswith(".zip")
    assert all(received.content.startswith(b"PK") for received in server.importer.received)
