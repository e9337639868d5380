"""The sandbox over plain HTTP, by the standard library alone: none of our client is trusted here."""

from __future__ import annotations

import base64
import http.client
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl.testing import Exam, write_exam
from xnatctl_sandbox.server import Sandbox


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
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "xnat") as server:
        yield server


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
