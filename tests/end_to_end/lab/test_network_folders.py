"""State directory, data and a campaign on a mount that refuses shared mappings, as network file systems do."""

from __future__ import annotations

import errno
import importlib.util
import mmap
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import children
import pytest
from campaigns import freeze, write_exams

MOUNTER = Path(children.__file__).with_name("network_mount.py")
UNMOUNT = shutil.which("fusermount3") or shutil.which("fusermount")
HELD = [{"match": {"method": "POST", "path": "/data/services/import"}, "nth": 2, "action": "hold", "seconds": 600}]

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(importlib.util.find_spec("mfusepy") is None, reason="mfusepy is not installed"),
    pytest.mark.skipif(UNMOUNT is None or not Path("/dev/fuse").exists(), reason="the machine has no FUSE"),
]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Path]:
    """The mount."""
    below, mount = tmp_path / "below", tmp_path / "network"
    below.mkdir()
    mount.mkdir()
    server = subprocess.Popen([sys.executable, MOUNTER, below, mount], stderr=subprocess.PIPE)
    try:
        while not mount.is_mount():
            if server.poll() is not None:
                pytest.skip(f"FUSE cannot be used here: {server.communicate()[1].decode()}")
            time.sleep(0.01)
        yield mount
    finally:
        if server.poll() is None:
            subprocess.run([str(UNMOUNT), "-uz", mount], check=True)
        server.communicate()


def test_the_mount_refuses_shared_mappings(network):
    with (network / "file").open("w+b") as file:
        file.write(bytes(4096))
        file.flush()
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
            mmap.mmap(file.fileno(), 4096)
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_an_upload_is_watched_killed_and_resumed(
    network, nursery, environment, xnatctl, sandbox, alice, exam, assert_exactly, mode
):
    shutil.copytree(exam.directory, network / "exam", symlinks=True)
    variables = {**alice, "XDG_STATE_HOME": str(network / "state")}
    sandbox.faults.load(HELD)
    upload = ("session", "upload", str(network / "exam"), "-P", "DEMO", "-S", "s", "-E", "e", "--mode", mode)
    running = nursery.start("-m", "xnatctl", *upload, env={**environment, **variables})
    while sum("import" in request["path"] for request in list(sandbox.requests)) < 2:
        time.sleep(0.01)
        assert running.poll() is None, running.err
    (shown,) = xnatctl("upload", "status", "-o", "json", env=variables).document["uploads"]
    assert (shown["session"], shown["found"]) == ("e", len(exam.instances))
    second = xnatctl(*upload, "--lock-wait", "0", env=variables)
    assert second.code == 7, second.err
    assert "Another run is still uploading" in second.err
    assert running.poll() is None, "neither disturbs the run"
    running.close()
    sandbox.faults.load([])
    done = xnatctl("upload", "resume", shown["id"], env=variables)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_a_campaign(network, tmp_path, xnatctl, sandbox, alice, stored):
    exams = write_exams(network / "exams", 3)
    folder = freeze(network / "campaign", exams, sandbox.url)
    done = xnatctl(
        "campaign", "run", folder.directory, "-o", "json", env={**alice, "XDG_STATE_HOME": str(network / "state")}
    )
    assert done.code == 0, done.err
    assert set(stored(sandbox)) == {uid for exam in exams for uid in exam.instances}
