"""`--wait` is the time for all of settling together, however many phases it has. The clock of these tests is not real."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest
from running import run_in, services

from xnatctl.api import (
    Destination,
    NotArchived,
    Password,
    ResourceLevel,
    ResourceRef,
    Stage,
    UploadPlan,
    UploadRequest,
)
from xnatctl.api.commands import plan_resource_stage, plan_session_upload, scan_files
from xnatctl.delivery import context
from xnatctl.delivery.schedule import PollSchedule
from xnatctl.delivery.stopping import StopToken
from xnatctl.model.plan import Overwrite, Placement
from xnatctl.testing import write_exam
from xnatctl.xnat.client import XnatClient
from xnatctl_resource.transport import ResourceTransport
from xnatctl_zip.transport import TarTransport

pytestmark = pytest.mark.once
WAIT = 5.0


class Clock(StopToken):
    """Time passes only by waiting, which takes none; `at` is called when its time has come."""

    def __init__(self, at=None):
        super().__init__()
        self.passed, self._at = 0.0, dict(at or {})

    def wait(self, seconds):
        self.passed += seconds
        for moment in [moment for moment in self._at if moment <= self.passed]:
            self._at.pop(moment)()
        time.sleep(0.01)  # for the server's threads
        return not self.requested

    def now(self):
        return self.passed


@pytest.fixture
def client(sandbox):
    with XnatClient(sandbox.url) as made:
        made.login(lambda: Password(username="alice", secret="alice"))
        yield made


@pytest.fixture
def run(sandbox, client, tmp_path, monkeypatch):
    """Run an upload with a clock of its own, with resources or without; returns the clock and the error."""

    def run(clock, *, placement=Placement.ARCHIVE, resources=False):
        exam = write_exam(tmp_path / "exam", series=1, instances=2, seed=3, clutter=False)
        where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
        request = UploadRequest(
            command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=1,
            placement=placement,
        )  # fmt: skip
        stages = plan_session_upload(request).stages
        if resources:
            notes = tmp_path / "notes"
            notes.mkdir()
            (notes / "a.txt").write_text("a")
            ref = ResourceRef(label="NOTES", level=ResourceLevel.SESSION)
            wait = Stage(kind="await-archive", name="wait", options={"seconds": WAIT})
            stages = (*stages, wait, plan_resource_stage(ref, scan_files(str(notes)).items))
        plan = UploadPlan(
            command="session upload", root=str(tmp_path), destination=where, workers=1, placement=placement,
            overwrite=Overwrite.DELETE, stages=stages,
        )  # fmt: skip
        monkeypatch.setattr(context, "StopToken", lambda: clock)
        transports = {"tar": TarTransport, "resource": ResourceTransport}
        made = services(transports, tmp_path, wait=WAIT)
        _, error = run_in(plan, made, client=client, exclusively=lambda key: nullcontext())
        assert isinstance(error, NotArchived), error
        return error

    return run


def never_built(sandbox):
    sandbox.faults.load([{"match": {"method": "POST", "path": "/data/prearchive/"}, "action": "status", "status": 409}])


def test_building_and_archiving_share_it(sandbox, run):
    """The server does not read the session for 4 s, and archives it without end."""
    sandbox.state.version = "1.8.3"
    sandbox.state.site["sessionArchiveTimeoutInterval"] = 0.1
    sandbox.switches.archive_seconds = 1000.0
    never_built(sandbox)
    clock = Clock({4.0: lambda: sandbox.faults.load([])})
    error = run(clock)
    assert "after 5 s" in error.message
    assert [request for request in sandbox.requests if request["path"].endswith("/services/archive")]
    assert clock.passed == pytest.approx(WAIT)
    sandbox.switches.archive_seconds = 0.0


def test_settling_and_waiting_for_a_person_share_it(sandbox, run):
    never_built(sandbox)
    clock = Clock({4.0: lambda: sandbox.faults.load([])})
    error = run(clock, placement=Placement.PREARCHIVE, resources=True)
    assert "is not in the archive" in error.message
    assert clock.passed == pytest.approx(WAIT)


def test_a_server_that_asks_for_more_time_than_is_left_gets_what_is_left(sandbox, run):
    sandbox.state.version = "1.8.3"
    sandbox.faults.load(
        [{"match": {"path": "/services/archive"}, "action": "status", "status": 429, "headers": {"Retry-After": "200"}}]
    )
    clock = Clock()
    run(clock)
    assert clock.passed <= WAIT + 1e-6


def test_what_is_sent_and_compared_between_takes_none_of_it():
    clock = Clock()
    schedule = PollSchedule(stop=clock, limit=10.0)
    clock.wait(3.0)  # before the first call
    polls = schedule.polls()
    assert polls()
    spent = clock.passed - 3.0
    schedule.suspend()
    clock.wait(100.0)
    schedule.suspend()
    assert schedule.left() == pytest.approx(10.0 - spent)
    assert schedule.left(60.0) == pytest.approx(60.0 - spent)
    while polls():
        pass
    assert clock.passed == pytest.approx(113.0)
    assert not schedule.polls()()
