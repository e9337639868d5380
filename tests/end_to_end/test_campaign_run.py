"""`campaign run` with real processes against the sandbox: every row is proven, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from campaigns import freeze, write_exams
from children import HANGS

from xnatctl_campaign.ledger import RowState, latest

IMPORT = "/data/services/import"


def imports(sandbox):
    """How often a request sent files, by session label."""
    found = Counter()
    for request in sandbox.requests:
        if request["method"] == "POST" and request["path"] == IMPORT:
            found[str(request["query"]).partition("EXPT_LABEL=")[2].partition("&")[0]] += 1
    return found


def logins(sandbox):
    return sum(r["method"] == "POST" and r["path"] == "/data/JSESSION" and r["status"] == 200 for r in sandbox.requests)


def wait_for(condition, *, child=None):
    """Wait until a condition holds; fails when the child ends before."""
    deadline = time.monotonic() + HANGS
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came"
        assert child is None or child.poll() is None, f"ended with {child.poll()}: {child.err.decode()}"
        time.sleep(0.02)
    return result


@pytest.fixture
def exams(tmp_path):
    return write_exams(tmp_path / "exams", 4)


@pytest.fixture
def campaign(tmp_path, exams, sandbox):
    return freeze(tmp_path / "c", exams, sandbox.url)


@pytest.fixture
def assert_all(sandbox, stored):
    """The server holds every instance of these exams, once, in the session of its row."""

    def check(exams):
        expected = {uid: f"E{number}" for number, exam in enumerate(exams, 1) for uid in exam.instances}
        found = stored(sandbox)
        assert set(found) == set(expected)
        for uid, copies in found.items():
            assert [(copy["place"], copy["session"]) for copy in copies] == [("archive", expected[uid])]

    return check


@pytest.fixture
def started(nursery, environment, alice, tmp_path):
    """A run that goes on."""
    return lambda *words: nursery.start("-m", "xnatctl", *map(str, words), env={**environment, **alice}, cwd=tmp_path)


def states(campaign):
    return {row: entry.state for row, entry in latest(campaign.directory).items()}


def proven(campaign):
    return [row for row, state in states(campaign).items() if state is RowState.PROVEN]


def test_every_row_is_proven_and_a_second_run_asks_nothing(xnatctl, sandbox, alice, campaign, exams, assert_all):
    done = xnatctl("campaign", "run", campaign.directory, "-o", "json", env=alice)
    assert done.code == 0, done.err
    document = done.document
    assert document["schema"] == "xnatctl.campaign-run/1"
    assert document["status"] == "complete"
    assert document["rows"] == {
        "selected": 4, "proven": 4, "proven_before": 0, "failed": 0, "interrupted": 0, "held": 0, "not_tried": 0,
        "excluded": 0,
    }  # fmt: skip
    assert (document["files"], document["verified"], document["failures"]) == (12, 12, [])
    assert_all(exams)
    assert logins(sandbox) == 1  # the workers share it
    asked = len(sandbox.requests)

    again = xnatctl("campaign", "run", campaign.directory, env=alice)
    assert again.code == 0, again.err
    assert len(sandbox.requests) == asked  # not even a login
    assert "4 of 4 rows proven, 4 of them before; 12 files verified" in again.out

    sent = imports(sandbox)
    checked = xnatctl("campaign", "run", campaign.directory, "--recheck", env=alice)
    assert checked.code == 0, checked.err
    assert len(sandbox.requests) > asked
    assert imports(sandbox) == sent


def test_a_row_whose_files_changed_is_not_taken_as_proven(xnatctl, alice, campaign, exams):
    assert xnatctl("campaign", "run", campaign.directory, env=alice).code == 0
    path = next(iter(exams[2].instances.values())).path
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    again = xnatctl("campaign", "run", campaign.directory, "-o", "json", env=alice)
    assert again.code == 5, again.err
    assert again.document["rows"]["proven_before"] == 3
    assert [(failure["row"], failure["code"]) for failure in again.document["failures"]] == [(3, "changed")]


def test_a_failing_row_does_not_stop_the_others(xnatctl, sandbox, alice, tmp_path, exams):
    projects = ["DEMO", "NOWHERE", "DEMO", "DEMO"]
    campaign = freeze(tmp_path / "c", exams, sandbox.url, projects=projects)
    done = xnatctl("campaign", "run", campaign.directory, "-o", "json", env=alice)
    assert done.code == 5, done.err
    document = done.document
    assert document["rows"]["proven"] == 3
    (failure,) = document["failures"]
    assert (failure["row"], failure["state"], failure["code"]) == (2, "failed", "not-found")
    assert "NOWHERE" in failure["reason"]
    assert f"Row 2 (NOWHERE/S2/E2) failed: {failure['reason']}" in done.err
    assert document["next"] == [f"xnatctl campaign retry {campaign.directory}"]

    sandbox.add_project("NOWHERE", roles={"alice": "owner"})
    sent = imports(sandbox)
    other = xnatctl("campaign", "retry", campaign.directory, "--code", "server", env=alice)
    assert other.code == 0, other.err
    assert "No row that is left has the code server. The codes are: not-found." in other.err
    assert imports(sandbox) == sent
    again = xnatctl("campaign", "retry", campaign.directory, "--only", "1-3", env=alice)
    assert again.code == 0, again.err
    assert "1 of 1 row proven" in again.out
    assert set(imports(sandbox) - sent) == {"E2"}


def test_only_names_rows(xnatctl, sandbox, alice, campaign):
    done = xnatctl("campaign", "run", campaign.directory, "--only", "2,4", "--sessions", "1", env=alice)
    assert done.code == 0, done.err
    assert sorted(proven(campaign)) == [2, 4]
    none = xnatctl("campaign", "run", campaign.directory, "--only", "4-5", env=alice)
    assert none.code == 2
    assert "The campaign has no row 5." in none.err
    text = xnatctl("campaign", "run", campaign.directory, "--only", "1;2", env=alice)
    assert text.code == 2
    assert "--only takes numbers of rows" in text.err


def test_a_dry_run_says_what_would_be_done_and_asks_nothing(xnatctl, sandbox, alice, campaign):
    assert xnatctl("campaign", "run", campaign.directory, "--only", "1", env=alice).code == 0
    asked = len(sandbox.requests)
    done = xnatctl("campaign", "run", campaign.directory, "--dry-run", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert [(row["row"], row["state"], row["action"]) for row in done.document["rows"]] == [
        (1, "proven", "nothing"),
        *((number, "not tried", "deliver") for number in range(2, 5)),
    ]
    assert done.document["deliver"]["files"] == 9
    assert len(sandbox.requests) == asked


def test_the_server_is_that_of_the_plan(xnatctl, alice, campaign):
    other = xnatctl("campaign", "run", campaign.directory, "--url", "http://127.0.0.1:9", env=alice)
    assert other.code == 2
    assert "This campaign was planned for" in other.err


def test_more_sessions_than_the_budget_are_refused(xnatctl, alice, campaign):
    done = xnatctl("campaign", "run", campaign.directory, "--sessions", "5", env=alice)
    assert done.code == 2
    assert "--sessions 5 is more than the server budget allows: 4." in done.err


def test_a_refused_login_is_said_once(xnatctl, sandbox, alice, campaign):
    done = xnatctl("campaign", "run", campaign.directory, "-o", "json", env={**alice, "XNAT_PASS": "wrong"})
    assert done.code == 3
    assert done.document["error"]["code"] == "authentication"
    assert sum(request["path"] == "/data/JSESSION" for request in sandbox.requests) == 1


def test_a_failing_server_is_not_asked_for_every_row(xnatctl, sandbox, alice, campaign):
    sandbox.faults.load([{"match": {"path": "/data/projects"}, "nth": "every", "action": "status", "status": 500}])
    done = xnatctl(
        "campaign", "run", campaign.directory, "--sessions", "1", "--stop-after", "2", "--retry-for", "0", "-o", "json",
        env=alice,
    )  # fmt: skip
    assert done.code == 4, done.err
    document = done.document
    assert document["stopped"] == "2 rows failed one after the other: the server fails"
    assert (document["rows"]["failed"], document["rows"]["not_tried"]) == (2, 2)
    sandbox.faults.end()
    assert xnatctl("campaign", "run", campaign.directory, env=alice).code == 0


def test_an_ended_session_is_renewed_once_for_all(xnatctl, sandbox, alice, campaign, exams, assert_all):
    sandbox.faults.load([{"match": {"path": IMPORT}, "nth": 3, "action": "expire-session", "login": "alice"}])
    done = xnatctl("campaign", "run", campaign.directory, "--sessions", "3", env=alice)
    assert done.code == 0, done.err
    assert_all(exams)
    assert logins(sandbox) == 2


@pytest.mark.once
def test_a_soft_stop_lets_rows_in_work_end(started, xnatctl, sandbox, alice, campaign, exams, assert_all):
    sandbox.switches.archive_seconds = 0.3
    child = started("campaign", "run", campaign.directory, "--sessions", "1", "-o", "json")
    wait_for(lambda: proven(campaign), child=child)
    child.send_signal(signal.SIGUSR1)
    out, err = child.communicate()
    assert child.wait() == 5, err.decode()
    document = json.loads(out)
    assert document["stopped"] == "SIGUSR1 asked for it"
    assert document["rows"]["proven"] + document["rows"]["not_tried"] == 4
    assert 1 <= document["rows"]["proven"] < 4
    assert set(states(campaign).values()) == {RowState.PROVEN}
    sandbox.switches.archive_seconds = 0.0
    sent = imports(sandbox)
    assert xnatctl("campaign", "run", campaign.directory, env=alice).code == 0
    assert_all(exams)
    assert set(imports(sandbox) - sent).isdisjoint(sent)


@pytest.mark.once
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_and_a_rerun_finishes(
    started, xnatctl, sandbox, alice, campaign, exams, assert_all, number, code
):
    sandbox.faults.load([{"match": {"path": IMPORT}, "nth": "every", "action": "hold", "seconds": 600}])
    child = started("campaign", "run", campaign.directory, "-o", "json")
    wait_for(lambda: len(states(campaign)) >= 2, child=child)
    wait_for(lambda: imports(sandbox), child=child)
    workers = workers_of(child.pid)
    assert workers
    child.send_signal(number)
    out, err = child.communicate()
    assert child.wait() == code, err.decode()
    document = json.loads(out)
    assert document["status"] == "interrupted"
    assert document["rows"]["proven"] == 0
    assert document["next"] == [f"xnatctl campaign run {campaign.directory} -o json"]
    assert not any(map(lives, workers))
    sandbox.faults.end()
    done = xnatctl("campaign", "run", campaign.directory, env=alice)
    assert done.code == 0, done.err
    assert_all(exams)


def workers_of(pid):
    """The processes that a process started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.once
