"""Receivers to send to: a scripted one of our own on raw sockets, and the programs that others wrote."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ports import await_port, free_port
from programs import system_program
from running import receiving, run_in, services

pytest.importorskip("pynetdicom", reason="the dicom extra is not installed")

from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.store import Store
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.errors import XnatctlError
from xnatctl.model.commands import Commands
from xnatctl.model.events import Event
from xnatctl.model.plan import UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.model.report import Report
from xnatctl.plugin.credentials import Password
from xnatctl.xnat.client import XnatClient
from xnatctl_cstore.transport import CStoreTransport


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    known = f"cstore_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, Path(__file__).with_name(f"{name}.py"))
        assert spec
        assert spec.loader
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


@pytest.fixture(scope="session")
def mixed() -> ModuleType:
    """Makers of DICOM in many transfer syntaxes."""
    return _beside("mixed")


@pytest.fixture
def scripted() -> Iterator[Callable[..., Any]]:
    """Make a receiver that does as it is told; all are closed at the end."""
    module = _beside("receiver")
    made: list[Any] = []

    def make(**script: Any) -> Any:
        made.append(module.ScriptedReceiver(**script))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@dataclass
class Delivery:
    """How a run ended."""

    report: Report
    error: XnatctlError | None
    events: list[Event] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[str, str]:
        return {item.path: str(item.outcome) for item in self.report.items}

    @property
    def reasons(self) -> dict[str, str]:
        return {item.path: item.reason or "" for item in self.report.items}


@pytest.fixture
def options() -> Callable[..., dict[str, Any]]:
    """The options of the transport for a port."""

    def build(port: int, **more: Any) -> dict[str, Any]:
        known = {
            "host": "127.0.0.1",
            "port": port,
            "called_aet": "XNAT",
            "calling_aet": "XNATCTL",
            "answer_timeout": 30.0,
            "tls": False,
            "ca_cert": None,
            "client_cert": None,
            "client_key": None,
        }
        return {**known, **more}

    return build


@pytest.fixture
def deliver(options: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Delivery]:
    """Send a path in this process, with a journal, and with retries that wait for next to nothing."""

    def run(
        path: Path,
        port: int,
        *,
        workers: int = 2,
        base: float = 0.01,
        patience: float = 120.0,
        follow: tuple[str, str, str] | None = None,
        label: str = "",
        **more: Any,
    ) -> Delivery:
        request = UploadRequest(
            command="session upload-dicom",
            path=str(path),
            destination=Destination(
                server=f"dicom://127.0.0.1:{port}/{more.get('called_aet', 'XNAT')}", project="", subject="", session=""
            ),
            transport="cstore",
            workers=workers,
            settles=False,
            follow=Destination(server=follow[0], project=follow[1], subject="", session=label) if follow else None,
            options=options(port, **more),
        )
        plan = plan_session_upload(request)
        events: list[Event] = []
        with ExitStack() as stack:
            journal = stack.enter_context(closing(Journal(Store(tmp_path / f"journal-{port}.sqlite"))))
            client = None
            if follow is not None:
                client = stack.enter_context(XnatClient(follow[0]))
                who = Password(username=follow[2], secret=follow[2])
                client.login(lambda: who)
            made = services(
                {"cstore": receiving(CStoreTransport)},
                tmp_path,
                tell=events.append,
                commands=Commands(arguments=["session", "upload-dicom", "again"]),
                policy=RetryPolicy(base=base, patience=patience, random=random.Random(1)),
            )
            report, error = run_in(plan, made, client=client, journal=journal)
            return Delivery(report, error, events)

    return run


@pytest.fixture
def dicom_env() -> Callable[..., dict[str, str]]:
    """The variables that name a receiver."""

    def build(port: int, called: str = "XNAT") -> dict[str, str]:
        return {"XNAT_DICOM_HOST": "127.0.0.1", "XNAT_DICOM_PORT": str(port), "XNAT_DICOM_CALLED_AET": called}

    return build


# programs that others wrote


def _program(name: str) -> str:
    path = system_program(name)
    if path is None:
        message = f"{name} is not installed: apt-get install dcmtk orthanc"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    ending = list(processes)
    for process in ending:
        process.terminate()
    for process in ending:
        process.wait(timeout=60)


@dataclass
class StoreScp:
    """DCMTK's receiver; it keeps the data sets byte for byte."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path

    def data_sets(self, mixed: ModuleType) -> dict[str, str]:
        """SHA-256 of the data set by SOP Instance UID; a second copy would be an error."""
        found = {}
        for path in self.directory.iterdir():
            uid, digest = mixed.stored(path.read_bytes())
            assert uid not in found
            found[uid] = digest
        return found


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., StoreScp]]:
    """Start DCMTK's receiver; `more` are further arguments of its command line."""
    started: list[StoreScp] = []

    def start(*more: str, fork: bool = True) -> StoreScp:
        program, port = _program("storescp"), free_port()
        directory = tmp_path / f"storescp-{port}"
        directory.mkdir()
        arguments = [*(["--fork"] if fork else []), "+xa", "-pm", "+B", "-od", str(directory), "-aet", "XNAT", *more]
        process = subprocess.Popen(
            [program, *arguments, str(port)],
            env={**os.environ, "TCP_NODELAY": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(StoreScp(process, port, directory))
        await_port(process, port)
        return started[-1]

    yield start
    _end(receiver.process for receiver in started)


@dataclass
class Orthanc:
    """A small PACS; it parses what it gets, so that its copies are compared element by element."""

    process: subprocess.Popen[bytes]
    port: int
    http: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=60) as reply:
            return bytes(reply.read())

    def instances(self) -> dict[str, bytes]:
        """The files by SOP Instance UID."""
        rows = json.loads(self.get("/instances?expand"))
        return {row["MainDicomTags"]["SOPInstanceUID"]: self.get(f"/instances/{row['ID']}/file") for row in rows}


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Start Orthanc; `more` are further lines of its configuration."""
    started: list[Orthanc] = []

    def start(**more: Any) -> Orthanc:
        program, port, http = _program("Orthanc"), free_port(), free_port()
        directory = tmp_path / f"orthanc-{port}"
        directory.mkdir()
        configuration: Mapping[str, Any] = {
            "StorageDirectory": str(directory),
            "IndexDirectory": str(directory),
            "DicomAet": "XNAT",
            "DicomCheckCalledAet": True,
            "DicomPort": port,
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AcceptedTransferSyntaxes": ["1.2.840.10008.1.*"],
            "UnknownSopClassAccepted": True,
            "Plugins": [],
            "StoreMD5ForAttachments": False,
            **more,
        }
        (directory / "configuration.json").write_text(json.dumps(configuration))
        process = subprocess.Popen(
            [program, str(directory / "configuration.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(Orthanc(process, port, http))
        await_port(process, http)
        await_port(process, port)
        return started[-1]

    yield start
    _end(receiver.process for receiver in started)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PEM files: an authority, a certificate of 127.0.0.1 by it, and one of a client."""
    directory = tmp_path_factory.mktemp("certificates")
    program = _program("openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run([program, *arguments], cwd=directory, check=True, capture_output=True, timeout=60)

    request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    # Python 3.13 and later ask for what RFC 5280 does: an authority that says what its key is for.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(*request, *usage, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA")
    for name in ("server", "client"):
        (directory / f"{name}.cnf").write_text(
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n"
        )
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", f"{name}.cnf", "-out", f"{name}.pem",
        )  # fmt: skip
    return {path.name: str(path) for path in directory.iterdir()}


@pytest.fixture
def digest() -> Callable[[bytes], str]:
    return lambda data: hashlib.sha256(data).hexdigest()
