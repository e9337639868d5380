"""`Sandbox`: an XNAT-compatible server on loopback, its data below one directory.

This module makes the parts of a sandbox and gives each what it needs.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from xnatctl_sandbox.archive.archive_jobs import ArchiveJobs
from xnatctl_sandbox.archive.archiver import Archiver
from xnatctl_sandbox.archive.direct_sessions import DirectSessions
from xnatctl_sandbox.archive.idle_jobs import IdleJobs
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.archive.stored_instances import stored_instances
from xnatctl_sandbox.faults import dicom_faults, http_faults
from xnatctl_sandbox.faults.other_users import OtherUsers
from xnatctl_sandbox.faults.rules import Faults
from xnatctl_sandbox.http.accounts import Accounts
from xnatctl_sandbox.http.alias_tokens import AliasTokens
from xnatctl_sandbox.http.application import Application
from xnatctl_sandbox.http.archive_services import ArchiveServices
from xnatctl_sandbox.http.catalogs import Catalogs
from xnatctl_sandbox.http.control import Control
from xnatctl_sandbox.http.creating import Creating
from xnatctl_sandbox.http.direct_archive import DirectArchive
from xnatctl_sandbox.http.event_tracking import EventTracking
from xnatctl_sandbox.http.file_upload import FileUpload
from xnatctl_sandbox.http.files import Files
from xnatctl_sandbox.http.import_service import ImportService
from xnatctl_sandbox.http.items import Items
from xnatctl_sandbox.http.listings import Listings
from xnatctl_sandbox.http.lookup import Lookup
from xnatctl_sandbox.http.prearchive_sessions import PrearchiveSessions
from xnatctl_sandbox.http.resource_parents import ResourceParents
from xnatctl_sandbox.http.resources import Resources
from xnatctl_sandbox.http.rest_routes import Handlers
from xnatctl_sandbox.http.site import Site
from xnatctl_sandbox.http.user_cache import UserCache
from xnatctl_sandbox.http.wsgi_server import WsgiServer
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.background import Background
from xnatctl_sandbox.world.concurrency import Concurrency
from xnatctl_sandbox.world.persistence import Autosave, load, save
from xnatctl_sandbox.world.records import Experiment, Project, ScpInstance, User
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches
from xnatctl_sandbox.world.tracking import Tracking
from xnatctl_sandbox.world.traffic import Association, Traffic

if TYPE_CHECKING:
    from xnatctl_sandbox.dicom.receiver import DicomReceiver


class Sandbox:
    """A server to start and stop, also as a context manager.

    `directory` None is a temporary one, removed at the end; `port` 0 is any free one; `dicom_port` is that of the DICOM
    Receiver, None runs none. A directory that was used before brings its users, projects and sessions back.
    Raises PortUnavailable when a port is taken, ImportError when a receiver is wanted and pynetdicom is missing.
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
        self.concurrency = Concurrency()
        self.faults = Faults(http_faults.ACTIONS, http_faults.NAMES)
        self.dicom_faults = Faults(dicom_faults.ACTIONS, dicom_faults.NAMES)
        self._traffic = Traffic()
        self._background = Background()
        if not load(self.state):
            self.state.furnish()
        if not self.state.scps:
            self.add_scp("XNAT")
        self.importer = DicomImporter(self.state, self.switches, self.concurrency)
        self.archiver = Archiver(self.state, self.switches, self.concurrency)
        self.prearchive = Prearchive(self.state, self.switches, self.concurrency)
        self._direct = DirectSessions(self.state, self.switches, self.concurrency, self.archiver, self._background)
        self.others = OtherUsers(self.state, self.importer, self.prearchive, self.archiver)
        self.autosave = None if self._temporary else Autosave(self.state)
        self._jobs = IdleJobs(self.state, self.importer, self.prearchive, self.archiver, self._direct, self.autosave)
        self.accounts = Accounts(self.state)
        self._application = self._make_application()
        with ExitStack() as undo:  # nothing is left behind when a port is taken
            undo.callback(self._close)
            self._server = WsgiServer(port, self._application)
            undo.callback(self._server.server_close)
            self.url = f"http://127.0.0.1:{self._server.port}{self.context_path}"
            self.state.site["siteUrl"] = self.url
            self._receiver = None if dicom_port is None else self._make_receiver(dicom_port)
            undo.pop_all()
        self.state.dicom_port = self._receiver.port if self._receiver is not None else None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sandbox", daemon=True)

    # parts

    def _make_application(self) -> Application:
        state, switches, background = self.state, self.switches, self._background
        tracking = Tracking()
        jobs = ArchiveJobs(state, self.archiver, background)
        lookup, creating = Lookup(state), Creating(state)
        parents = ResourceParents(state, lookup)
        upload = FileUpload(state, switches, parents)
        cache = UserCache(self.directory / "cache")
        handlers = Handlers(
            alias_tokens=AliasTokens(state, self.accounts),
            archive_services=ArchiveServices(state, self.prearchive, self.archiver, jobs, tracking, background),
            catalogs=Catalogs(state, parents),
            direct_archive=DirectArchive(state, self._direct, self.importer),
            event_tracking=EventTracking(tracking),
            files=Files(state, parents, upload, self.context_path),
            import_service=ImportService(
                state, self.importer, self.prearchive, self.archiver, cache, tracking, background
            ),
            items=Items(state, lookup, creating),
            listings=Listings(state, lookup, creating),
            prearchive=PrearchiveSessions(state, self.prearchive, jobs, tracking),
            resources=Resources(state, parents, upload),
            site=Site(state, self.accounts),
            user_cache=cache,
        )
        control = Control(
            state,
            switches,
            self._traffic,
            self.concurrency,
            self.faults,
            self.dicom_faults,
            self.others,
            self._jobs.tick,
        )
        return Application(
            state,
            self.accounts,
            handlers,
            control,
            self.faults,
            self._traffic.requests,
            self.concurrency,
            self.context_path,
        )

    def _make_receiver(self, port: int) -> DicomReceiver:
        from xnatctl_sandbox.dicom.receiver import DicomReceiver  # needs pynetdicom

        return DicomReceiver(
            port,
            state=self.state,
            switches=self.switches,
            importer=self.importer,
            faults=self.dicom_faults,
            associations=self._traffic.associations,
        )

    def _close(self) -> None:
        """Close the record of what came in, and remove a temporary directory."""
        self.importer.close()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

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
        if self._receiver is not None:
            self._receiver.stop()
        self._jobs.stop()
        self._background.join()
        self._close()
        if not self._temporary:
            save(self.state)

    # records

    def add_user(self, login: str, password: str, *, admin: bool = False) -> User:
        """Add an account."""
        return self.state.add_user(login, password, admin=admin)

    def add_project(self, name: str, *, prearchive_code: int = 4, roles: Mapping[str, str] | None = None) -> Project:
        """Add a project; `roles` maps login to owner, member or collaborator."""
        return self.state.add_project(name, prearchive_code=prearchive_code, roles=roles)

    def add_scp(self, ae_title: str, **settings: Any) -> ScpInstance:
        """Add a DICOM receiver at the same port; `settings` are fields of `ScpInstance`."""
        return self.state.add_scp(ae_title, **settings)

    def remove_experiment(self, experiment: Experiment) -> None:
        """Remove a session from the archive, with its files."""
        self.state.remove_experiment(experiment)

    # for tests and for people

    @property
    def dicom_port(self) -> int | None:
        """Where the DICOM Receiver listens; None when none runs."""
        return self.state.dicom_port

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The HTTP requests since the start, each with method, path, query and status."""
        return self._traffic.requests

    @property
    def associations(self) -> list[Association]:
        """The DICOM associations since the start."""
        return self._traffic.associations

    def is_quiet(self) -> bool:
        """True when nobody is connected: everything that reached this machine has been dealt with."""
        return self._server.is_quiet()

    def tick(self) -> None:
        """Run the idle jobs once, now."""
        self._jobs.tick()

    def advance_clock(self, seconds: float) -> None:
        """Move the sandbox's clock forward."""
        self.state.clock.advance(seconds)

    def instances(self) -> list[dict[str, Any]]:
        """Every DICOM file on disk: its place, its UIDs, its checksums, and whether a catalog knows it."""
        return stored_instances(self.state)
