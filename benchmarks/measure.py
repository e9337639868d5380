"""Whole processes, from outside: wall clock, CPU, peak memory, temporary bytes; and the sinks that they send to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_SINKS = Path(__file__).parent / "sinks"
#: Seconds between looks at memory and temporary files; both have peaks that last longer.
_LOOK = 0.01


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Times in seconds, `system` is the part of `cpu` that the system took; `memory` and `temporary` in bytes, `code` the
    last exit code.
    """

    wall: float
    cpu: float
    system: float
    memory: int
    temporary: int
    code: int
    said: str


def run(pipeline: Sequence[Sequence[str]], environment: Mapping[str, str], limit: float = 600) -> Run:
    """Run one command, or several joined by pipes, with an empty directory for temporary files."""
    with tempfile.TemporaryDirectory(prefix="bench-tmp-") as scratch, tempfile.TemporaryFile() as said:
        started = time.monotonic()
        children: list[subprocess.Popen[bytes]] = []
        source = None
        for number, command in enumerate(pipeline):
            last = number == len(pipeline) - 1
            child = subprocess.Popen(
                command,
                env={**environment, "TMPDIR": scratch},
                stdin=source or subprocess.DEVNULL,
                stdout=said if last else subprocess.PIPE,
                stderr=said,
            )
            if source is not None:
                source.close()
            source = child.stdout
            children.append(child)
        watch = _Watch([child.pid for child in children], Path(scratch))
        killer = threading.Timer(limit, lambda: [child.kill() for child in children])
        killer.start()
        cpu, system, code = 0.0, 0.0, 0
        for child in children:
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = code = os.waitstatus_to_exitcode(status)
            cpu += used.ru_utime + used.ru_stime
            system += used.ru_stime
        wall = time.monotonic() - started
        killer.cancel()
        memory, temporary = watch.stop()
        said.seek(0)
        return Run(wall, cpu, system, memory, temporary, code, said.read()[-2000:].decode(errors="replace"))


class _Watch:
    """Looks at processes and a directory until it is stopped."""

    def __init__(self, pids: Sequence[int], directory: Path) -> None:
        self._pids, self._directory = pids, directory
        self._memory: dict[int, int] = {}
        self._temporary = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        self._end.set()
        self._thread.join()
        return sum(self._memory.values()), self._temporary

    def _look(self) -> None:
        while not self._end.wait(_LOOK):
            for pid in self._pids:
                self._memory[pid] = max(self._memory.get(pid, 0), _peak(pid))
            self._temporary = max(self._temporary, used(self._directory) + sum(map(_deleted, self._pids)))


def _peak(pid: int) -> int:
    """The most memory that a process has held (Linux)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return int(line.split()[1]) * 1024


def _deleted(pid: int) -> int:
    """Bytes in files that a process holds open although their names are gone."""
    total = 0
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            if entry.name not in ("0", "1", "2") and os.readlink(entry.path).endswith("(deleted)"):
                total += os.stat(entry.path).st_size
    except OSError:
        pass
    return total


def used(directory: Path) -> int:
    """Bytes of the files below a directory."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # gone already
                total += os.stat(os.path.join(parent, name)).st_size
    return total


class Sink:
    """A running sink. `counts()` since the last `reset()`; `cpu` in it is of the sink itself, since its start."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def counts(self) -> dict[str, float]:
        return self._ask("counts")

    def reset(self) -> dict[str, float]:
        return self._ask("reset")

    def _ask(self, word: str) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def sink(kind: str, *options: str) -> Iterator[Sink]:
    """Start `xnat` or `dicom` in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(_SINKS / f"{kind}_sink.py"), *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Sink(process, int(process.stdout.readline().split()[1]))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)
