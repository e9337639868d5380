"""The real command line, in a process of its own, against the sandbox."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl.testing.exam import write_exam
from xnatctl_sandbox.server import Sandbox


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as exactly one JSON document; anything before or after it is an error."""
        return json.loads(self.out)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "xnat") as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """A clean environment: no settings of whoever runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XNAT", "XDG_"))}
    for key in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        kept.pop(key, None)
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def xnatctl(environment: dict[str, str], tmp_path: Path) -> Callable[..., Result]:
    """Run the command; `env` adds variables, `stdin` is what it reads."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None, stdin: str = "", timeout: float = 100) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "xnatctl", *map(os.fspath, arguments)],
            env={**environment, **(env or {})},
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout,
            cwd=tmp_path,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def alice(sandbox: Sandbox) -> dict[str, str]:
    """The variables of a user who may write to DEMO."""
    return {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    """Three series, 300 instances, every naming style, with clutter. `.instances`: SOP UID -> what was written."""
    return write_exam(tmp_path / "exam", series=3, instances=100, seed=7)


@pytest.fixture
def stored() -> Callable[[Sandbox], dict[str, list[dict[str, Any]]]]:
    """What the server holds, by SOP Instance UID, every copy listed."""

    def look(server: Sandbox) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for instance in server.instances():
            found.setdefault(instance["sop_instance_uid"], []).append(instance)
        return found

    return look


@pytest.fixture
def assert_exactly(stored: Callable[[Sandbox], dict[str, list[dict[str, Any]]]]) -> Callable[..., None]:
    """The store holds exactly these instances: byte for byte, once, catalogued, in one session at one place."""

    def check(server: Sandbox, expected: dict[str, str], *, place: str, label: str, project: str = "DEMO") -> None:
        found = stored(server)
        assert set(found) == set(expected)
        for uid, copies in found.items():
            assert len(copies) == 1, f"{uid} is stored {len(copies)} times"
            (copy,) = copies
            assert copy["sha256"] == expected[uid]
            assert copy["place"] == place
            assert (copy["project"], copy["session"]) == (project, label)
            assert copy["catalogued"]

    return check


@pytest.fixture
def digest() -> Callable[[Path], str]:
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
