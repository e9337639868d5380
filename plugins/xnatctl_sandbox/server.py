"""`Sandbox`: an XNAT-compatible server on loopback, its data below one directory."""

from __future__ import annotations

import errno
import hashlib
import select
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from xnatctl_sandbox.archive.archiver import Archiver
from xnatctl_sandbox.archive.direct_sessions import Direct
from xnatctl_sandbox.archive.prearchive import Jobs, Prearchive
from xnatctl_sandbox.faults import dicom_faults
from xnatctl_sandbox.faults import rules as faults
from xnatctl_sandbox.faults.other_users import Others
from xnatctl_sandbox.http.application import Application
from xnatctl_sandbox.receive import part10
from xnatctl_sandbox.receive.archive_reader import dataset_offset
from xnatctl_sandbox.receive.importer import Receiver
from xnatctl_sandbox.world.persistence import load, save
from xnatctl_sandbox.world.state import DirectRow, Experiment, PrearchiveRow, Project, ScpInstance, State, User
from xnatctl_sandbox.world.switches import Switches
from xnatctl_sandbox.world.tracking import Tracking

if TYPE_CHECKING:
    from xnatctl_sandbox.dicom.receiver import Association, DicomScp


_SOP_INSTANCE, _SERIES_INSTANCE = 0x00080018, 0x0020000E


