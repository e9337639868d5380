"""A real XNAT for the live suite: what the variables name, and removing what the suite made there, and nothing else.

Everything that the suite makes has a label that begins with the prefix of its run, which is random. To remove what a
run left behind: `python tests/support/live_server.py PREFIX`, with the variables of the run.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from xnatctl.errors import NotFound, XnatctlError
from xnatctl.plugin.credentials import Password
from xnatctl.xnat import direct_archive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.urls import url_path
from xnatctl.xnat.listing import sessions, subjects
from xnatctl.xnat.prearchive import PrearchiveRow, delete, list_rows
from xnatctl.xnat.site import project_access, version

REQUIRED = ("XNATCTL_LIVE_URL", "XNATCTL_LIVE_USER", "XNATCTL_LIVE_PASS", "XNATCTL_LIVE_PROJECT")
#: Prefixes of runs; anything else is never removed.
PREFIX = re.compile(r"xnatctl-live-[0-9a-f]{12}\Z")
#: Seconds that a session may be in work until it can be removed.
_BUSY = 300.0
#: States of a prearchive row in which the server works on it.
_WORKING = ("BUILDING", "ARCHIVING", "MOVING", "DELETING", "QUEUED", "_")


class Misused(Exception):
    """The variables do not name a server that the suite can use."""


@dataclass
class LiveServer:
    """The server and the project of a run, and the prefix of its labels. `left` is what could not be removed."""

    url: str
    user: str
    password: str = field(repr=False)
    project: str
    ca_cert: str = ""
    receiver: tuple[str, str, str] | None = None  # host, port and called AE title
    prefix: str = field(default_factory=lambda: f"xnatctl-live-{secrets.token_hex(6)}")
    version: tuple[int, ...] = ()
    shown_version: str = ""
    studies: list[tuple[str, str]] = field(default_factory=list)  # StudyInstanceUID and label of each exam
    left: list[str] = field(default_factory=list)
    cleaned: bool = False

    @classmethod
    def from_variables(cls) -> LiveServer:
        """Raises Misused for missing or wrong variables."""
        missing = [name for name in REQUIRED if not os.environ.get(name)]
        if missing:
            raise Misused(f"Set {', '.join(missing)} as well.")
        url, user, password, project = (os.environ[name] for name in REQUIRED)
        receiver = None
        if place := os.environ.get("XNATCTL_LIVE_DICOM"):
            host, _, rest = place.rpartition(":")[0].rpartition(":")
            receiver = (host, rest, place.rpartition(":")[2])
            if not all(receiver) or not rest.isdigit():
                raise Misused("XNATCTL_LIVE_DICOM must be HOST:PORT:AET.")
        ca_cert = os.environ.get("XNATCTL_LIVE_CA_CERT", "")
        return cls(
            url=url.rstrip("/"), user=user, password=password, project=project, ca_cert=ca_cert, receiver=receiver
        )

    @contextmanager
    def connected(self) -> Iterator[XnatClient]:
        """A client that is logged in."""
        with XnatClient(self.url, timeout=600, verify=self.ca_cert or True) as client:
            client.login(lambda: Password(username=self.user, secret=self.password, source="XNATCTL_LIVE_PASS"))
            yield client

    def check(self) -> None:
        """Raises Misused for a server or project that cannot be used, before anything is made."""
        try:
            with self.connected() as client:
                found = version(client)
                access = project_access(client, self.project)
        except XnatctlError as error:
            raise Misused(f"{error.message} {error.hint or ''}") from error
        if not access.writable:
            raise Misused(f"{self.user} may not write to project {self.project}.")
        self.version, self.shown_version = found.tuple, found.text

    def clean(self) -> None:
        """Remove all that begins with the prefix; what cannot be removed is listed in `left`. Raises nothing expected."""
        assert PREFIX.match(self.prefix), "only what the suite made"
        self.left.clear()
        try:
            with self.connected() as client:
                for study, label in self.studies:
                    self._attempt(f"direct archive {label}", lambda a=study, b=label: self._finish(client, a, b))  # type: ignore[misc]
                for row in self._rows(client):
                    self._attempt(f"prearchive {row.ref}", lambda row=row: delete(client, row.ref))  # type: ignore[misc]
                for session in sessions(client, self.project):
                    if self._is_ours(session.label):
                        path = url_path("/data/experiments", session.id)
                        self._remove(client, f"session {session.label} ({session.id})", path)
                for subject in subjects(client, self.project):
                    if not self._is_ours(subject.label):
                        continue
                    if any(session.subject_id == subject.id for session in sessions(client, self.project)):
                        self.left.append(f"subject {subject.label}: it still has sessions")
                        continue
                    path = url_path("/data/projects", self.project, "subjects", subject.label)
                    self._remove(client, f"subject {subject.label}", path)
        except XnatctlError as error:
            self.left.append(f"everything else that begins with {self.prefix}: {error.message}")
        self.cleaned = True

    def _finish(self, client: XnatClient, study: str, label: str) -> None:
        """Have an interrupted direct archive archived now: it would become a session minutes later otherwise."""
        deadline = time.monotonic() + _BUSY
        while self.version >= (1, 8, 4) and direct_archive.get(client, self.project, study, label) is not None:
            if time.monotonic() > deadline:
                raise XnatctlError("The server still receives it. Remove the session when it is archived.")
            with suppress(XnatctlError):  # it is busy with it
                direct_archive.trigger(client, self.project, study, label)
            time.sleep(1)

    def _rows(self, client: XnatClient) -> list[PrearchiveRow]:
        """The prearchive rows of this run in all projects, as soon as the server has finished with them."""
        deadline = time.monotonic() + _BUSY
        while True:
            found = list_rows(client, None)
            ours = [row for row in found if any(map(self._is_ours, (row.name, row.folder, row.subject)))]
            busy = [row for row in ours if row.status.startswith(_WORKING)]
            if not busy or time.monotonic() > deadline:
                return ours
            time.sleep(2)

    def _is_ours(self, label: str) -> bool:
        return label.startswith(self.prefix)

    def _remove(self, client: XnatClient, what: str, path: str) -> None:
        self._attempt(what, lambda: client.request("DELETE", path, params={"removeFiles": "true"}))

    def _attempt(self, what: str, remove: Callable[[], object]) -> None:
        try:
            remove()
        except NotFound:
            return
        except XnatctlError as error:
            self.left.append(f"{what}: {error.message}")


def main() -> int:
    """Remove what the run of a prefix left behind."""
    if len(sys.argv) != 2 or not PREFIX.match(sys.argv[1]):
        print("Usage: python tests/support/live_server.py xnatctl-live-...", file=sys.stderr)
        return 2
    try:
        server = LiveServer.from_variables()
        server.prefix = sys.argv[1]
        server.check()
    except Misused as error:
        print(error, file=sys.stderr)
        return 2
    server.clean()
    for line in server.left:
        print(f"Not removed: {line}")
    return 1 if server.left else 0


if __name__ == "__main__":
    sys.exit(main())
