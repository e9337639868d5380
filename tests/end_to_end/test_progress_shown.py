"""What a person sees at a terminal while the real command works. The server waits for the test, never the test for a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from seen import Seen

from xnatctl.testing.exam import write_exam

pytestmark = pytest.mark.once


@pytest.fixture
def see(tmp_path, alice):
    started = []

    def see(*command, env=None):
        home = {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
        started.append(Seen(*command, env={**home, **alice, **(env or {})}, cwd=tmp_path))
        return started[-1]

    yield see
    for seen in started:
        seen.process.kill()
        seen.close()


def hold(sandbox, method, path, **more):
    """Let requests of this kind wait until `sandbox.faults.end()`."""
    sandbox.faults.load([{"match": {"method": method, "path": path}, "action": "delay", "seconds": 600, **more}])


def test_a_large_file_moves_while_it_is_sent_and_the_server_archives(see, sandbox, tmp_path):
    """More than the system's buffers take at once: so much of it is shown as was taken, and no more."""
    source = tmp_path / "exam"
    write_exam(source, series=1, instances=1, clutter=False)
    (small,) = (path for path in source.rglob("*") if path.is_file())
    _grown(small, source / "large.dcm", 64 << 20)
    hold(sandbox, "POST", "services/import$", nth=2)
    seen = see("session", "upload", source, "-P", "DEMO", "-S", "s", "-E", "e", "--compress", "never", "--workers", "1")
    line, bar = seen.until("1 of 2 files", "nothing sent for 0:03")[-2:]
    number, unit = line.split("files  ")[1].split(" ")[:2]
    sent = float(number) * {"KiB": 1 / 1024, "of": 1, "MiB": 1}[unit]
    assert 0.1 < sent < 60, line
    assert line.endswith("of 64.0 MiB  nothing sent for 0:03"), "a link that stands still has no rate"
    assert abs(int(bar.split()[-2]) - sent / 64 * 100) < 2
    hold(sandbox, "POST", "archive")
    for seconds in ("0:01", "0:02"):
        seen.until(f"The server is archiving the session  {seconds}")
    sandbox.faults.end()
    assert seen.end() == []


def _grown(source: Path, target: Path, size: int) -> None:
    """The same image as another instance, with as many pixel data."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(source)
    uid = f"{dataset.SOPInstanceUID[:50]}.9"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.Rows, dataset.Columns, dataset.PixelData = 4096, size // 8192, bytes(size)
    dataset.save_as(target, enforce_file_format=True)


def test_waiting_shows_what_is_waited_for_before_anything_is_sent(see, sandbox, root):
    hold(sandbox, "GET", "experiments")
    seen = see("session", "upload-exam", root.directory, "-P", "DEMO", "-E", "absent", "--attach-only", "--wait", "600")
    seen.until(f"Waiting for {sandbox.url}")
    sandbox.faults.end()
    seen.until("Waiting until the session is archived: the server does not know it", "0:01")


def test_other_commands_show_that_they_wait(see, sandbox, exam, xnatctl, alice):
    uploaded = xnatctl(
        "session", "upload", exam.directory, "-P", "DEMO", "-S", "s", "-E", "e", "--prearchive", env=alice
    )
    assert uploaded.code == 0, uploaded.err
    hold(sandbox, "GET", "prearchive")
    seen = see("session", "verify", exam.directory, "-P", "DEMO", "-S", "s", "-E", "e")
    seen.until("Comparing the session with the disk  0:0")
    sandbox.faults.end()
    assert seen.end() == []
    (row,) = sandbox.state.prearchive
    hold(sandbox, "POST", "archive")
    seen = see("prearchive", "archive", row.project, row.timestamp, row.folder)
    seen.until("Archiving as e  0:0")
    sandbox.faults.end()
    assert seen.end() == []
