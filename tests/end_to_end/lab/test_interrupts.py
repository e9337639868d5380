"""Interrupts at any time: the run ends at once with one message, and the same command finishes it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from children import HANGS

pytestmark = pytest.mark.once
IMPORT = {"path": "/services/import"}


def wait_for(running, condition):
    while not condition():
        time.sleep(0.005)
        assert running.poll() is None, running.err


def ended(running):
    """Exit code and report of a run that was interrupted; nobody saw a traceback."""
    out, err = running.communicate()
    assert b"Traceback" not in err, err
    return running.wait(), json.loads(out) if out else None


def finish(lab, assert_exactly):
    lab.sandbox.faults.end()
    code, report = lab.run()
    assert code == 0, report["error"]
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")
    assert not lab.sandbox.accounts.open_sessions("alice")


def requests(lab, path):
    return [request for request in lab.sandbox.requests if path in request["path"]]


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.01, 0.05, 0.2])
def test_an_impatient_user_gets_no_traceback(lab, assert_exactly, pause):
    """Ctrl-C again and again, until it ends."""
    lab.sandbox.faults.load([{"match": IMPORT, "nth": 5, "action": "hold", "seconds": HANGS}])
    running = lab.upload("gradual").start()
    wait_for(running, lambda: len(requests(lab, "import")) >= 8)
    while running.poll() is None:
        running.send_signal(signal.SIGINT)
        time.sleep(pause)
    assert ended(running)[0] in (130, -signal.SIGINT)
    finish(lab, assert_exactly)


@pytest.mark.parametrize(
    ("version", "path"),
    [("1.8.3", "/services/archive"), ("1.8.11", "/xapi/direct-archive"), ("1.8.3", "/data/prearchive/")],
)
def test_while_the_server_archives(lab, assert_exactly, version, path):
    lab.sandbox.state.version = version
    lab.sandbox.switches.build_seconds = lab.sandbox.switches.archive_seconds = HANGS
    running = lab.upload("tar").start()
    wait_for(
        running, lambda: any(r["method"] == "POST" for r in requests(lab, "prearchive" if "services" in path else path))
    )
    if "services" in path:
        lab.sandbox.switches.build_seconds = 0
        wait_for(running, lambda: requests(lab, path))
    running.send_signal(signal.SIGINT)
    code, report = ended(running)
    assert (code, report["status"]) == (130, "interrupted")
    assert report["next"]
    lab.sandbox.switches.build_seconds = lab.sandbox.switches.archive_seconds = 0
    finish(lab, assert_exactly)


def test_while_it_waits_to_try_again(lab, assert_exactly):
    again = {"status": 503, "headers": {"Retry-After": str(HANGS)}}
    lab.sandbox.faults.load([{"match": IMPORT, "nth": list(range(5, 100)), "action": "status", **again}])
    running = lab.upload("gradual").start()
    wait_for(running, lambda: b"again in" in running.err)
    running.send_signal(signal.SIGTERM)
    code, report = ended(running)
    assert (code, report["status"]) == (143, "interrupted")
    finish(lab, assert_exactly)


@pytest.mark.parametrize("path", ["/data/JSESSION", "/xapi/users/username", "/xapi/siteConfig/buildInfo"])
def test_before_anything_is_sent(lab, assert_exactly, path):
    lab.sandbox.faults.load([{"match": {"path": path}, "nth": 1, "action": "hold", "seconds": HANGS}])
    running = lab.upload("tar").start()
    wait_for(running, lambda: requests(lab, path))
    running.send_signal(signal.SIGINT)
    assert ended(running)[0] == 130
    finish(lab, assert_exactly)


def test_a_reader_that_leaves_does_not_end_an_upload(lab, assert_exactly):
    """`xnatctl ... | head`: the report has no reader any more, the data arrive all the same."""
    command = [sys.executable, "-m", "xnatctl", *lab.upload("tar").arguments]
    running = subprocess.Popen(command, env=dict(lab.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    with running.stderr:
        err = running.stderr.read()
    assert running.wait(HANGS) == 0, err
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")
    assert lab.run()[1]["counts"]["skipped"] == 60
