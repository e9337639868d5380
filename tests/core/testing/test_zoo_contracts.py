"""Each wrong plugin fails its contract, with a message that names the mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from zoo import MODULE, WRONG, Wrong

pytestmark = pytest.mark.once

#: Writes each failure to a file, and skips the rest of a suite in which the wanted message was found.
RECORDER = """
import json, pathlib, pytest
HERE = pathlib.Path(__file__).parent
WANTED = json.loads((HERE / "wanted.json").read_text())
FOUND = set()
def pytest_runtest_setup(item):
    if item.path.stem in FOUND:
        pytest.skip("found")
def pytest_runtest_logreport(report):
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else str(report.longrepr)
        suite = report.nodeid.partition(".py::")[0]
        if WANTED[suite] in message:
            FOUND.add(suite)
        with (HERE / "failures").open("a") as out:
            out.write(json.dumps([suite, message]) + "\\n")
"""
#: What each contract has for the plugin itself.
NAMED = {"PlannerContract": "planner = staticmethod(page.xnatctl_plan_upload)",
         "ObserverContract": "observer = staticmethod(page.xnatctl_on_event)"}  # fmt: skip
#: Start a process of its own for each test.
SLOW = "not can_be_imported and not whatever_the_server_does"


def suite_of(name: str, wrong: Wrong) -> str:
    return (
        f"from xnatctl.api import *\nfrom xnatctl.testing import {wrong.contract}\nimport {name} as page\n"
        f"class TestWrong({wrong.contract}):\n    {NAMED.get(wrong.contract, 'spec = page.SPEC')}\n{wrong.attributes}\n"
    )


@pytest.fixture(scope="session")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The messages of the tests that fail, by plugin; all contracts run in one process of pytest."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "conftest.py").write_text(RECORDER)
    (folder / "failures").touch()
    suites = {f"test_wrong_{name.replace('-', '_')}": name for name in WRONG}
    wanted = {suite: WRONG[name].message for suite, name in suites.items()}
    (folder / "wanted.json").write_text(json.dumps(wanted))
    for name, wrong in WRONG.items():
        module = f"wrong_{name.replace('-', '_')}"
        (folder / f"{module}.py").write_text(wrong.source.replace(MODULE, module))
        (folder / f"test_{module}.py").write_text(suite_of(module, wrong))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    done = subprocess.run([*command, "-k", SLOW], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    found: dict[str, list[str]] = {name: [] for name in WRONG}
    lines = [json.loads(line) for line in (folder / "failures").read_text().splitlines()]
    for suite, message in lines:
        found[suites[suite]].append(message)
    return found


@pytest.mark.once
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_fails_its_contract_with_a_message_that_names_the_mistake(
    failures: dict[str, list[str]], name: str
) -> None:
    wanted: Any = WRONG[name].message
    assert any(wanted in message for message in failures[name]), failures[name] or "every test passed"
