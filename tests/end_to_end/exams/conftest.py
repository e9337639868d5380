"""The command for whole exams, and the shell that runs what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def upload_exam(xnatctl: Callable[..., Any], alice: dict[str, str]) -> Callable[..., Any]:
    """`session upload-exam` into session e of DEMO, as alice."""

    def run(root: Any, *more: str, env: Mapping[str, str] | None = None) -> Any:
        where = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")
        return xnatctl("session", "upload-exam", root.directory, *where, *more, env={**alice, **(env or {})})

    return run


@pytest.fixture
def shell(environment: dict[str, str], alice: dict[str, str], tmp_path: Path) -> Callable[[str], Any]:
    """Run a command line that xnatctl printed, exactly as printed, by a shell in another directory."""

    def run(line: str, **more: str) -> Any:
        program = tmp_path / "bin" / "xnatctl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xnatctl "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        return subprocess.run(
            line, shell=True, env={**environment, **alice, "PATH": path, **more}, cwd="/", capture_output=True,
            text=True, timeout=100, check=False,
        )  # fmt: skip

    return run
