"""kill -9 anywhere in a campaign, with one request of twenty failing; then again until 0: nothing lost, nothing twice."""

from __future__ import annotations

import time

import pytest
from campaign_trials import CampaignTrial, kill_at_random

pytestmark = [pytest.mark.once, pytest.mark.lab, pytest.mark.timeout(3600)]

ROWS, INSTANCES = 12, 4
SHARDS = 8
#: Each with a probability of 1 in 80: one request of twenty fails.
ACTIONS = (
    {"action": "status", "status": 503},
    {"action": "store-then-cut"},
    {"action": "cut-before-body"},
    {"action": "store-then-status", "status": 502, "page": "proxy"},
)


@pytest.fixture
def trial(campaign_trial) -> CampaignTrial:
    return campaign_trial.write(ROWS, INSTANCES)


def bad_weather(trial, dice):
    """Let one request of twenty fail."""
    trial.sandbox.faults.load([{"match": {}, "probability": 1 / 80, "seed": dice.random(), **each} for each in ACTIONS])


def kills(full):
    """How many of the hundred random points each test takes."""
    return 34 if full else 2


def duration(trial, *more):
    """How long an undisturbed run takes."""
    trial.plan("undisturbed")
    begun = time.monotonic()
    assert trial.finish(trial.start(*more))[0] == 0, trial.log
    trial.assert_complete()
    return time.monotonic() - begun


def test_one_run_with_its_workers(trial, dice, full):
    trial.sandbox.switches.archive_seconds = 0.2
    length = duration(trial, "--sessions", "3")
    for number in range(kills(full)):
        trial.start_over(f"c{number}")
        bad_weather(trial, dice)
        run = trial.start("--sessions", "3")
        time.sleep(dice.uniform(0.1, length))
        with trial.nothing_proven_is_sent():
            killed = kill_at_random(dice, [run.pid, *trial.work_processes()])
            code, _, _ = trial.finish(run)
            trial.no_process_left()  # a run that was killed leaves no worker behind
        assert code in ((-9, 0, 4, 5, 6) if run.pid in killed else (0, 4, 5, 6)), trial.log
        trial.until_done("--sessions", "3")
        trial.sandbox.faults.load([])
        trial.assert_complete()


def test_eight_shards(trial, dice, full):
    trial.sandbox.switches.archive_seconds = 0.2
    length = duration(trial, "--sessions", "4")
    shards = [("--shard", f"{index}/{SHARDS}", "--sessions", "1") for index in range(1, SHARDS + 1)]
    for number in range(kills(full)):
        trial.start_over(f"c{number}")
        bad_weather(trial, dice)
        runs = [trial.start(*shard) for shard in shards]
        time.sleep(dice.uniform(0.1, length))
        with trial.nothing_proven_is_sent():
            kill_at_random(dice, [*(run.pid for run in runs), *trial.work_processes()])
            codes = [trial.finish(run)[0] for run in runs]
            trial.no_process_left()
        assert set(codes) <= {-9, 0, 4, 5, 6}, trial.log
        for shard in shards:
            trial.until_done(*shard)
        trial.sandbox.faults.load([])
        trial.assert_complete()
        assert trial.finish(trial.start())[0] == 0


def test_dask_workers(trial, dice, full, tmp_path):
    dask = pytest.importorskip("dask_cluster")
    trial.sandbox.switches.archive_seconds = 0.2
    with dask.DaskCluster(tmp_path, trial.environment) as cluster:
        workers = [cluster.worker() for _ in range(3)]
        options = ("--executor", "dask", "--scheduler", cluster.address, "--sessions", "3")
        length = duration(trial, *options)
        for number in range(kills(full)):
            trial.start_over(f"c{number}")
            bad_weather(trial, dice)
            run = trial.start(*options)
            time.sleep(dice.uniform(0.1, length))
            with trial.nothing_proven_is_sent():
                alive = [worker.pid for worker in workers if worker.poll() is None]
                killed = kill_at_random(dice, [run.pid, *alive, *trial.work_processes()])
                for worker in list(workers):
                    if worker.pid in killed:
                        worker.wait()
                        workers.remove(worker)
                        workers.append(cluster.worker())  # as a batch system replaces it
                code, _, _ = trial.finish(run)
            assert code in ((-9, 0, 4, 5, 6) if run.pid in killed else (0, 4, 5, 6)), trial.log
            trial.until_done(*options)
            trial.sandbox.faults.load([])
            trial.assert_complete()