def test_a_killed_worker_is_replaced(started, sandbox, campaign, exams, assert_all):
    sandbox.faults.load([{"match": {"path": IMPORT}, "nth": 1, "action": "hold", "seconds": 600}])
    child = started("campaign", "run", campaign.directory, "--sessions", "1")
    wait_for(lambda: RowState.STARTED in states(campaign).values(), child=child)
    (worker,) = wait_for(lambda: workers_of(child.pid), child=child)
    os.kill(worker, signal.SIGKILL)
    sandbox.faults.end()
    out, err = child.communicate()
    assert child.wait() == 0, err.decode()
    assert "The worker process was ended by SIGKILL. Starting another one." in err.decode()
    assert_all(exams)


@pytest.mark.once
def test_a_killed_run_leaves_no_worker_behind(started, xnatctl, sandbox, alice, campaign, exams, assert_all):
    sandbox.faults.load([{"match": {"path": IMPORT}, "nth": "every", "action": "hold", "seconds": 600}])
    child = started("campaign", "run", campaign.directory)
    wait_for(lambda: len(states(campaign)) >= 2, child=child)
    workers = workers_of(child.pid)
    assert workers
    child.send_signal(signal.SIGKILL)
    child.wait()
    wait_for(lambda: not any(map(lives, workers)))
    sandbox.faults.end()
    done = xnatctl("campaign", "run", campaign.directory, env=alice)
    assert done.code == 0, done.err
    assert_all(exams)


