"""A home of its own for every test, and none of the variables of whoever runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("XNAT", "XDG_")) or name == "NETRC":
            monkeypatch.delenv(name)
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    if sys.platform == "win32":  # where the default places are not below the home directory
        monkeypatch.setenv("USERPROFILE", str(directory))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / ".config"))
        monkeypatch.setenv("XDG_STATE_HOME", str(directory / ".local" / "state"))
    return directory


@pytest.fixture
def write_config(home: Path) -> Callable[[str], Path]:
    """Put a configuration file where it is looked for; only the user can read it."""

    def write(content: str, mode: int = 0o600) -> Path:
        file = home / ".config" / "xnatctl" / "config.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        file.chmod(mode)
        return file

    return write


@pytest.fixture
def no_umask() -> Iterator[None]:
    """What is made must be private by itself: the umask protects nothing here."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Run a line of Python in a process of its own; what it printed."""

    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    return run
