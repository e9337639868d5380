"""Fixtures of the whole tree: an isolated home, the command in a process of its own, plugins on a path."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import Nursery
from hypothesis import HealthCheck, settings

HASTY = Path(__file__).parent / "support" / "hasty.py"

# Timing never decides a test: a busy machine may take any time for an example.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A job in the background of a shell ignores SIGINT, and so would each command that is interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what is marked `lab` to the laboratory."""
    if os.environ.get("XNATCTL_LAB") != "full":
        for item in items:
            if item.get_closest_marker("lab"):
                item.add_marker(pytest.mark.skip(reason="the lab environment runs it"))


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


@pytest.fixture(scope="session")
def httpserver_listen_address() -> tuple[str, int]:
    """Where pytest-httpserver listens; it makes one server for all tests, whichever asks first."""
    return ("127.0.0.1", 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """A clean environment: no settings of whoever runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XNAT", "XDG_"))}
    for key in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NETRC", "http_proxy", "https_proxy", "all_proxy"):
        kept.pop(key, None)
    return {
        **kept,
        "HOME": str(home),
        "USERPROFILE": str(home),  # the same on Windows
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture(scope="session")
def _nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def nursery(_nursery: Nursery) -> Iterator[Nursery]:
    """Starts processes; those that a test leaves running are ended with it."""
    yield _nursery
    _nursery.end_children()


@pytest.fixture
def xnatctl(nursery: Nursery, environment: dict[str, str], tmp_path: Path) -> Callable[..., Result]:
    """Run the command to its end; `env` adds variables, `stdin` is what it reads, `program` what is run, in `cwd`."""

    def run(
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        program: tuple[str | Path, ...] = ("-m", "xnatctl"),
        cwd: Path = tmp_path,
    ) -> Result:
        child = nursery.start(
            *map(os.fspath, (*program, *arguments)),
            env={**environment, **(env or {})},
            cwd=cwd,
            stdin=stdin.encode(),
        )
        out, err = child.communicate()
        return Result(child.wait(), out.decode(), err.decode())

    return run


@pytest.fixture
def hasty(xnatctl: Callable[..., Result]) -> Callable[..., Result]:
    """The same command, which waits a tenth as long before it tries or looks again."""
    return partial(xnatctl, program=(HASTY,))


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Lay out a plugin as pip would, in a folder of its own; returns the variables that make it seen."""
    site = tmp_path / "site"

    def add(
        name: str, source: str, *, distribution: str | None = None, version: str = "1.0", requires: Iterable[str] = ()
    ) -> dict[str, str]:
        package = distribution or f"dist-{name}"
        module = f"{package.replace('-', '_')}_{name}"
        info = site / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        needed = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{needed}")
        (info / "entry_points.txt").write_text(f"[xnatctl]\n{name} = {module}\n")
        return {"PYTHONPATH": str(site)}

    return add
