"""End-to-end tests against a real XNAT, which the variables XNATCTL_LIVE_URL, _USER, _PASS and _PROJECT name.

`docs/how-to/test-against-your-xnat.md` says how to run them. They are skipped without the variables.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from live_server import LiveServer, Misused

from xnatctl.testing.exam import Exam, write_exam

#: Where the list of what could not be removed is written.
LEFT = Path(os.environ.get("XNATCTL_LIVE_LEFT", "live-left.txt"))
_servers: list[LiveServer] = []


def _is_wanted() -> bool:
    return bool(os.environ.get("XNATCTL_LIVE_URL"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything without a server; a slow server may take its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600))
            if not _is_wanted():
                item.add_marker(pytest.mark.skip(reason="XNATCTL_LIVE_URL names no server"))


@pytest.fixture(scope="session")
def live() -> Iterator[LiveServer]:
    """The server; removes at the end what the run made, also after a failure and after Ctrl-C."""
    try:
        server = LiveServer.from_variables()
        server.check()
    except Misused as error:
        pytest.exit(f"The live suite cannot run: {error}", returncode=4)
    _servers.append(server)
    LEFT.write_text(f"Run {server.prefix} on {server.url} has not ended, or was killed before it could clean up.\n")
    try:
        yield server
    finally:
        server.clean()
        if server.left:
            LEFT.write_text("".join(f"{line}\n" for line in server.left))
        else:
            LEFT.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the server, what its version left out, and what could not be removed."""
    for server in _servers:
        say = terminalreporter.write_line
        terminalreporter.section("live suite")
        say(f"XNAT {server.shown_version} at {server.url}, project {server.project}, labels {server.prefix}-...")
        skipped = {report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())}
        for reason in sorted(skipped):
            say(f"Not tested: {reason}")
        if not server.cleaned:
            say(f"Not cleaned up. Remove what is left: python tests/support/live_server.py {server.prefix}")
        elif server.left:
            say(f"Could not be removed, and listed in {LEFT}:")
            for line in server.left:
                say(f"  {line}")
        else:
            say("Everything that the run made was removed.")


class Uploader:
    """Runs xnatctl against the server, with labels of one test."""

    def __init__(self, server: LiveServer, xnatctl: Callable[..., Any], label: str) -> None:
        self.server = server
        self.label = label
        self._xnatctl = xnatctl
        self.variables = {"XNAT_PASS": server.password}

    @property
    def names(self) -> tuple[str, ...]:
        """The destination of the test."""
        return ("-P", self.server.project, "-S", f"{self.server.prefix}-subject", "-E", self.label)

    def run(self, *words: str | Path, code: int = 0, document: bool = True) -> Any:
        """Run a command; returns its JSON document."""
        done = self._xnatctl(*words, *(("-o", "json") if document else ()), env=self.variables)
        assert done.code == code, f"exit {done.code} instead of {code}\n{done.err}\n{done.out[-3000:]}"
        return done.document if document else done.out

    def upload(self, path: Path, *more: str, code: int = 0) -> Any:
        """`session upload` to the destination of the test."""
        return self.run("session", "upload", path, *self.names, *more, code=code)

    def verify(self, path: Path, *more: str, code: int = 0) -> Any:
        """`session verify` of it."""
        return self.run("session", "verify", path, *self.names, *more, code=code)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the prearchive with the label of the test."""
        listed = self.run("prearchive", "list", "-P", self.server.project)["sessions"]
        return [row for row in listed if self.label in (row["name"], row["folder"])]


_numbers = itertools.count(1)


@pytest.fixture
def site(live: LiveServer, xnatctl: Callable[..., Any], environment: dict[str, str]) -> Uploader:
    """Commands against the server, by a profile, with a label of their own."""
    profile = {"url": live.url, "username": live.user}
    if live.ca_cert:
        profile["ca_cert"] = os.path.abspath(live.ca_cert)
    file = Path(environment["XDG_CONFIG_HOME"]) / "xnatctl" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({"profiles": {"live": profile}}))
    return Uploader(live, xnatctl, f"{live.prefix}-{next(_numbers)}")


@pytest.fixture
def make_exam(site: Uploader, tmp_path: Path) -> Callable[..., Exam]:
    """Write an exam of a study that no server has seen."""

    def make(name: str = "exam", **settings: Any) -> Exam:
        chosen = {"series": 2, "instances": 8, "seed": secrets.randbits(60), "clutter": False, **settings}
        exam = write_exam(tmp_path / name, **chosen)
        site.server.studies.append((exam.study_instance_uid, site.label))
        return exam

    return make


@pytest.fixture
def since(live: LiveServer) -> Callable[..., None]:
    """Skip a test of what the server's version cannot do; the reason is repeated at the end."""

    def require(*wanted: int, what: str) -> None:
        if live.version < wanted:
            pytest.skip(f"{what} needs XNAT {'.'.join(map(str, wanted))}; this is {live.shown_version}")

    return require
