"""A worker that is stopped in the middle of a row, and continues after another one has taken it over, does no harm."""

from __future__ import annotations

import os
import signal
import time

import pytest
from campaign_trials import CampaignTrial

pytestmark = [pytest.mark.once, pytest.mark.lab, pytest.mark.timeout(900)]

ROWS, INSTANCES = 4, 30
LEASE = 3.0


@pytest.fixture
def trial(campaign_trial) -> CampaignTrial:
    return campaign_trial.write(ROWS, INSTANCES).plan(lease=LEASE)


@pytest.mark.parametrize("whole", [False, True], ids=["its worker", "with its run"])
@pytest.mark.parametrize("moment", ["sending", "archiving"])
def test_a_stopped_worker_continues_after_its_row_was_taken_over(trial, moment, whole):
    if moment == "sending":
        trial.sandbox.faults.load([{"match": {"path": "services/import"}, "nth": 2, "action": "delay", "seconds": 2}])
    else:
        trial.sandbox.switches.archive_seconds = 2.0
    first = trial.start("--sessions", "1")
    if moment == "sending":
        while not any("services/import" in request["path"] for request in trial.sandbox.requests):
            time.sleep(0.01)
    else:
        while not trial.sandbox.concurrency.read()["archiving"]["now"]:
            time.sleep(0.01)
    stopped = trial.work_processes() + ([first.pid] if whole else [])
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    trial.sandbox.faults.load([])
    trial.sandbox.switches.archive_seconds = 0.0
    try:
        code, _, _ = trial.finish(trial.start("--sessions", "2"))
        assert code == 0, trial.log
        trial.assert_complete()
        before = trial.arrivals()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    code, document, _ = trial.finish(first)
    assert code in (0, 5), (code, document, trial.log)
    trial.assert_complete()
    assert trial.arrivals() == before, "the worker that continued sent something"
    assert trial.finish(trial.start())[0] == 0
