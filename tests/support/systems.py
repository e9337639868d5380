"""What the system under the tests can do: markers for tests of what it lacks, each with its reason."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest


def is_wine() -> bool:
    """True for CPython for Windows under Wine, which does not do everything that Windows does."""
    if sys.platform != "win32":
        return False
    import ctypes

    return hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


def _follows_links() -> bool:
    """Windows makes links for administrators and in developer mode only; Wine makes some that it cannot follow."""
    if os.name == "posix":
        return True
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "link")
        try:
            link.symlink_to(Path(folder))
            return link.is_symlink() and link.is_dir()
        except OSError:
            return False


def _needs(there: bool, reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there, reason=reason)


needs_posix_modes = _needs(os.name == "posix", "Windows has access control lists in place of modes")
needs_fifos = _needs(hasattr(os, "mkfifo"), "the system has no named pipes in folders")
needs_links = _needs(_follows_links(), "this user makes no symbolic links here that can be followed")
needs_posix_names = _needs(os.name == "posix", "the system does not take this name for a file")
needs_signals = _needs(os.name == "posix", "Windows ends a process without sending it a signal")
needs_fork = _needs(hasattr(os, "fork"), "the system does not fork")
needs_terminals = _needs(os.name == "posix", "the system has no pseudo-terminals in the standard library")
