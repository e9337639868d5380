"""The executor `dask` on a real cluster on loopback, with rows that real child processes carry out."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest

pytest.importorskip("distributed", reason="the dask extra is not installed")

from dask_cluster import DaskCluster
from fake_rows import FakeWork

from xnatctl.api import AuthenticationError, ConnectionFailed, ExecutorContext, UsageError
from xnatctl.testing.contracts import ExecutorContract
from xnatctl_campaign import plugin
from xnatctl_campaign.dask_executor import DaskExecutor
from xnatctl_campaign.dask_worker import SharedFolder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler with two workers, of which one has two threads."""
    with DaskCluster(tmp_path_factory.mktemp("dask"), os.environ) as cluster:
        cluster.worker(threads=2)
        cluster.worker(threads=1)
        yield cluster


@pytest.fixture
def folder(tmp_path):
    """As much of a campaign folder as an executor looks at."""
    (tmp_path / "campaign" / "claims").mkdir(parents=True)
    (tmp_path / "campaign" / "campaign.json").write_text(json.dumps({"made": str(tmp_path)}))
    return tmp_path / "campaign"


@pytest.fixture
def work(folder, tmp_path):
    return FakeWork(directory=str(folder), log=str(tmp_path / "log"))


class Execution:
    """An executor with its warnings."""

    def __init__(self, cluster, workers=4, wait=30.0, scheduler=None):
        self.halted = False
        self.warnings = []
        self.executor = DaskExecutor(
            ExecutorContext(
                workers=workers,
                options={"scheduler": scheduler or cluster.address, "wait_for_workers": wait},
                stop_requested=lambda: self.halted,
                emit=lambda event: self.warnings.append(event.message),
            )
        )


def test_every_row_once_and_child_processes_are_reused(cluster, work):
    execution = Execution(cluster)
    results = list(execution.executor.run(range(1, 41), work))
    assert sorted(result.row for result in results) == list(range(1, 41))
    assert {result.state for result in results} == {"proven"}
    assert sorted(work.rows("begins")) == list(range(1, 41))
    assert len({pid for _, _, pid in work.lines()}) <= 3  # one for each thread
    for pid in {pid for _, _, pid in work.lines()}:  # and they have ended
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not execution.warnings


class TestContract(ExecutorContract):
    """The contract of all executors."""

    spec = next(spec for spec in plugin.xnatctl_executors() if spec.name == "dask")

    @pytest.fixture(autouse=True)
    def _scheduler(self, cluster):
        self.options = {"scheduler": cluster.address}


def test_rows_are_taken_when_a_thread_is_free(cluster, work):
    taken = []

    def rows():
        for row in range(1, 10):
            taken.append(row)
            yield row

    for _ in Execution(cluster, workers=2).executor.run(rows(), replace(work, default="0.1")):
        assert len(taken) <= len(work.rows("proven")) + 2
    assert taken == list(range(1, 10))


def test_failures_are_results(cluster, work):
    each = {2: "fail", 4: "raise"}
    results = {result.row: result for result in Execution(cluster).executor.run(range(1, 6), replace(work, each=each))}
    assert [results[row].state for row in range(1, 6)] == ["proven", "failed", "proven", "failed", "proven"]
    assert (results[2].exit_code, results[2].code) == (5, "incomplete")
    assert results[4].reason == "ZeroDivisionError: what no one foresaw"


def test_what_no_worker_can_do_ends_the_run(cluster, work):
    with pytest.raises(AuthenticationError, match=r"No password\."):
        list(Execution(cluster).executor.run(range(1, 100), replace(work, refuses="No password.")))


@pytest.mark.parametrize("how", ["stop", "context"])
def test_a_soft_stop_ends_the_rows_in_work_and_begins_no_other(cluster, work, how):
    execution = Execution(cluster, workers=2)
    results = execution.executor.run(range(1, 100), replace(work, default="0.2"))
    done = [next(results).row]
    if how == "stop":
        execution.executor.stop()
    else:
        execution.halted = True
    done += [result.row for result in results]
    assert len(done) <= 3
    assert sorted(done) == sorted(work.rows("begins")) == sorted(work.rows("proven"))


def test_an_interrupt_ends_the_rows_in_work(cluster, work):
    results = Execution(cluster, workers=3).executor.run(range(1, 100), replace(work, default="60", each={1: "0"}))
    assert next(results).row == 1
    while len(work.rows("begins")) < 3:
        time.sleep(0.01)
    last = [results.throw(KeyboardInterrupt)]
    with pytest.raises(KeyboardInterrupt):
        last.extend(results)
    assert {result.state for result in last} == {"interrupted"}
    assert sorted(result.row for result in last) == sorted(work.rows("interrupted")) == [2, 3]


def test_a_caller_that_leaves_interrupts_them_too(cluster, work):
    results = Execution(cluster, workers=3).executor.run(range(1, 100), replace(work, default="60", each={1: "0"}))
    next(results)
    while len(work.rows("begins")) < 3:
        time.sleep(0.01)
    results.close()
    assert sorted(work.rows("interrupted")) == [2, 3]


def test_a_scheduler_file_names_the_scheduler(cluster, work):
    execution = Execution(cluster, scheduler=str(cluster.file))
    assert [result.row for result in execution.executor.run([3], work)] == [3]