@pytest.mark.once
def test_a_row_whose_worker_always_dies_has_failed(started, xnatctl, sandbox, alice, campaign, exams, assert_all):
    sandbox.faults.load([{"match": {"path": IMPORT}, "nth": "every", "action": "hold", "seconds": 600}])
    child = started("campaign", "run", campaign.directory, "--only", "1", "-o", "json")
    (worker,) = wait_for(lambda: RowState.STARTED in states(campaign).values() and workers_of(child.pid), child=child)
    os.kill(worker, signal.SIGKILL)
    (other,) = wait_for(lambda: [pid for pid in workers_of(child.pid) if pid != worker], child=child)
    os.kill(other, signal.SIGKILL)
    out, err = child.communicate()
    assert child.wait() == 5, err.decode()
    (failure,) = json.loads(out)["failures"]
    assert (failure["code"], failure["reason"]) == ("worker-ended", "The worker process was ended by SIGKILL, twice.")
    assert states(campaign) == {1: RowState.FAILED}
    sandbox.faults.end()
    done = xnatctl("campaign", "run", campaign.directory, env=alice)
    assert done.code == 0, done.err
    assert_all(exams)


@pytest.mark.once
def test_two_runs_share_the_rows_of_a_folder(started, sandbox, campaign, exams, assert_all):
    sandbox.switches.archive_seconds = 0.2
    both = [started("campaign", "run", campaign.directory, "--sessions", "1", "-o", "json") for _ in range(2)]
    for child in both:
        out, err = child.communicate()
        assert child.wait() == 0, err.decode()
        assert json.loads(out)["rows"]["proven"] == 4
    assert_all(exams)
    assert sum(imports(sandbox).values()) == 3 * len(exams)  # no row was sent twice


