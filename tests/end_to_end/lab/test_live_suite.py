"""The live suite, tried against the sandbox: it passes, and it removes what it made and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xnatctl_sandbox.server import Sandbox

pytestmark = [pytest.mark.once, pytest.mark.lab, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(environment, tmp_path):
    def begin(server, *words, **more):
        variables = {
            "XNATCTL_LIVE_URL": server.url,
            "XNATCTL_LIVE_USER": "alice",
            "XNATCTL_LIVE_PASS": "alice",
            "XNATCTL_LIVE_PROJECT": "DEMO",
            "XNATCTL_LIVE_LEFT": str(tmp_path / "left.txt"),
            **more,
        }
        command = [sys.executable, "-m", "pytest", "tests/live", "-p", "no:cacheprovider", *words]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def labels(server):
    return {experiment.label for experiment in server.state.experiments.values()}


@pytest.mark.parametrize("version", ["1.8.11", "1.8.2"])
def test_it_passes_and_cleans_up(start, tmp_path, xnatctl, exam, version):
    with Sandbox(tmp_path / "xnat", version=version, dicom_port=0) as server:
        login = {"XNAT_URL": server.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}
        other = ("-P", "DEMO", "-S", "xnatctl-live-other", "-E", "xnatctl-live-000000000000")
        assert xnatctl("session", "upload", exam.directory, *other, env=login).code == 0
        running = start(server, XNATCTL_LIVE_DICOM=f"127.0.0.1:{server.dicom_port}:XNAT")
        out, _ = running.communicate()
        assert running.returncode == 0, out
        assert f"XNAT {version} at {server.url}, project DEMO" in out
        assert ("Not tested: direct archive needs XNAT 1.8.4" in out) is (version == "1.8.2")
        assert labels(server) == {"xnatctl-live-000000000000"}
        assert not server.state.prearchive
        # The sandbox removes no subjects; what a server refuses is listed.
        (left,) = (tmp_path / "left.txt").read_text().splitlines()
        assert left.startswith("subject xnatctl-live-")
        assert left in out


def test_it_cleans_up_after_ctrl_c(start, tmp_path):
    with Sandbox(tmp_path / "xnat") as server:
        running = start(server)
        while not labels(server) and running.poll() is None:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate()
        assert running.returncode == 2, out
        assert labels(server) == set()
        assert not server.state.prearchive
        assert "live suite" in out


def test_what_is_missing_or_wrong_is_said_before_anything_is_made(start, tmp_path):
    with Sandbox(tmp_path / "xnat") as server:
        for more, said in (
            ({"XNATCTL_LIVE_PASS": ""}, "Set XNATCTL_LIVE_PASS as well."),
            ({"XNATCTL_LIVE_PROJECT": "NOWHERE"}, "may not write to project NOWHERE"),
            ({"XNATCTL_LIVE_DICOM": "host:104"}, "must be HOST:PORT:AET"),
        ):
            running = start(server, **more)
            out, _ = running.communicate()
            assert (running.returncode, said in out) == (4, True), out
        assert labels(server) == set()
    assert "XNATCTL_LIVE" not in os.environ