class _Quiet(WSGIRequestHandler):
    """HTTP/1.1 with kept connections; the log is the sandbox's own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""

    def run_wsgi(self) -> None:
        try:
            urlsplit(self.path)
        except ValueError:
            self.send_error(400)
            return
        super().run_wsgi()

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """The other side hung up, or a fault cut the connection."""
        self.close_connection = True


class PortUnavailable(OSError):
    """A port that another program uses, or that this user may not use; `dicom` tells the DICOM Receiver's."""

    def __init__(self, port: int, error: OSError, *, dicom: bool) -> None:
        reason = (
            "is used by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        )
        super().__init__(f"Port {port} {reason}.")
        self.dicom = dicom


class _Server(ThreadedWSGIServer):
    """Counts its connections, from before they are accepted until after they are closed."""

    daemon_threads = True

    def __init__(self, port: int, application: Application) -> None:
        self._lock = threading.Lock()
        self.connections = 0
        # werkzeug prints what is wrong with a port, and exits. It duplicates the socket that it is given.
        try:
            listening = socket.create_server(("127.0.0.1", port), backlog=self.request_queue_size)
        except OSError as error:
            raise PortUnavailable(port, error, dicom=False) from error
        with listening:
            super().__init__("127.0.0.1", port, application, _Quiet, fd=listening.fileno())

    def _count(self, change: int) -> None:
        with self._lock:
            self.connections += change

    def get_request(self) -> tuple[Any, Any]:
        self._count(1)
        try:
            return super().get_request()
        except BaseException:
            self._count(-1)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        try:
            super().shutdown_request(request)
        finally:
            self._count(-1)


class Sandbox:
    """A server to start and stop, also as a context manager.

    `directory` None = a temporary one, removed at the end; `port` 0 = any free one; `dicom_port` the same for the DICOM
    Receiver, None = none is run. With a directory that was used before, its users, projects and sessions come back.
    Raises OSError when a port is taken, ImportError when a receiver is wanted and pynetdicom is missing.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        port: int = 0,
        dicom_port: int | None = None,
        version: str = "1.8.11",
        context_path: str = "",
    ) -> None:
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="xnatctl-sandbox-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.context_path = context_path.rstrip("/")
        self.state = State(self.directory, version=version)
        self.switches = Switches()
        self.faults = faults.Faults(faults.ACTIONS, faults.NAMES)
        self.dicom_faults = faults.Faults(dicom_faults.ACTIONS, dicom_faults.NAMES)
        self.requests: list[dict[str, Any]] = []
        self.associations: list[Association] = []
        self.tracking = Tracking()
        self._threads: list[threading.Thread] = []
        self.dirty = False
        self._keep_at = 0.0
        if not load(self.state):
            self._furnish()
        if not self.state.scps:
            self.add_scp("XNAT")
        self.receiver = Receiver(self.state, self.switches)
        self.archiver = Archiver(self)
        self.prearchive = Prearchive(self)
        self.direct = Direct(self)
        self.others = Others(self)
        self._application = Application(self)
        self._jobs = Jobs(self)
        with ExitStack() as undo:  # nothing is left behind when a port is taken
            undo.callback(self._forget)
            self._server = _Server(port, self._application)
            undo.callback(self._server.server_close)
            self.url = f"http://127.0.0.1:{self._server.port}{self.context_path}"
            self.state.site["siteUrl"] = self.url
            self._scp = None if dicom_port is None else self._listen(dicom_port)
            undo.pop_all()
        #: Where the DICOM Receiver listens; None when none is run.
        self.dicom_port: int | None = self._scp.port if self._scp is not None else None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sandbox", daemon=True)

    def _forget(self) -> None:
        """Close the record, and remove a temporary directory."""
        self.receiver.close()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _listen(self, port: int) -> DicomScp:
        from xnatctl_sandbox.dicom.receiver import DicomScp

        try:
            return DicomScp(self, port)
        except OSError as error:
            raise PortUnavailable(port, error, dicom=True) from error

    def _furnish(self) -> None:
        """The users and projects that a new sandbox has."""
        self.add_user("admin", "admin", admin=True)
        self.add_user("alice", "alice")
        self.add_user("bob", "bob")
        self.add_project("DEMO", roles={"alice": "owner", "bob": "collaborator"})
        self.add_project("MANUAL", prearchive_code=0, roles={"alice": "owner"})
        self.add_project("PRIVATE", roles={})

    # running

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()
        self._jobs.start()

    def stop(self) -> None:
        """Stop serving, finish what was queued, write the state."""
        self._server.shutdown()
        self._thread.join()
        self.faults.end()
        self._application.end()
        self._server.server_close()
        if self._scp is not None:
            self._scp.stop()
        self._jobs.stop()
        self.direct.join()
        for thread in self._threads:
            thread.join()
        self._forget()
        if not self._temporary:
            save(self.state)

    def keep(self) -> None:
        """Write the state when it has changed; the more there is, the more seldom."""
        if self.dirty and not self._temporary and time.monotonic() >= self._keep_at:
            self.dirty = False
            begun = time.monotonic()
            save(self.state)
            self._keep_at = begun + 20 * (time.monotonic() - begun)

    def background(self, work: Callable[[], object]) -> None:
        """Do something after the answer; stopping waits for it."""
        thread = threading.Thread(target=work, name="sandbox-work", daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    # furniture

    def add_user(self, login: str, password: str, *, admin: bool = False) -> User:
        """A new account."""
        user = User(login=login, password=password, admin=admin)
        self.state.users[login] = user
        return user

    def add_project(self, name: str, *, prearchive_code: int = 4, roles: Mapping[str, str] | None = None) -> Project:
        """A new project; `roles` maps login to owner, member or collaborator."""
        project = Project(
            id=name,
            name=name,
            prearchive_code=prearchive_code,
            roles=dict(roles or {}),
            inserted=self.state.clock.now(),
        )
        self.state.projects[name] = project
        return project

    def add_scp(self, ae_title: str, **settings: Any) -> ScpInstance:
        """Another DICOM Receiver at the same port; `settings` are fields of `ScpInstance`."""
        with self.state.lock:
            number = self.state.next_number("scp")
            scp = ScpInstance(id=number, ae_title=ae_title, created=self.state.clock.now(), **settings)
            self.state.scps.append(scp)
        return scp

    def remove_experiment(self, experiment: Experiment) -> None:
        """Take a session out of the archive, with its files."""
        with self.state.lock:
            self.state.experiments.pop(experiment.id, None)
            shutil.rmtree(experiment.directory, ignore_errors=True)
            self.dirty = True

    # for tests and for people

    def is_quiet(self) -> bool:
        """True when nobody is connected: everything that reached this machine has been dealt with."""
        knocking, _, _ = select.select([self._server.socket], [], [], 0)
        return not knocking and not self._server.connections

    def tick(self) -> None:
        """Run the idle jobs once, now."""
        self.prearchive.tick()

    def advance_clock(self, seconds: float) -> None:
        """Move the sandbox's clock forward."""
        self.state.clock.advance(seconds)

    def instances(self) -> list[dict[str, Any]]:
        """Every DICOM file on disk, wherever it lies, and whether a catalog knows it."""
        with self.state.lock:
            found = [entry for row in self.state.prearchive for entry in self._row_instances(row, "prearchive")]
            arriving = set()  # a direct archive may share the folder of a session that was archived meanwhile
            for direct in self.state.direct:
                arriving |= {direct.directory / path for path in direct.files}
                found += self._row_instances(direct, "direct", set(map(direct.directory.joinpath, direct.files)))
            for experiment in self.state.experiments.values():
                found += self._archived(experiment, arriving)
        return found

    @staticmethod
    def _row_instances(
        row: PrearchiveRow | DirectRow, place: str, among: set[Path] | None = None
    ) -> list[dict[str, Any]]:
        built = row.built if isinstance(row, PrearchiveRow) else None
        entries = []
        for path in sorted(row.directory.glob("SCANS/*/DICOM/*.*")):
            if among is not None and path not in among:
                continue
            relative = path.relative_to(row.directory).as_posix()
            entries.append(
                _instance(path, place, row.project, row.name, path.parts[-3], catalogued=relative in (built or {}))
            )
        return entries

    @staticmethod
    def _archived(experiment: Experiment, arriving: Collection[Path]) -> list[dict[str, Any]]:
        entries = []
        for path in sorted(experiment.directory.glob("SCANS/*/DICOM/*.*")):
            if path in arriving:
                continue
            scan = experiment.scans.get(path.parts[-3])
            known = {name for resource in scan.resources for name in resource.entries} if scan is not None else set()
            entries.append(
                _instance(
                    path, "archive", experiment.project, experiment.label, path.parts[-3], catalogued=path.name in known
                )
            )
        return entries


def _instance(
    path: Path, place: str, project: str | None, label: str, scan: str, *, catalogued: bool
) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        ds = part10.read(data, _SERIES_INSTANCE + 1).data_set
    except part10.Unreadable:  # somebody has damaged it
        ds = {}
    return {
        "place": place,
        "project": project,
        "session": label,
        "scan": scan,
        "sop_instance_uid": part10.text_of(ds.get(_SOP_INSTANCE)),
        "series_instance_uid": part10.text_of(ds.get(_SERIES_INSTANCE)),
        "sha256": hashlib.sha256(data).hexdigest(),
        "dataset_sha256": hashlib.sha256(data[dataset_offset(data) :]).hexdigest(),
        "path": str(path),
        "catalogued": catalogued,
    }
