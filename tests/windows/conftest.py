"""The command as a Windows workstation runs it: in a process of its own, against a sandbox of this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl.testing.exam import write_exam
from xnatctl_sandbox.server import Sandbox

#: A command that has not ended after so many seconds hangs.
HANGS = 240


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out.decode("utf-8"))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    port = 0 if find_spec("pynetdicom") is not None else None
    with Sandbox(tmp_path / "xnat", dicom_port=port) as server:
        yield server


@pytest.fixture
def environment(tmp_path: Path, sandbox: Sandbox) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XNAT")}
    return {
        **kept,
        "XNATCTL_CONFIG": str(tmp_path / "config.yaml"),
        "XNATCTL_STATE_DIR": str(tmp_path / "state"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "XNAT_URL": sandbox.url,
        "XNAT_USER": "alice",
        "XNAT_PASS": "alice",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def program(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start Python with arguments; what still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str | Path, env: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**environment, **(env or {})},
            cwd=more.pop("cwd", tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def start(program: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the command."""
    return lambda *arguments, **more: program("-m", "xnatctl", *arguments, **more)


@pytest.fixture
def xnatctl(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Result]:
    """Run the command to its end."""

    def run(*arguments: str | Path, stdin: str = "", **more: Any) -> Result:
        process = start(*arguments, **more)
        out, err = process.communicate(stdin.encode(), timeout=HANGS)
        return Result(process.returncode, out, err.decode("utf-8", "replace"))

    return run


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    return write_exam(tmp_path / "exam", series=2, instances=10, seed=7)
