"""A pytest plugin that writes what happens to a file, line by line, so that nothing is lost when the process ends."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

#: The variable that names the file.
RECORD = "XNATCTL_CHECK_RECORD"


def _write(**entry: Any) -> None:
    with open(os.environ[RECORD], "a", encoding="utf-8") as out:
        out.write(json.dumps(entry) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins: if no line follows, it ended the process."""
    _write(kind="begin", test=_name(nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test passed, failed or was skipped."""
    if report.when == "call" or not report.passed:
        _write(kind="end", test=_name(report.nodeid), outcome=report.outcome, message=_message(report))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module of tests cannot be imported."""
    if report.failed:
        _write(kind="end", test=_name(report.nodeid), outcome="failed", message=_message(report))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """All tests are done."""
    _write(kind="done")


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
    for name in ("AssertionError: ", "Failed: "):
        text = text.removeprefix(name)
    return text
