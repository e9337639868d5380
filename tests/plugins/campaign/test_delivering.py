"""One row is delivered under a claim: what the server holds, and what the ledger says about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import row_worker
from pydicom import dcmread
from row_worker import delivering
from systems import needs_signals

from xnatctl.api import Destination, Placement, UploadRequest
from xnatctl.api.commands import plan_session_upload
from xnatctl.testing import write_exam
from xnatctl_campaign.delivering import CHANGED, CLAIM_LOST
from xnatctl_campaign.folder import Campaign, CampaignInfo, now, write_campaign
from xnatctl_campaign.ledger import RowState, entries, latest
from xnatctl_campaign.row import Row

pytestmark = pytest.mark.once

#: Seconds, for workers that are stopped.
LEASE = 1.0


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    return write_exam(tmp_path / "exam", series=2, instances=6, seed=3, clutter=False)


@pytest.fixture
def freeze(tmp_path: Path, sandbox: Any, exam: Any):
    """Freezes one row of the exam."""

    def make(transport: str = "tar", **fields: Any) -> Campaign:
        project = fields.pop("project", "DEMO")
        request = UploadRequest(
            command="session upload",
            path=str(exam.directory),
            destination=Destination(server=sandbox.url, project=project, subject="s", session="e"),
            transport=transport,
            workers=4,
            most_workers=16,
            **fields,
        )
        info = CampaignInfo(
            server=sandbox.url, manifest="m", manifest_sha256="0", rows=0, excluded=0, created=now(), version="0"
        )
        row = Row(number=1, line=2, path=str(exam.directory), project=project, subject="s", session="e")
        write_campaign(tmp_path / "c", info, [(row, plan_session_upload(request))], [])
        return Campaign(tmp_path / "c")

    return make


def copies(sandbox: Any) -> Counter[str]:
    """How often the archive holds each instance, catalogued."""
    return Counter(
        entry["sop_instance_uid"]
        for entry in sandbox.instances()
        if entry["place"] == "archive" and entry["catalogued"]
    )


def imports(sandbox: Any) -> int:
    return sum(request["path"].endswith("/data/services/import") for request in sandbox.requests)


def test_a_row_is_proven_once(freeze, sandbox: Any, exam: Any) -> None:
    campaign = freeze()
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code, entry.exit_code, entry.generation) == (RowState.PROVEN, "", 0, 1)
    assert (entry.found, entry.sent, entry.verified, entry.level) == (12, 12, 12, "size")
    assert entry.uri.startswith("/data/")
    assert copies(sandbox) == Counter(dict.fromkeys(exam.instances, 1))
    assert [each.state for each in entries(campaign.directory)] == [RowState.STARTED, RowState.PROVEN]
    assert latest(campaign.directory)[1] == entry
    with delivering(campaign.directory) as deliver:
        before = len(sandbox.requests)
        again = deliver(1)  # this worker was told before the other one ended
        assert (again.state, again.generation) == (RowState.PROVEN, 2)
        assert len(sandbox.requests) == before
    with delivering(campaign.directory, recheck=True) as deliver:
        asked, sent = len(sandbox.requests), imports(sandbox)
        checked = deliver(1)
        assert (checked.state, checked.sent, checked.skipped, checked.verified) == (RowState.PROVEN, 0, 12, 12)
        assert (len(sandbox.requests) > asked, imports(sandbox)) == (True, sent)


def test_a_row_that_another_worker_holds_is_not_delivered(freeze, sandbox: Any) -> None:
    campaign = freeze()
    from xnatctl_campaign.claims import Claims

    with Claims(campaign.directory, "other", 600.0) as others, delivering(campaign.directory) as deliver:
        held = others.take(1)
        assert deliver(1) is None
        assert imports(sandbox) == 0
        held.end()
        assert deliver(1).generation == 2


@pytest.mark.parametrize("change", ["grown", "vanished", "appeared"])
def test_a_row_whose_files_changed_is_not_sent(freeze, sandbox: Any, exam: Any, change: str) -> None:
    campaign = freeze()
    path = next(iter(exam.instances.values())).path
    if change == "grown":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "vanished":
        path.unlink()
    else:
        path.with_name("new.dcm").write_bytes(path.read_bytes())
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code, entry.exit_code) == (RowState.FAILED, CHANGED, 5)
    assert (
        f"1 file {'appeared or changed' if change == 'appeared' else change.replace('grown', 'changed')}"
        in entry.reason
    )
    assert imports(sandbox) == 0


def test_a_new_change_time_alone_is_no_change(freeze, sandbox: Any, exam: Any) -> None:
    campaign = freeze()
    for instance in exam.instances.values():
        os.utime(instance.path, ns=(0, instance.path.stat().st_mtime_ns))
    with delivering(campaign.directory) as deliver:
        assert deliver(1).state is RowState.PROVEN


def test_a_file_that_holds_another_instance_is_a_change(freeze, sandbox: Any, exam: Any) -> None:
    """It was edited in place, and its time was restored: XNAT would store it in the session of another study."""
    campaign = freeze()
    path = next(iter(exam.instances.values())).path
    status, content = path.stat(), path.read_bytes()
    study = exam.study_instance_uid
    path.write_bytes(content.replace(study.encode(), f"{study[:-1]}{9 - int(study[-1])}".encode()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code) == (RowState.FAILED, CHANGED)
    assert imports(sandbox) == 0


def test_a_row_keeps_to_its_share_of_requests(freeze, sandbox: Any) -> None:
    campaign = freeze("gradual")
    with delivering(campaign.directory, requests=2) as deliver:
        assert deliver(1).state is RowState.PROVEN
    assert sandbox.concurrency.read()["requests"]["peak"] <= 2


def test_a_number_of_files_proves_nothing(freeze, sandbox: Any) -> None:
    campaign = freeze(placement=Placement.PREARCHIVE)
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code, entry.exit_code) == (RowState.FAILED, "verification", 6)
    assert entry.reason == "0 of 12 files are proven to be on the server: it only lists their number."
    assert entry.uri in entry.hint


def test_a_failure_has_its_code(freeze, sandbox: Any) -> None:
    sandbox.faults.load([{"match": {"path": "/services/import"}, "action": "status", "status": 403}])
    campaign = freeze()
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code, entry.exit_code) == (RowState.FAILED, "permission", 3)
    assert entry.reason.startswith("None of 12 files was delivered: ")


def test_what_a_server_repeats_of_a_patient_is_not_written(freeze, sandbox: Any, exam: Any) -> None:
    name = dcmread(next(iter(exam.instances.values())).path, stop_before_pixels=True).PatientName
    said = {"status": 403, "page": "plain", "text": f"this user may not send {name}"}
    sandbox.faults.load([{"match": {"path": "/services/import"}, "action": "status", **said}])
    campaign = freeze()
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert "may not send [patient]" in entry.reason
    written = [path for path in campaign.directory.rglob("*") if path.is_file()]
    assert [path for path in written if str(name).encode() in path.read_bytes()] == []


def test_the_rest_of_a_row_is_sent_by_the_command_that_its_hint_names(freeze, sandbox: Any) -> None:
    sandbox.faults.load([{"match": {"path": "/services/import"}, "nth": 6, "action": "status", "status": 403}])
    campaign = freeze("gradual")
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code, entry.exit_code) == (RowState.FAILED, "incomplete", 5)
    assert f"xnatctl campaign run {campaign.directory} --only 1" in entry.hint
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.generation, entry.skipped > 0) == (RowState.PROVEN, 2, True)


def test_a_killed_worker_is_resumed_from_its_journal(freeze, sandbox: Any, exam: Any) -> None:
    campaign = freeze("gradual")
    dead = subprocess.Popen([sys.executable, row_worker.__file__, campaign.directory, "600", "1"])
    while len(sandbox.instances()) < 4:
        time.sleep(0.01)
    dead.kill()
    dead.wait()
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.generation, entry.verified) == (RowState.PROVEN, 2, 12)
    assert entry.skipped >= 2  # each of two workers may have had one answer that is not recorded
    assert copies(sandbox) == Counter(dict.fromkeys(exam.instances, 1))
    assert sorted(path.name for path in (campaign.directory / "work").iterdir()) == ["1.1", "1.2"]


@needs_signals
def test_a_worker_that_was_stopped_harms_nothing_when_it_continues(freeze, sandbox: Any, exam: Any) -> None:
    campaign = freeze("gradual")
    stopped = subprocess.Popen(
        [sys.executable, row_worker.__file__, campaign.directory, str(LEASE), "1"], stdout=subprocess.PIPE, text=True
    )
    while len(sandbox.instances()) < 4:
        time.sleep(0.01)
    os.kill(stopped.pid, signal.SIGSTOP)
    os.waitpid(stopped.pid, os.WUNTRACED)
    entry = None
    with delivering(campaign.directory, lease=LEASE) as deliver:
        while entry is None or entry.code == CLAIM_LOST:  # a busy machine may be silent for half a lease
            entry = deliver(1)
    assert entry.state is RowState.PROVEN
    sent = imports(sandbox)
    os.kill(stopped.pid, signal.SIGCONT)
    late = json.loads(stopped.communicate()[0])
    assert (late["state"], late["code"], late["generation"]) == ("interrupted", CLAIM_LOST, 1)
    assert "another one may have taken the row" in late["reason"]
    assert imports(sandbox) <= sent + 2  # what its two workers had in flight
    assert copies(sandbox) == Counter(dict.fromkeys(exam.instances, 1))
    assert latest(campaign.directory)[1] == entry


def test_a_claim_that_is_lost_while_the_server_archives_ends_the_row(freeze, sandbox: Any) -> None:
    """The claim is removed while the worker waits for the server, so no write of its own would notice."""
    campaign = freeze()
    sandbox.switches.archive_seconds = 600.0
    worker = subprocess.Popen(
        [sys.executable, row_worker.__file__, campaign.directory, str(LEASE), "1"], stdout=subprocess.PIPE, text=True
    )
    while not sandbox.concurrency.read()["archiving"]["now"]:
        time.sleep(0.01)
    (campaign.directory / "claims" / "0" / "1.1").unlink()
    late = json.loads(worker.communicate()[0])
    assert (late["state"], late["code"]) == ("interrupted", CLAIM_LOST)
    sandbox.switches.archive_seconds = 0.0


def test_a_plan_that_cannot_be_read_is_an_error_of_its_row(freeze) -> None:
    campaign = freeze()
    path = campaign.directory / "plans.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"command"', b'"comment"'))
    with delivering(campaign.directory) as deliver:
        entry = deliver(1)
    assert (entry.state, entry.code, entry.exit_code) == (RowState.FAILED, "usage", 2)
    assert entry.reason == f"{path} is not as it was when the campaign was planned."
