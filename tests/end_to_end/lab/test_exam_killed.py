"""kill -9 in each stage of an exam, then the same command again: everything in its place, once."""

from __future__ import annotations

import json
import signal
import time

import pytest

pytestmark = [pytest.mark.once, pytest.mark.lab]

#: An observer that ends the process at the n-th thing that it is told, and keeps a list of what it was told.
OBSERVER = """
import json, os, signal
from xnatctl.api import hookimpl
seen = 0
@hookimpl
def xnatctl_on_event(event):
    global seen
    seen += 1
    with open(os.environ["EVENTS"], "a") as out:
        out.write(json.dumps([str(event.kind), str(event.data.get("stage", ""))]) + "\\n")
    if seen == int(os.environ.get("KILL_AT", "0")):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def exam_lab(lab, make_root, tmp_path, install):
    """The laboratory with an exam root in place of a directory of images."""
    root = make_root(tmp_path / "root")
    for number in range(12):
        root.add(f"Logs/{number:02}.txt", bytes([number]) * 1000)
    lab.exam = root
    lab.arguments = (
        *("session", "upload-exam", str(root.directory), "-P", "DEMO", "-S", "s", "-E", "e"),
        *("--workers", "2", "-o", "json"),
    )
    lab.environment = {**lab.environment, **install("events", OBSERVER), "EVENTS": str(tmp_path / "events")}
    return lab


def events(tmp_path):
    return [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]


@pytest.mark.timeout(3600)
def test_killed_at_each_journal_write(exam_lab, spread, assert_exactly, attached):
    points = [(number, when) for number in range(1, exam_lab.writes() + 1) for when in ("before", "after")]
    assert len(points) >= 20
    chosen, killed = spread(points, 3), 0
    for point, when in chosen:
        exam_lab.start_over()
        if not exam_lab.crash(point, when):
            continue
        killed += 1
        exam_lab.quiet()
        code, report = exam_lab.run()
        assert code == 0, (point, when, exam_lab.log)
        assert report["counts"]["found"] == report["counts"]["verified"]
        assert_exactly(exam_lab.sandbox, exam_lab.exam.digests, place="archive", label="e")
        assert attached(exam_lab.sandbox) == exam_lab.exam.files
    assert killed >= len(chosen) * 2 // 3


@pytest.mark.timeout(3600)
def test_killed_in_each_stage(exam_lab, full, assert_exactly, attached, tmp_path):
    """One point in each stage of the session and of the resources, or every point."""
    assert exam_lab.run()[0] == 0
    told = events(tmp_path)
    stages: dict[str, int] = {}
    for number, (kind, stage) in enumerate(told, 1):
        if kind in ("stage-started", "settling", "verifying"):
            attaching = stage.startswith("attach") or any(s.startswith("stage-started attach") for s in stages)
            stages.setdefault(f"{kind} {'attach' if attaching else 'session'}", number)
    assert set(stages) == {
        "stage-started session", "settling session", "verifying session", "stage-started attach", "verifying attach",
    }  # fmt: skip
    for number in range(1, len(told)) if full else sorted(stages.values()):
        exam_lab.start_over()
        exam_lab.environment = {**exam_lab.environment, "KILL_AT": str(number)}
        code, _ = exam_lab.run()
        assert code in (-9, 0), exam_lab.log  # which worker is told first differs from run to run
        exam_lab.quiet()
        exam_lab.environment = {**exam_lab.environment, "KILL_AT": "0"}
        code, _ = exam_lab.run()
        assert code == 0, (number, told[number - 1], exam_lab.log)
        assert_exactly(exam_lab.sandbox, exam_lab.exam.digests, place="archive", label="e")
        assert attached(exam_lab.sandbox) == exam_lab.exam.files


@pytest.mark.timeout(600)
def test_killed_while_it_waits_for_the_archive(exam_lab, xnatctl, alice, assert_exactly, attached):
    exam_lab.arguments = (*exam_lab.arguments, "--prearchive", "--wait", "60")
    waiting = exam_lab.start()
    deadline = time.monotonic() + 50
    while not any(row.status == "READY" for row in exam_lab.sandbox.state.prearchive):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    waiting.send_signal(signal.SIGKILL)
    waiting.communicate(timeout=30)
    (row,) = exam_lab.sandbox.state.prearchive
    done = xnatctl(
        "prearchive", "archive", "DEMO", row.timestamp, row.folder, "--subject", "s", "--label", "e", env=alice
    )
    assert done.code == 0, done.err
    before = len(exam_lab.arrivals())
    code, _ = exam_lab.run()
    assert code == 0, exam_lab.log
    assert len(exam_lab.arrivals()) == before, "no image goes again"
    assert_exactly(exam_lab.sandbox, exam_lab.exam.digests, place="archive", label="e")
    assert attached(exam_lab.sandbox) == exam_lab.exam.files


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(exam_lab, dice, full, assert_exactly, attached):
    begun = time.monotonic()
    assert exam_lab.run()[0] == 0
    length = time.monotonic() - begun
    for _ in range(20 if full else 1):
        exam_lab.start_over()
        exam_lab.kill_after(dice.uniform(0.15, length))
        exam_lab.quiet()
        code, _ = exam_lab.run()
        assert code == 0, exam_lab.log
        assert_exactly(exam_lab.sandbox, exam_lab.exam.digests, place="archive", label="e")
        assert attached(exam_lab.sandbox) == exam_lab.exam.files
