"""Parts that several tests of campaigns use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parents[2] / "support"


class Claimant:
    """A process that claims as it is told."""

    def __init__(self, folder: Path, lease: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, SUPPORT / "claimant.py", folder, str(lease)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def order(self, *order: Any) -> None:
        """Tell it to begin."""
        assert self._process.stdin
        print(json.dumps(order), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        """Wait for its answer to the oldest order."""
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def ask(self, *order: Any) -> Any:
        """Order, and wait for the answer."""
        self.order(*order)
        return self.answer()

    def signal(self, number: int) -> None:
        """Send a signal; wait until a stopped process has stopped."""
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            os.waitpid(self.pid, os.WUNTRACED)

    def kill(self) -> None:
        """End it without a chance to do anything; it stays a zombie until it is closed."""
        self._process.kill()
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folders of a campaign that claims need."""
    for name in ("claims", "budget"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def claimant(folder: Path) -> Iterator[Callable[[float], Claimant]]:
    """Starts processes that claim in the folder with a lease."""
    started: list[Claimant] = []

    def start(lease: float = 600.0) -> Claimant:
        started.append(Claimant(folder, lease))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Any]:
    """An XNAT on loopback."""
    pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")
    from xnatctl_sandbox.server import Sandbox

    with Sandbox(tmp_path / "xnat") as server:
        yield server
