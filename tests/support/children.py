"""Processes of tests: the command, or a script beside it, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

#: A child that has not ended after so many seconds hangs: a busy machine needs a tenth of it.
HANGS = 240.0

#: A process: its number, and what waits for its end and returns the exit code.
Start = tuple[int, Callable[[], int]]

#: Variables of the interpreter, which a fork cannot obey; the harmless ones it can.
_INTERPRETER = ("PYTHON", "LANG", "LC_")
_HARMLESS = {"PYTHON_KEYRING_BACKEND", "PYTHONPATH"}


class Child:
    """A process that was started, with as much of `subprocess.Popen` as tests use, and what it has said so far."""

    def __init__(self, arguments: Sequence[str], begin: Callable[[Sequence[int]], Start], stdin: bytes) -> None:
        self.args = ["python", *arguments]
        self.returncode: int | None = None
        into, feed = os.pipe()
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        try:
            self.pid, self._end = begin((into, out, err))
        finally:
            for file in (into, out, err):
                os.close(file)
        self._pieces: dict[int, list[bytes]] = {self._out: [], self._err: []}
        self._readers = [threading.Thread(target=self._read, args=(file,), daemon=True) for file in self._pieces]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        for thread in (*self._readers, self._watcher, threading.Thread(target=_feed, args=(feed, stdin), daemon=True)):
            thread.start()

    def _watch(self) -> None:
        self.returncode = self._end()

    def _read(self, file: int) -> None:
        while data := os.read(file, 65536):
            self._pieces[file].append(data)
        os.close(file)

    @property
    def out(self) -> bytes:
        """Its standard output so far."""
        return b"".join(self._pieces[self._out])

    @property
    def err(self) -> bytes:
        """Its standard error so far."""
        return b"".join(self._pieces[self._err])

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self.returncode

    def wait(self, timeout: float = HANGS) -> int:
        """The exit code. Raises TimeoutExpired."""
        self._watcher.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout, self.out, self.err)
        return self.returncode

    def communicate(self, timeout: float = HANGS) -> tuple[bytes, bytes]:
        """Everything that it wrote until its end. Raises TimeoutExpired with what there is so far."""
        deadline = time.monotonic() + timeout
        for thread in (self._watcher, *self._readers):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout, self.out, self.err)
        return self.out, self.err

    def send_signal(self, number: int) -> None:
        """Nothing once it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # the latter on Windows, for one that is ending
                os.kill(self.pid, number)

    def close(self) -> None:
        """Kill it when it still runs."""
        self.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows ends it at once by any number
        self._watcher.join(HANGS)


class Nursery:
    """Starts processes: by fork where that makes no difference, else as `python ARGUMENTS`.

    `XNATCTL_TESTS_START=real` forks nothing.
    """

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._children: list[Child] = []

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        stdin: bytes = b"",
        umask: int = -1,
    ) -> Child:
        """What follows `python` on a command line: `-m xnatctl ...`, or a script."""
        begin = self._fork if self._may_fork(arguments, env) else self._execute
        order = {"environment": dict(env), "directory": os.fspath(cwd or Path.cwd()), "umask": umask}
        with self._lock:
            child = Child(arguments, lambda files: begin(list(arguments), order, files), stdin)
            self._children.append(child)
        return child

    @staticmethod
    def _may_fork(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
        if os.environ.get("XNATCTL_TESTS_START") == "real" or not hasattr(socket, "recv_fds"):
            return False
        if arguments[0].startswith("-") and arguments[0] != "-m":
            return False
        paths = env.get("PYTHONPATH", "").split(os.pathsep)
        if any(Path(path, "sitecustomize.py").exists() for path in paths if path):
            return False  # it is imported when an interpreter starts, and then only
        names = {name for name in {*env, *os.environ} if name.startswith(_INTERPRETER)} - _HARMLESS
        return all(env.get(name) == os.environ.get(name) for name in names)

    @staticmethod
    def _execute(arguments: Sequence[str], order: Mapping[str, Any], files: Sequence[int]) -> Start:
        into, out, err = files
        process = subprocess.Popen(
            [sys.executable, *arguments], env=order["environment"], cwd=order["directory"], umask=order["umask"],
            stdin=into, stdout=out, stderr=err,
        )  # fmt: skip
        return process.pid, process.wait

    def _fork(self, arguments: Sequence[str], order: Mapping[str, Any], files: Sequence[int]) -> Start:
        status, theirs = os.pipe()
        message = json.dumps({"command": arguments, **order}).encode()
        control = self._nursery()
        try:
            socket.send_fds(control, [len(message).to_bytes(8)], [*files, theirs])
            control.sendall(message)
        finally:
            os.close(theirs)
        said = os.fdopen(status, "rb")
        pid = int(said.readline())

        def end() -> int:
            with said:
                return int(said.readline())

        return pid, end

    def _nursery(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, os.fspath(Path(__file__).with_name("nursery.py")), str(theirs.fileno())],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[theirs.fileno()],
                )  # fmt: skip  # pipes, because that is what its children will find in their place
            if self._control.recv(1) != b"+":
                raise RuntimeError(f"the nursery did not start: {self._process.communicate()}")
        return self._control

    def end_children(self) -> None:
        """Kill what a test left running."""
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            child.close()

    def close(self) -> None:
        """End the nursery."""
        self.end_children()
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.communicate(timeout=HANGS)


def _feed(file: int, data: bytes) -> None:
    """Write what a child reads, and close; one that does not read is not waited for."""
    with suppress(BrokenPipeError):
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
    os.close(file)
