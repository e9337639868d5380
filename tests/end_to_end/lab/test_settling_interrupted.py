"""A signal or a kill at each request of settling and verifying: the same command finishes, whatever the policy."""

from __future__ import annotations

import re
import signal
import time

import pytest
from children import HANGS

pytestmark = [pytest.mark.once, pytest.mark.lab]


def pattern(path):
    """The path of a request in any run: rows have another time, sessions another number."""
    return "^" + re.sub(r"\d{8}_\d+|XNAT_E\d+", "[^/]+", path) + "$"


def points(lab):
    """Of each request after the last file: what it is matched by, and the how manieth it is of those of its run."""
    assert lab.run()[0] == 0
    asked = [(f"^{request['method']}$", pattern(request["path"])) for request in lab.sandbox.requests]
    last = max(number for number, (_, path) in enumerate(asked) if "services/import" in path)
    return [(*asked[number], asked[: number + 1].count(asked[number])) for number in range(last + 1, len(asked))]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
@pytest.mark.parametrize("policy", ["none", "append"])
@pytest.mark.parametrize("version", ["1.8.3", "1.8.11"])
def test_the_same_command_finishes_its_own_session(lab, spread, assert_exactly, version, policy, how):
    lab.sandbox.state.version = version
    lab.upload("tar", "--overwrite", policy, workers=1).hasten()
    for method, path, nth in spread(points(lab), 4):
        lab.start_over()
        lab.sandbox.faults.load(
            [{"match": {"method": method, "path": path}, "nth": nth, "action": "delay", "seconds": HANGS}]
        )
        (rule,) = lab.sandbox.faults._rules
        running = lab.start()
        while not rule["_done"] and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(how)
        running.communicate()
        lab.sandbox.faults.end()
        lab.quiet()
        code, report = lab.run()
        if code not in (0, 7):
            code, report = lab.run()
        done = running.returncode == 0 or "JSESSION" in path  # it had come to its end before the signal
        where = (method, path, nth, running.returncode, report["error"])
        assert code == 0 or (done and code == 7 and "already exists" in report["error"]["message"]), where
        assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")
