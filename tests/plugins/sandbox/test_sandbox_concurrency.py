"""What the sandbox counts at once: requests, sessions being received, sessions being archived."""

from __future__ import annotations

import json
import threading

import pytest

ROW = "/data/prearchive/projects/DEMO"


@pytest.fixture
def read(http_call):
    return lambda: http_call("GET", "/sandbox/concurrency").json


@pytest.fixture
def in_parallel():
    """Start calls in threads; the function that it returns waits for their results."""

    def start(*calls):
        results = [None] * len(calls)

        def run(number, call):
            results[number] = call()

        threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
        for thread in threads:
            thread.start()

        def wait():
            for thread in threads:
                thread.join()
            return results

        return wait

    return start


def test_nothing_counts_at_the_start_and_control_requests_never_do(read):
    assert read() == {name: {"now": 0, "peak": 0} for name in ("requests", "sessions", "archiving")}
    assert read()["requests"]["peak"] == 0


def test_the_peak_of_requests_survives_them_until_it_is_reset(http_call, read, sandbox, until, in_parallel):
    sandbox.faults.load([{"match": {"path": "projects"}, "action": "delay", "seconds": 600}])
    wait = in_parallel(*[lambda: http_call("GET", "/data/projects")] * 3)
    assert until(lambda: read()["requests"] == {"now": 3, "peak": 3})
    sandbox.faults.end()
    assert [answer.status for answer in wait()] == [200] * 3
    assert until(lambda: read()["requests"] == {"now": 0, "peak": 3})
    http_call("POST", "/sandbox/concurrency")
    assert read()["requests"] == {"now": 0, "peak": 0}
    http_call("GET", "/data/projects")
    assert sandbox.concurrency.read()["requests"] == {"now": 0, "peak": 1}


def test_a_session_counts_from_its_first_object_until_it_is_built(import_, http_call, read, sandbox, exam):
    records = list(exam.instances.values())
    import_(records[:1], EXPT_LABEL="a")
    import_(records[1:2], EXPT_LABEL="a")  # the same session
    assert read()["sessions"] == {"now": 1, "peak": 1}
    import_(records, EXPT_LABEL="b")
    assert read()["sessions"] == {"now": 2, "peak": 2}
    first, second = sandbox.state.prearchive
    http_call("POST", first.uri, query={"action": "build"})
    assert read()["sessions"] == {"now": 1, "peak": 2}
    http_call("POST", "/sandbox/concurrency")
    http_call("DELETE", second.uri)
    assert read()["sessions"] == {"now": 0, "peak": 1}


def test_sessions_that_archive_at_once_count_until_they_are_archived(
    import_, http_call, read, sandbox, exam, until, in_parallel
):
    for label in "abc":
        import_(list(exam.instances.values()), EXPT_LABEL=label)
    sandbox.switches.archive_seconds = 600.0
    first, second, third = list(sandbox.state.prearchive)
    commit = {"action": "commit", "AA": "true"}
    wait = in_parallel(*(lambda row=row: http_call("POST", row.uri, query=commit) for row in (first, second)))
    assert until(lambda: read()["archiving"] == {"now": 2, "peak": 2})
    assert read()["sessions"] == {"now": 3, "peak": 3}
    sandbox.switches.archive_seconds = 0.0
    assert [answer.status for answer in wait()] == [301, 301]
    assert read()["archiving"] == {"now": 0, "peak": 2}
    assert read()["sessions"] == {"now": 1, "peak": 3}
    http_call("POST", third.uri, query=commit)
    assert sandbox.concurrency.read()["sessions"]["now"] == 0


def test_a_refused_archiving_and_a_direct_one_end_as_well(import_, http_call, read, sandbox, exam, until):
    records = list(exam.instances.values())
    import_(records, dest="/archive")
    import_(records)  # the same instances again: a conflict
    (row,) = sandbox.state.prearchive
    assert http_call("POST", row.uri, query={"action": "commit", "AA": "true"}).status == 500
    assert read()["archiving"] == {"now": 0, "peak": 1}
    import_(records, EXPT_LABEL="d", **{"Direct-Archive": "true"})
    (direct,) = sandbox.state.direct
    assert read()["sessions"] == {"now": 1, "peak": 1}
    http_call("POST", direct.uri)
    assert until(lambda: not sandbox.state.direct)
    assert until(lambda: read()["sessions"] == {"now": 0, "peak": 1})


def test_a_session_that_moves_or_whose_row_is_removed_counts_no_longer(import_, http_call, read, sandbox, exam):
    records = list(exam.instances.values())
    import_(records)
    (row,) = sandbox.state.prearchive
    http_call("POST", row.uri, query={"action": "move", "newProject": "MANUAL"})
    assert read()["sessions"]["now"] == 0
    import_(records, EXPT_LABEL="d", **{"Direct-Archive": "true"})
    (direct,) = sandbox.state.direct
    http_call("DELETE", f"/xapi/direct-archive/{direct.id}")
    assert read()["sessions"]["now"] == 0
    assert json.dumps(sandbox.concurrency.read())  # plain data
