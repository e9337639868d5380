"""`campaign work` as an executor starts it: a process with pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from xnatctl_campaign.folder import CampaignInfo, now, write_campaign


def test_a_worker_that_is_told_to_end_while_its_pipe_is_open_ends_without_a_word(tmp_path: Path, environment) -> None:
    """The thread that reads the pipe still waits for a message when the interpreter ends."""
    info = CampaignInfo(
        server="http://127.0.0.1:1", manifest="", manifest_sha256="", rows=0, excluded=0, created=now(), version=""
    )
    write_campaign(tmp_path / "c", info, [], [])
    worker = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", "campaign", "work", str(tmp_path / "c")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stderr is not None
    try:
        for message in ({"do": "begin", "budget": {}}, {"do": "stop"}):
            worker.stdin.write(json.dumps(message).encode() + b"\n")
        worker.stdin.flush()
        code, err = worker.wait(), worker.stderr.read()  # its standard input stays open
    finally:
        worker.kill()
        worker.stdin.close()
    with worker.stdout, worker.stderr:
        assert (code, err, worker.stdout.read()) == (0, b"", b"")
