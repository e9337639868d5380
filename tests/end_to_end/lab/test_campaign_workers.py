"""Worker processes of a campaign are killed and stopped at random moments, and the server fails now and then."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import row_worker

from xnatctl.delivery.planning import plan_session_upload
from xnatctl.model.plan import UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing import write_exam
from xnatctl_campaign.claims import Holding, claim_states
from xnatctl_campaign.folder import Campaign, CampaignInfo, now, write_campaign
from xnatctl_campaign.ledger import RowState, latest
from xnatctl_campaign.row import Row

pytestmark = [pytest.mark.once, pytest.mark.lab]

LEASE = 2.0
#: One request in twenty.
FAULTS = [
    {"match": {"path": "/data/(?!JSESSION)"}, "probability": 0.02, "seed": 1, "action": "status", "status": 503},
    {"match": {"path": "/data/(?!JSESSION)"}, "probability": 0.02, "seed": 2, "action": "rst"},
    {"match": {"path": "services/import"}, "probability": 0.02, "seed": 3, "action": "store-then-cut"},
]


class Workers:
    """Three processes that work on one campaign; those that end are replaced until the campaign is done."""

    def __init__(self, directory: Path, dice: Any) -> None:
        self._directory = directory
        self._dice = dice
        self.running = [self._start() for _ in range(3)]
        self.stopped: list[tuple[float, Any]] = []

    def _start(self) -> subprocess.Popen[bytes]:
        seed = self._dice.randrange(1 << 30)
        return subprocess.Popen([sys.executable, row_worker.__file__, self._directory, str(LEASE), "all", str(seed)])

    def disturb(self) -> None:
        """Kill one of them, or stop it for a time that may be longer than the lease."""
        place = self._dice.randrange(3)
        victim, self.running[place] = self.running[place], self._start()
        if self._dice.random() < 0.6:
            victim.kill()
            victim.wait()
        else:
            victim.send_signal(signal.SIGSTOP)
            self.stopped.append((time.monotonic() + self._dice.random() * 2 * LEASE, victim))

    def proceed(self) -> None:
        """Continue those whose time has come."""
        due = [entry for entry in self.stopped if entry[0] <= time.monotonic()]
        for entry in due:
            self.stopped.remove(entry)
            entry[1].send_signal(signal.SIGCONT)
            self.running.append(entry[1])

    def close(self) -> None:
        """Kill all that is left."""
        for process in (*self.running, *(process for _, process in self.stopped)):
            process.kill()
            process.wait()


@pytest.fixture
def campaign(sandbox: Any, tmp_path: Path, exams: list[Any]) -> Campaign:
    """A row for each exam, by turns as bundles and file by file."""

    def rows() -> Any:
        for number, exam in enumerate(exams, 1):
            where = Destination(server=sandbox.url, project="DEMO", subject=f"s{number}", session=f"e{number}")
            request = UploadRequest(
                command="session upload",
                path=str(exam.directory),
                destination=where,
                transport=("tar", "gradual")[number % 2],
                workers=2,
            )
            path, session = str(exam.directory), where.session
            row = Row(number=number, line=number + 1, path=path, project="DEMO", subject=where.subject, session=session)
            yield row, plan_session_upload(request)

    info = CampaignInfo(
        server=sandbox.url, manifest="m", manifest_sha256="0", rows=0, excluded=0, created=now(), version="0"
    )
    write_campaign(tmp_path / "c", info, rows(), [])
    return Campaign(tmp_path / "c")


@pytest.fixture
def exams(tmp_path: Path, full: bool) -> list[Any]:
    return [
        write_exam(tmp_path / f"exam{number}", series=2, instances=5, seed=number, clutter=False)
        for number in range(60 if full else 15)
    ]


def test_workers_that_die_or_stop_lose_and_repeat_nothing(
    campaign: Campaign, sandbox: Any, exams: list[Any], dice: Any, full: bool
) -> None:
    sandbox.faults.load(FAULTS)
    sandbox.switches.archive_seconds = 0.05
    workers = Workers(campaign.directory, dice)
    try:
        for _ in range(100 if full else 20):
            time.sleep(dice.random())
            workers.disturb()
            workers.proceed()
        while any(process.poll() is None for process in workers.running) or workers.stopped:
            workers.proceed()
            time.sleep(0.05)
    finally:
        workers.close()
    states = latest(campaign.directory)
    assert {row: entry.state for row, entry in states.items()} == dict.fromkeys(
        range(1, len(exams) + 1), RowState.PROVEN
    )
    expected = {uid for exam in exams for uid in exam.instances}
    held = Counter(
        entry["sop_instance_uid"]
        for entry in sandbox.instances()
        if entry["place"] == "archive" and entry["catalogued"]
    )
    assert held == Counter(dict.fromkeys(expected, 1))
    assert len(sandbox.instances()) == len(expected), "something is in the prearchive"
    sessions = Counter(entry["session"] for entry in sandbox.instances())
    assert sessions == Counter({f"e{number}": 10 for number in range(1, len(exams) + 1)})
    assert sandbox.concurrency.read()["archiving"]["peak"] <= row_worker.BUDGET["archiving"] + len(workers.running)
    assert {state.holding for state in claim_states(campaign.directory)} == {Holding.ENDED}


def test_workers_together_keep_to_the_budget(campaign: Campaign, sandbox: Any, exams: list[Any], dice: Any) -> None:
    sandbox.switches.archive_seconds = 0.05
    command = [sys.executable, row_worker.__file__, campaign.directory, "600", "all"]
    workers = [subprocess.Popen([*command, str(dice.randrange(1 << 30))]) for _ in range(6)]
    assert [worker.wait() for worker in workers] == [0] * 6
    assert {entry.state for entry in latest(campaign.directory).values()} == {RowState.PROVEN}
    peaks = {what: numbers["peak"] for what, numbers in sandbox.concurrency.read().items()}
    budget = row_worker.BUDGET
    assert peaks["sessions"] <= budget["sessions"]
    assert peaks["archiving"] <= budget["archiving"]
    assert peaks["requests"] <= 2 * budget["sessions"]  # each row may have two
