"""The journal of a running upload: nothing of it is mapped, `upload status` reads it, and a kill loses nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

HELD = [{"match": {"method": "POST", "path": "/data/services/import"}, "nth": 2, "action": "hold", "seconds": 600}]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists the mappings of a process")
@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_status_beside_a_running_upload_and_resume_after_a_kill(
    nursery, environment, xnatctl, sandbox, alice, exam, home, assert_exactly, mode
):
    sandbox.faults.load(HELD)
    upload = ("session", "upload", str(exam.directory), "-P", "DEMO", "-S", "s", "-E", "e", "--mode", mode)
    running = nursery.start("-m", "xnatctl", *upload, env={**environment, **alice})
    while sum("import" in request["path"] for request in list(sandbox.requests)) < 2:
        time.sleep(0.01)
        assert running.poll() is None, running.err
    folder = home / "state" / "xnatctl" / "journals"
    assert str(folder) not in Path(f"/proc/{running.pid}/maps").read_text()
    assert [path.name for path in folder.iterdir() if path.name.endswith("-shm")] == []
    (shown,) = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert (shown["session"], shown["found"]) == ("e", len(exam.instances))
    one = xnatctl("upload", "status", shown["id"], "-o", "json")
    assert one.code == 0, one.err
    assert running.poll() is None, "reading the journal does not disturb the run"
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    sandbox.faults.load([])
    done = xnatctl("upload", "resume", shown["id"], env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
