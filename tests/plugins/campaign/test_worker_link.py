"""The run's end of a worker process: what it hands over, and what it makes of a process that dies."""

from __future__ import annotations

import pickle
import sys
import threading
from pathlib import Path

import pytest

from xnatctl.api import RowResult
from xnatctl_campaign import worker_link
from xnatctl_campaign.worker_link import Progress, WorkerLink, WorkerProcesses

#: A worker: each row is answered as the program in the place of `%s` says.
_WORKER = """
import json, os, signal, sys, time
begin = json.loads(sys.stdin.readline())
def say(**message):
    print(json.dumps(message), flush=True)
def proven(row):
    say(**{"is": "result", "row": row, "state": "proven", "exit_code": 0, "code": "", "reason": ""})
for line in sys.stdin:
    message = json.loads(line)
    row = message.get("row")
    if message["do"] == "interrupt":
        break
%s
"""


class Heard:
    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.lines: list[tuple[int, str]] = []

    def works(self, progress: Progress) -> None:
        self.progress.append(progress)

    def said(self, row: int, line: str) -> None:
        self.lines.append((row, line))


class Login:
    token, user = "T1", "alice"

    def answer(self, rejected: str) -> dict[str, str]:
        return {"token": {"T1": "T2"}[rejected]}


@pytest.fixture
def heard() -> Heard:
    return Heard()


def link(program: str, heard: Heard, login=None) -> WorkerLink:
    script = _WORKER % "\n".join(f"    {line}" for line in program.splitlines())
    return WorkerLink([sys.executable, "-S", "-c", script], {"sessions": 2}, login, heard)


def test_one_process_serves_all_rows(heard: Heard) -> None:
    program = """
say(**{"is": "started", "row": row})
say(**{"is": "progress", "row": row, "phase": "sending", "files": 2, "bytes": os.getpid()})
print("Warning: odd", file=sys.stderr)
proven(row)
"""
    with link(program, heard) as worker:
        assert [worker.run(row) for row in (3, 5)] == [
            RowResult(row=3, state="proven"),
            RowResult(row=5, state="proven"),
        ]
    assert [(progress.row, progress.phase, progress.files) for progress in heard.progress] == [
        (3, "sending", 2),
        (5, "sending", 2),
    ]
    assert len({progress.bytes for progress in heard.progress}) == 1
    assert [line for _, line in heard.lines] == ["Warning: odd"] * 2


def test_the_login_goes_over_the_pipe_and_is_renewed(heard: Heard) -> None:
    program = """
say(**{"is": "need-token", "rejected": begin["token"]})
answer = json.loads(sys.stdin.readline())
say(**{"is": "result", "row": row, "state": "failed", "exit_code": 0, "code": "", "reason": str([begin, answer])})
"""
    with link(program, heard, Login()) as worker:
        said = worker.run(1).reason
    assert said == str(
        [{"do": "begin", "token": "T1", "user": "alice", "budget": {"sessions": 2}}, {"do": "token", "token": "T2"}]
    )


def test_a_worker_that_is_killed_is_replaced_once(heard: Heard, tmp_path: Path) -> None:
    program = f"""
if not os.path.exists({str(tmp_path / "killed")!r}):
    open({str(tmp_path / "killed")!r}, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
proven(row)
"""
    with link(program, heard) as worker:
        assert worker.run(1).state == "proven"
    assert heard.lines == [(1, "The worker process was ended by SIGKILL. Starting another one.")]


def test_a_row_whose_worker_dies_twice_has_failed(heard: Heard) -> None:
    with link("os.kill(os.getpid(), signal.SIGSEGV) if row == 1 else proven(row)", heard) as worker:
        result = worker.run(1)
        assert (result.state, result.exit_code, result.code) == ("failed", 1, "worker-ended")
        assert result.reason == "The worker process was ended by SIGSEGV, twice."
        assert worker.run(2).state == "proven"


def test_a_worker_that_ends_by_itself_says_why(heard: Heard) -> None:
    with link('print("Error: no such profile", file=sys.stderr); sys.exit(2)', heard) as worker:
        result = worker.run(1)
    assert (result.state, result.exit_code, result.reason) == ("failed", 2, "no such profile")


def test_an_interrupt_kills_a_worker_that_does_not_end(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "_INTERRUPTED", 0.1)
    with link(
        'say(**{"is": "progress", "row": row, "phase": "", "files": 0, "bytes": 0}); time.sleep(600)', heard
    ) as worker:
        threading.Thread(target=lambda: (_wait(heard), worker.interrupt())).start()
        assert worker.run(1).state == "interrupted"
        assert worker.run(2).state == "interrupted"
    assert len(heard.progress) == 1


def _wait(heard: Heard) -> None:
    while not heard.progress:
        pass


def test_a_copy_for_another_process_holds_no_login(heard: Heard) -> None:
    work = WorkerProcesses("/c", ["campaign", "work", "/c"], {"sessions": 2}, Login(), heard)
    data = pickle.dumps(work)
    assert b"T1" not in data
    copy = pickle.loads(data)
    assert (copy.directory, copy.words, copy.budget) == ("/c", ("campaign", "work", "/c"), {"sessions": 2})
