"""What the system under the tests can do: markers for tests of what it lacks, each with its reason."""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from xnatctl.operating_system import processes, windows
from xnatctl.operating_system.files import NO_LINK, NO_WAIT
from xnatctl.operating_system.private import create_private, readable_by_others
from xnatctl.operating_system.signals import HAS_ALARM

#: The exit code of a process that was killed.
KILLED = -9 if os.name == "posix" else 1


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


def _tells_case() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "name").touch()
        return not Path(folder, "NAME").exists()


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let no file of this name be opened to be read, in this process: root reads everything."""
    module, call = (os, "open") if os.name == "posix" else (windows, "open_to_read")
    real = getattr(module, call)

    def refuse(path: Any, *more: Any, **options: Any) -> int:
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", path)
        return int(real(path, *more, **options))

    monkeypatch.setattr(module, call, refuse)


def _needs(there: bool, reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there, reason=reason)


def interrupt_main_thread() -> None:
    """Press Ctrl-C, from another thread."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main(signal.SIGINT)


def is_running(pid: int) -> bool:
    """Whether a process exists, running or not yet reaped."""
    if sys.platform != "win32":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    import _winapi

    try:
        handle = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, pid)
    except OSError:
        return False
    try:
        return _winapi.WaitForSingleObject(handle, 0) == _winapi.WAIT_TIMEOUT
    finally:
        _winapi.CloseHandle(handle)


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """A file that others cannot read, or that they can by its mode, where files have modes."""
    if os.name == "posix":
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return
    path.unlink(missing_ok=True)
    with os.fdopen(create_private(path), "w", encoding="utf-8") as file:
        file.write(text)


def assert_private(file: Path) -> None:
    """Only this user can read it."""
    assert os.name != "posix" or stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not readable_by_others(file)


needs_alarm = _needs(HAS_ALARM, "the system has no alarm clock")
needs_process_groups = _needs(
    os.name != "posix" or hasattr(processes.os, "killpg"), "the names of process groups are hidden here"
)
needs_change_times = _needs(os.name == "posix", "the status of a file has no change time")
needs_posix_modes = _needs(os.name == "posix", "Windows has access control lists in place of modes")
needs_fifos = _needs(hasattr(os, "mkfifo") and NO_WAIT != 0, "the system has no named pipes in folders")
needs_links = _needs(_follows_links(), "this user makes no symbolic links here that can be followed")
needs_dots_after_links = _needs(os.name == "posix", "the system removes `..` from a path before it follows links")
needs_refused_links = _needs(
    _follows_links() and (os.name != "posix" or NO_LINK != 0), "links cannot be made here, or not be told from files"
)
needs_posix_names = _needs(os.name == "posix", "the system does not take this name for a file")
needs_case = _needs(_tells_case(), "names that differ in upper and lower case alone name one file here")
needs_signals = _needs(os.name == "posix", "Windows ends a process without sending it a signal")
needs_bash = _needs(shutil.which("bash") is not None, "bash is not installed")
needs_start_times = _needs(
    os.name == "posix" and Path("/proc/self/stat").exists(), "the system does not tell when a process started"
)
needs_fork = _needs(hasattr(os, "fork"), "the system does not fork")
needs_terminals = _needs(os.name == "posix", "the system has no pseudo-terminals in the standard library")
