"""Fixtures of the whole tree: an isolated home, the command in a process of its own, plugins on a path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


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
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def xnatctl(environment: dict[str, str], tmp_path: Path) -> Callable[..., Result]:
    """Run the command; `env` adds variables, `stdin` is what it reads."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 100
    ) -> Result:
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
def install(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Lay out a plugin as pip would, in a folder of its own; returns the variables that make it seen."""
    site = tmp_path / "site"

    def add(name: str, source: str, *, distribution: str | None = None, version: str = "1.0") -> dict[str, str]:
        package = distribution or f"dist-{name}"
        module = f"{package.replace('-', '_')}_{name}"
        info = site / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[xnatctl]\n{name} = {module}\n")
        return {"PYTHONPATH": str(site)}

    return add