@pytest.mark.parametrize("scheduler", ["nowhere", "foo://127.0.0.1:8786", "missing.json"])
def test_what_is_no_address_is_refused(scheduler, work):
    with pytest.raises(UsageError, match=scheduler):
        list(Execution(None, scheduler=scheduler).executor.run([1], work))


def test_a_worker_with_another_folder_of_the_same_path_is_noticed(folder):
    document = folder / "campaign.json"
    seen = SharedFolder.of(str(folder))
    assert not seen.problem()
    document.write_text("{}")
    assert seen.problem() == f"{folder} is another folder there"
    folder.rename(folder.with_name("elsewhere"))
    assert seen.problem() == f"it has no folder {folder}"


def test_no_worker_that_sees_the_folder(cluster, work, monkeypatch):
    seen = replace(SharedFolder.of(work.directory), digest="another")
    monkeypatch.setattr(SharedFolder, "of", lambda path: seen)
    execution = Execution(cluster)
    with pytest.raises(UsageError, match=r"No Dask worker can deliver rows .*is another folder there"):
        list(execution.executor.run([1], work))
    assert len(execution.warnings) == 2
    assert not work.lines()


@pytest.mark.lab
def test_a_worker_that_comes_later_without_the_folder_gets_no_rows(tmp_path, work, folder):
    with DaskCluster(tmp_path, os.environ) as cluster:
        cluster.worker()
        execution = Execution(cluster)
        results = execution.executor.run(range(1, 30), replace(work, default="0.2"))
        done = [next(results)]
        (folder / "campaign.json").write_text("{}")
        cluster.worker(threads=4)
        done += results
    assert len(done) == 29
    assert len(execution.warnings) == 1
    assert "gets no rows" in execution.warnings[0]
    assert len({pid for _, _, pid in work.lines()}) == 1


@pytest.mark.lab
def test_a_scheduler_that_does_not_answer(work, monkeypatch):
    from xnatctl_campaign import dask_cluster

    monkeypatch.setattr(dask_cluster, "_CONNECT", 1.0)
    with pytest.raises(ConnectionFailed, match=r"Cannot connect to the Dask scheduler tcp://127\.0\.0\.1:1"):
        list(Execution(None, scheduler="tcp://127.0.0.1:1").executor.run([1], work))


@pytest.mark.lab
def test_a_killed_worker_loses_no_row_and_a_new_one_joins(tmp_path, work):
    with DaskCluster(tmp_path, os.environ) as cluster:
        first = cluster.worker(threads=2)
        results = Execution(cluster, workers=2).executor.run(range(1, 9), replace(work, default="0.5"))
        done = [next(results)]
        first.kill()
        cluster.worker(threads=2)
        done += results
    assert sorted(result.row for result in done) == list(range(1, 9))
    assert {result.state for result in done} == {"proven"}
    counts = Counter(work.rows("proven"))
    assert set(counts) == set(range(1, 9))


@pytest.mark.lab
def test_a_worker_that_does_not_answer_is_not_waited_for(tmp_path, work):
    with DaskCluster(tmp_path, os.environ) as cluster:
        worker = cluster.worker()
        results = Execution(cluster).executor.run(range(1, 9), replace(work, default="60", each={1: "0"}))
        next(results)
        worker.send_signal(signal.SIGSTOP)
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)


@pytest.mark.lab
def test_no_workers(tmp_path, work):
    with DaskCluster(tmp_path, os.environ) as cluster, pytest.raises(ConnectionFailed, match="no Dask workers"):
        list(Execution(cluster, wait=1.0).executor.run([1], work))


@pytest.mark.lab
def test_a_scheduler_that_is_lost(tmp_path, work):
    with DaskCluster(tmp_path, os.environ) as cluster:
        cluster.worker(threads=2)
        results = Execution(cluster).executor.run(range(1, 9), replace(work, default="60", each={1: "0"}))
        next(results)
        while len(work.rows("begins")) < 2:
            time.sleep(0.01)
        cluster.scheduler.send_signal(signal.SIGKILL)
        with pytest.raises(ConnectionFailed, match="was lost"):
            list(results)
        while not work.rows("interrupted"):  # the worker ends without its scheduler, and its row with it
            time.sleep(0.01)


@pytest.mark.lab
def test_a_row_that_ends_every_worker_has_failed(tmp_path, work):
    with DaskCluster(tmp_path, os.environ) as cluster:
        results = Execution(cluster, workers=1).executor.run([5], replace(work, default="60"))
        workers = [cluster.worker()]
        import threading

        def kill():
            for number in range(1, 4):
                while len(work.rows("begins")) < number:
                    time.sleep(0.01)
                workers[-1].kill()
                workers.append(cluster.worker())

        thread = threading.Thread(target=kill)
        thread.start()
        (result,) = results
        thread.join()
    assert (result.row, result.state, result.code) == (5, "failed", "worker-ended")


@pytest.mark.lab
def test_another_version_on_a_worker_is_refused(tmp_path, work):
    """At the start for the workers that are there, and for each that comes later."""
    other = tmp_path / "other"
    (other / "xnatctl-9.9.dist-info").mkdir(parents=True)
    (other / "xnatctl-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: xnatctl\nVersion: 9.9\n")
    with DaskCluster(tmp_path, os.environ) as cluster:
        cluster.worker(environment={"PYTHONPATH": f"{other}{os.pathsep}{os.path.dirname(__file__)}"})
        from distributed import Client

        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(1)
        with pytest.raises(UsageError, match=r"tcp://.*: 9\.9"):
            list(Execution(cluster).executor.run([1], work))
