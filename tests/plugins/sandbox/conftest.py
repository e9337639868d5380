"""The sandbox over plain HTTP, by the standard library alone: none of our client is trusted here."""

from __future__ import annotations

import base64
import http.client
import io
import json
import queue
import socket
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl.testing import Exam, write_exam
from xnatctl_sandbox.server import Sandbox

MR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def rows(self) -> list[dict[str, str]]:
        return self.json["ResultSet"]["Result"]


@pytest.fixture
def sandbox(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "xnat", dicom_port=0 if "receiving" in request.fixturenames else None) as server:
        yield server


@pytest.fixture
def receiving(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose DICOM Receiver runs."""
    pytest.importorskip("pynetdicom", reason="the sandbox extra is not installed")
    return sandbox


@pytest.fixture
def http_call(sandbox: Sandbox) -> Callable[..., Answer]:
    """One request; `user` adds Basic, `cookie` a session, `query` is encoded, `chunked` sends without a length."""

    def call(
        method: str,
        path: str,
        *,
        user: str | None = "alice",
        password: str | None = None,
        query: Any = None,
        body: Any = None,
        kind: str | None = None,
        headers: dict[str, str] | None = None,
        chunked: bool = False,
    ) -> Answer:
        target = urlsplit(sandbox.url)
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
        sent = {"User-Agent": "test/1", **(headers or {})}
        if user is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password or user}".encode()).decode()
        if kind:
            sent["Content-Type"] = kind
        address = f"{path}?{urlencode(query, doseq=True)}" if query else path
        try:
            connection.request(method, address, body, sent, encode_chunked=chunked)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    return call


@pytest.fixture
def exam(tmp_path: Path) -> Exam:
    return write_exam(tmp_path / "exam", series=2, instances=4, seed=5, clutter=False)


@pytest.fixture
def bundle() -> Callable[..., bytes]:
    """Instances as tar, tgz or zip; `extra` adds other members."""

    def pack(records: Any, kind: str = "zip", extra: dict[str, bytes] | None = None, names: Any = None) -> bytes:
        out = io.BytesIO()
        members = {(names or (lambda r: f"{r.sop_instance_uid}.dcm"))(r): r.path.read_bytes() for r in records}
        members |= extra or {}
        if kind == "zip":
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in members.items():
                    archive.writestr(name, data)
        else:
            with tarfile.open(fileobj=out, mode="w:gz" if kind == "tgz" else "w") as archive:
                for name, data in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    return pack


TYPES = {"zip": "application/zip", "tar": "application/x-tar", "tgz": "application/x-gtar"}


@pytest.fixture
def import_(http_call: Callable[..., Answer], bundle: Callable[..., bytes]) -> Callable[..., Answer]:
    """POST to the import service."""

    def send(
        records: Any, kind: str = "zip", extra: Any = None, names: Any = None, user: str = "alice", **query: str
    ) -> Answer:
        parameters = {
            "import-handler": "DICOM-zip", "inbody": "true", "PROJECT_ID": "DEMO", "SUBJECT_ID": "s", "EXPT_LABEL": "e",
            "rename": "true", "prevent_auto_commit": "true", **{key.replace("__", "-"): value for key, value in query.items()},
        }  # fmt: skip
        data = bundle(records, kind, extra, names)
        return http_call("POST", "/data/services/import", user=user, query=parameters, body=data, kind=TYPES[kind])

    return send


def data_set(path: Path) -> bytes:
    """The bytes of a file after its file meta information, found by pydicom."""
    import pydicom

    with path.open("rb") as stream:
        stream.seek(132)
        pydicom.filereader._read_file_meta_info(stream)
        return stream.read()


@dataclass
class Scu:
    """Sends data sets whose bytes are given, not re-encoded; pynetdicom negotiates and packs."""

    sandbox: Sandbox

    @contextmanager
    def associate(
        self,
        contexts: Any = ((MR, [EXPLICIT]),),
        *,
        calling: str = "TESTSCU",
        called: str = "XNAT",
        timeout: float = 30,
        extended: Any = None,
    ) -> Iterator[Any]:
        """An association (perhaps not established), aborted at the end when it still lives.

        `answers` are the rejections that came: pynetdicom's `is_rejected` is False now and then, where it sees the end
        of the connection before what was received.
        """
        from pynetdicom import AE, build_context, evt
        from pynetdicom.pdu import A_ASSOCIATE_RJ

        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout
        answers: list[Any] = []
        sockets: list[socket.socket] = []
        responses: queue.Queue[Any] = queue.Queue()

        def rejections(pdu: Any) -> None:
            if isinstance(pdu, A_ASSOCIATE_RJ):
                answers.append(pdu.to_primitive())

        assoc = ae.associate(
            "127.0.0.1", self.sandbox.dicom_port, contexts=[build_context(*context) for context in contexts],
            ae_title=called, ext_neg=extended,
            evt_handlers=[
                (evt.EVT_PDU_RECV, lambda event: rejections(event.pdu)),
                (evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket)),
                # Taken where they arrive: pynetdicom's own two readers can steal each other's answers.
                (evt.EVT_DIMSE_RECV, lambda event: responses.put(event.message.command_set)),
                (evt.EVT_CONN_CLOSE, lambda event: responses.put(None)),
            ],
        )  # fmt: skip
        assoc.answers, assoc.responses, assoc.message = answers, responses, 0
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.abort()
            for connection in sockets:
                connection.close()  # pynetdicom leaves it open when it was reset

    def request(self, assoc: Any, sop_class: str, sop_instance: str, data: bytes, syntax: str = EXPLICIT) -> None:
        """Send bytes as they are, without waiting for the answer."""
        from pynetdicom.dimse_primitives import C_STORE

        (context,) = [
            cx for cx in assoc.accepted_contexts if (cx.abstract_syntax, cx.transfer_syntax[0]) == (sop_class, syntax)
        ]
        assoc.message += 1
        request = C_STORE()
        request.MessageID = assoc.message
        request.AffectedSOPClassUID = sop_class
        request.AffectedSOPInstanceUID = sop_instance
        request.Priority = 2
        request.DataSet = io.BytesIO(data)
        assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assoc.dimse.send_msg(request, context.context_id)

    def store(self, assoc: Any, sop_class: str, sop_instance: str, data: bytes, syntax: str = EXPLICIT) -> Any:
        """Send bytes as they are; returns the response's command set, None when none came."""
        self.request(assoc, sop_class, sop_instance, data, syntax)
        try:
            response = assoc.responses.get(timeout=assoc.dimse_timeout)
        except queue.Empty:
            return None
        assert response is None or response.MessageIDBeingRespondedTo == assoc.message
        return response

    def store_record(self, assoc: Any, record: Any) -> Any:
        """Send an instance of a written exam."""
        return self.store(assoc, MR, record.sop_instance_uid, data_set(record.path))

    @staticmethod
    def header(**fields: Any) -> bytes:
        """A small data set in explicit little endian."""
        import pydicom

        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = MR, fields.pop("uid", "1.2.3.4.5")
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
        ds.SeriesNumber, ds.InstanceNumber, ds.Modality = 1, 1, "MR"
        for keyword, value in fields.items():
            setattr(ds, keyword, value)
        out = io.BytesIO()
        ds.save_as(out, implicit_vr=False, little_endian=True, enforce_file_format=False)
        return out.getvalue()

    def send(self, uid: str = "1.2.3.4.5", called: str = "XNAT", **fields: Any) -> Any:
        """One small object in an association of its own."""
        with self.associate(called=called) as assoc:
            response = self.store(assoc, MR, uid, self.header(uid=uid, **fields))
            assoc.release()
            return response


@pytest.fixture
def scu(receiving: Sandbox) -> Scu:
    return Scu(receiving)


@pytest.fixture
def sent_data() -> Callable[[Path], bytes]:
    """The data set of a file, as it must arrive."""
    return data_set


@pytest.fixture
def until() -> Callable[..., bool]:
    """Wait for a condition, generously."""

    def wait(condition: Callable[[], Any], seconds: float = 30.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return bool(condition())

    return wait


# one resource of a session


@pytest.fixture
def session(import_, exam):
    import_(list(exam.instances.values()), dest="/archive")
    return "XNAT_E00001"


@pytest.fixture
def base(session):
    return f"/data/experiments/{session}/resources/R"


@pytest.fixture
def put(http_call):
    def send(path, data=b"data", *, user="alice", kind="application/octet-stream", method="PUT", **query):
        return http_call(method, path, user=user, body=data, kind=kind, query={"inbody": "true", **query})

    return send


@pytest.fixture
def held(http_call, base):
    """Path below /files/ -> row."""

    def rows(path=base, **query):
        answer = http_call("GET", f"{path}/files", query={"format": "json", **query})
        return {row["URI"].partition("/files/")[2]: row for row in answer.rows} if answer.status == 200 else {}

    return rows


@pytest.fixture
def on_disk(sandbox, session):
    """Path below the resource's folder -> content, from the server's disk."""

    def look(label="R"):
        folder = sandbox.state.experiments[session].directory / "RESOURCES" / label
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return look
