"""A home of its own for every test, and a question to ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xnatctl.api import CredentialRequest

URL = "https://xnat.example.org"


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
        monkeypatch.setenv("XDG_STATE_HOME", str(directory / ".local" / "state"))
    return directory


@pytest.fixture
def ask() -> Callable[..., CredentialRequest]:
    """A request; what is named replaces the usual."""

    def make(**fields: Any) -> CredentialRequest:
        return CredentialRequest(**{"server": URL, "profile_name": "site", **fields})

    return make
