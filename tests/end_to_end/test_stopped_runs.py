"""A run that another thread stops, or that may not write any more: it ends soon, and another run finishes the job."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from running import services

from xnatctl.delivery.opening import exclusively, journal_path
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.delivery.service import deliver
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import Interrupted, Refused
from xnatctl.model.plan import Placement, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.plugin.credentials import Password
from xnatctl.xnat.client import XnatClient
from xnatctl_zip.transport import TarTransport

HOLD = {"action": "hold", "seconds": 600}
IMPORT = {"method": "POST", "path": "/data/services/import"}
ARCHIVE = {"method": "POST", "path": "/data/services/archive"}
DIRECT = {"method": "POST", "path": "/xapi/direct-archive"}
FILES = {"method": "GET", "path": "/data/experiments"}


@pytest.fixture
def client(sandbox):
    with XnatClient(sandbox.url) as made:
        made.login(lambda: Password(username="alice", secret="alice"))
        yield made


@pytest.fixture
def plan(sandbox, exam):
    where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
    return plan_session_upload(
        UploadRequest(command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=2)
    )


@pytest.fixture
def made(client, tmp_path):
    (tmp_path / "journals").mkdir()
    return services({"tar": TarTransport}, tmp_path / "journals", connect=lambda: client, wait=600.0)


@contextmanager
def stopping(stop, sandbox, match):
    """Stop from another thread as soon as the server holds a request of the run."""

    def watch():
        while not any(r["method"] == match["method"] and match["path"] in r["path"] for r in list(sandbox.requests)):
            time.sleep(0.01)
        stop.stop("The row was taken over.")

    sandbox.faults.load([{"match": match, **HOLD}])
    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    sandbox.faults.load([])


@pytest.mark.parametrize("match", [IMPORT, DIRECT, FILES], ids=["sending", "settling", "verifying"])
def test_a_stop_cuts_what_is_in_flight_and_another_run_finishes(
    sandbox, exam, plan, made, client, match, assert_exactly
):
    stop = StopToken()
    with stopping(stop, sandbox, match):
        report = deliver(plan, replace(made, stop=stop))
    assert isinstance(report.failure, Interrupted)
    assert report.failure.message.startswith("Interrupted. The row was taken over.")
    assert (report.failure.exit_code, report.status) == (143, "interrupted")
    writes = client.writes
    assert deliver(plan, replace(made, stop=stop)).status == "interrupted"  # a token stays stopped
    assert client.writes == writes
    again = deliver(plan, made)
    assert (again.failure, again.status) == (None, "complete")
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_a_stop_ends_the_commit_of_a_prearchive_session(sandbox, exam, plan, made, assert_exactly):
    staged = deliver(replace(plan, placement=Placement.PREARCHIVE), made)
    assert staged.failure is None, staged.failure
    stop = StopToken()
    with stopping(stop, sandbox, ARCHIVE):
        report = deliver(plan, replace(made, stop=stop))
    assert report.status == "interrupted"
    assert deliver(plan, made).status == "complete"
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_a_stop_ends_the_wait_for_another_run(plan, made):
    stop, said = StopToken(), threading.Event()
    key = journal_path(plan, made.journals, made.address).stem
    held = replace(made, say=lambda text: said.set(), lock_wait=600.0, stop=stop)
    threading.Thread(target=lambda: said.wait(60) and stop.stop()).start()
    with exclusively(replace(made, lock_wait=0.0), "x", "y"), _locked(made, key):
        report = deliver(plan, held)
    assert (report.status, report.failure.message) == ("interrupted", "Interrupted before anything was sent.")


@contextmanager
def _locked(made, name):
    from xnatctl.delivery.opening import _lock

    with _lock(made, name) as lock:
        yield lock


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_a_run_that_may_not_write_any_more_sends_nothing_else(
    sandbox, exam, plan, made, client, assert_exactly, allowed
):
    """As after a pause, in which another process took over the work."""
    granted = []

    def before_write():
        if len(granted) >= allowed + 1:  # the first one is the check of the first batch
            raise Refused("Another worker holds row 7 now.")
        granted.append(1)

    report = deliver(replace(plan, workers=1), replace(made, stop=StopToken(before_write)))
    assert isinstance(report.failure, Interrupted)
    assert "Another worker holds row 7 now." in report.failure.message
    writes = [r for r in sandbox.requests if r["method"] != "GET" and "JSESSION" not in r["path"]]
    assert len(writes) <= allowed + 1
    assert client.writes >= len(writes)
    again = deliver(plan, made)
    assert (again.failure, again.status) == (None, "complete")
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_the_permit_is_held_while_the_server_archives(sandbox, plan, made):
    seen = []

    @contextmanager
    def permit():
        seen.append(("begin", [r["path"] for r in sandbox.requests if "direct-archive" in r["path"]]))
        yield
        seen.append(("end", [r["method"] for r in sandbox.requests if "direct-archive" in r["path"]]))

    assert deliver(plan, replace(made, archiving=permit)).failure is None
    (_, before), (_, after) = seen
    assert "POST" not in before
    assert "POST" in after


class Clock(StopToken):
    """Time passes only where the test says so."""

    passed = 0.0

    def now(self):
        return self.passed


def test_waiting_for_the_permit_does_not_use_up_the_time_for_settling(plan, made):
    clock = Clock()

    @contextmanager
    def permit():
        clock.passed += 10_000
        yield

    assert deliver(plan, replace(made, archiving=permit, stop=clock)).failure is None


def test_an_interrupt_while_waiting_for_the_permit_ends_the_run(sandbox, exam, plan, made, assert_exactly):
    stop = StopToken()

    @contextmanager
    def permit():
        threading.Timer(0.1, stop.stop).start()
        while stop.wait(60):
            pass
        stop.check()
        yield

    report = deliver(plan, replace(made, archiving=permit, stop=stop))
    assert report.status == "interrupted"
    assert deliver(plan, made).status == "complete"
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
