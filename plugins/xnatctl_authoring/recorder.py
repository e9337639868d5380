"""A pytest plugin that writes what happens to a file, line by line, so that nothing is lost when the process ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

#: The option of pytest that names the file.
OPTION = "--xnatctl-record"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that names the file."""
    parser.addoption(OPTION, type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Record this session."""
    config.pluginmanager.register(_Recorder(config.getoption(OPTION)))


class _Recorder:
    """Appends to the file as hooks are called."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _write(self, **entry: Any) -> None:
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins: if no line follows, it ended the process."""
        self._write(kind="begin", test=_name(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test passed, failed or was skipped."""
        if report.when == "call" or not report.passed:
            self._write(kind="end", test=_name(report.nodeid), outcome=report.outcome, message=_message(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module of tests cannot be imported."""
        if report.failed:
            self._write(kind="end", test=_name(report.nodeid), outcome="failed", message=_message(report))

    def pytest_sessionfinish(self) -> None:
        """All tests are done."""
        self._write(kind="done")


def _name(nodeid: str) -> str:
    return nodeid.rpartition("::")[2] or nodeid


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The first line of the error; the mistake of a contract is on it."""
    details: Any = report.longrepr
    if report.skipped and isinstance(details, tuple):
        return str(details[2]).removeprefix("Skipped: ")
    crash = getattr(details, "reprcrash", None)
    lines = str(getattr(crash, "message", details) or "").strip().splitlines() or [""]
    text = lines[0] if crash is not None else lines[-1]
    for name in ("xnatctl.testing.watch.Mistake: ", "AssertionError: ", "Failed: "):
        text = text.removeprefix(name)
    return text
