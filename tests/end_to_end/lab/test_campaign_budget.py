"""The budget of a server holds for everything that works on a campaign at once: shards and the workers of a cluster."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.once, pytest.mark.lab, pytest.mark.timeout(900)]

ROWS, INSTANCES = 48, 4
SHARDS = 8


DEFAULT = (4, 8, 2)


@pytest.mark.parametrize("budget", [DEFAULT, (3, 3, 1)], ids=str)
def test_three_dask_workers_and_eight_shards_side_by_side(campaign_trial, tmp_path, home, budget):
    dask = pytest.importorskip("dask_cluster")
    pytest.importorskip("distributed", reason="the dask extra is not installed")
    trial = campaign_trial.write(ROWS, INSTANCES)
    sessions, requests, archiving = budget
    if budget != DEFAULT:
        (home / "config" / "xnatctl").mkdir(parents=True)
        (home / "config" / "xnatctl" / "config.yaml").write_text(
            f"default_profile: lab\nprofiles:\n  lab:\n    url: {trial.sandbox.url}\n"
            f"    server_budget: {{sessions: {sessions}, requests: {requests}, archiving: {archiving}}}\n"
        )
    trial.sandbox.switches.build_seconds, trial.sandbox.switches.archive_seconds = 0.1, 0.3
    trial.plan()
    trial.sandbox.concurrency.reset()
    with dask.DaskCluster(tmp_path, trial.environment) as cluster:
        for _ in range(3):
            cluster.worker(threads=2)
        runs = [trial.start("--executor", "dask", "--scheduler", cluster.address)]
        runs += [trial.start("--shard", f"{index}/{SHARDS}", "--sessions", "2") for index in range(1, SHARDS + 1)]
        codes = [trial.finish(run)[0] for run in runs]
    assert codes == [0] * len(runs), trial.log
    trial.assert_complete()
    assert sorted(trial.arrivals()) == sorted(trial.files), "something was sent twice"
    peaks = {kind: gauge["peak"] for kind, gauge in trial.sandbox.concurrency.read().items()}
    assert peaks["sessions"] <= sessions, peaks
    assert peaks["requests"] <= requests, peaks
    assert peaks["archiving"] <= archiving, peaks
    assert peaks["sessions"] > 1, "nothing was at work at the same time"