@pytest.mark.once
def test_shards_deliver_their_parts(started, xnatctl, sandbox, alice, campaign, exams, assert_all):
    both = [started("campaign", "run", campaign.directory, "--shard", f"{part}/2", "-o", "json") for part in (1, 2)]
    for child in both:
        out, err = child.communicate()
        assert child.wait() == 0, err.decode()
        assert json.loads(out)["rows"]["selected"] == 2
    assert_all(exams)
    array = {**alice, "SLURM_ARRAY_TASK_ID": "7"}
    assert xnatctl("campaign", "run", campaign.directory, "--shard", "auto/2", env=array).code == 2
    wrong = xnatctl("campaign", "run", campaign.directory, "--shard", "3/2", env=alice)
    assert wrong.code == 2
    assert "--shard 3/2 is outside of 1 to 2." in wrong.err


@pytest.mark.once
def test_a_shard_takes_over_what_a_dead_one_left(started, xnatctl, sandbox, alice, campaign, exams):
    sandbox.faults.load([{"match": {"path": IMPORT}, "nth": "every", "action": "hold", "seconds": 600}])
    child = started("campaign", "run", campaign.directory, "--shard", "1/2", "--sessions", "1")
    wait_for(lambda: RowState.STARTED in states(campaign).values(), child=child)
    workers = workers_of(child.pid)
    child.send_signal(signal.SIGSTOP)  # so that it replaces no worker
    for pid in (*workers, child.pid):
        os.kill(pid, signal.SIGKILL)
    child.wait()
    sandbox.faults.end()
    done = xnatctl("campaign", "run", campaign.directory, "--shard", "2/2", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert "Row 1 is taken over: its worker died." in done.err
    assert done.document["rows"]["proven"] == 3
    assert sorted(proven(campaign)) == [1, 2, 4]


def test_an_executor_of_a_plugin_runs_the_rows(xnatctl, sandbox, alice, campaign, exams, assert_all, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "loop.py").write_text(LOOP)
    env = {**alice, "XNATCTL_PLUGIN_DIR": str(tmp_path / "plugins")}
    done = xnatctl("campaign", "run", campaign.directory, "--executor", "loop", "--greeting", "hello", env=env)
    assert done.code == 0, done.err
    assert "Warning: hello" in done.err
    assert_all(exams)
    assert logins(sandbox) == 1
    other = xnatctl("campaign", "run", campaign.directory, "--executor", "none", env=env)
    assert other.code == 2
    assert "none" in other.err


LOOP = """
from xnatctl.api import Event, EventKind, ExecutorSpec, Option, hookimpl

requires_api = 1


@hookimpl
def xnatctl_executors():
    return [ExecutorSpec(name="loop", summary="one by one", target="loop:Loop", options=(Option(name="greeting", help="Say it."),))]


class Loop:
    def __init__(self, context):
        self.context = context

    def run(self, rows, work):
        self.context.emit(Event(kind=EventKind.WARNING, message=self.context.options["greeting"]))
        with work.open() as worker:
            for row in rows:
                yield worker.run(row)

    def stop(self):
        pass
"""
