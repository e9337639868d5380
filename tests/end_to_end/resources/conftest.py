"""Sessions to attach to, and two independent looks at what is there: the server's disk, and its listing."""

from __future__ import annotations

import base64
import gzip
import json
import os
import urllib.request
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from running import run_in, services

from xnatctl.api import (
    Destination,
    Password,
    ResourceLevel,
    ResourceRef,
    UploadPlan,
    UploadRequest,
)
from xnatctl.api.commands import plan_resource_stage, plan_session_upload, scan_files
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.store import Store
from xnatctl.model.plan import Overwrite, Placement
from xnatctl.testing import write_exam
from xnatctl.xnat.client import XnatClient
from xnatctl_resource.transport import ResourceTransport
from xnatctl_sandbox.server import Sandbox
from xnatctl_zip.transport import TarTransport

#: Names that a file may have on a disk and that each need care on the way (xnat-api 0.11, 4.5).
_ODD = (
    "a b.txt", "100%.txt", "50%20off.txt", "a#b.txt", "a[1].txt", "fü日.txt", "x+y.txt", "semi;colon.txt", "what?.txt",
    "back\\slash.txt", "quo'te\".txt", "amp&lt;.txt", "a{b}|c.txt", "sub 01/anat/T1 (1).nii", "deep/er/est/~end.",
)  # fmt: skip
#: Windows has no name with these characters, or with a dot at its end.
ODD = tuple(name for name in _ODD if os.name == "posix" or not (set(name) & set('<>:"\\|?*') or name.endswith(".")))


class Server:
    """The sandbox by plain HTTP: none of our client is trusted here."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def call(self, method: str, path: str, *, user: str = "alice", body: bytes | None = None, **query: str) -> bytes:
        target = f"{self._sandbox.url}{path}" + (f"?{urlencode(query)}" if query else "")
        login = base64.b64encode(f"{user}:{user}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(target, method=method, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def rows(self, path: str) -> list[dict[str, str]]:
        return json.loads(self.call("GET", path, format="json"))["ResultSet"]["Result"]

    def put(self, path: str, content: bytes) -> None:
        """A file by somebody else."""
        self.call("PUT", path, body=content, inbody="true")

    def listed(self, parent: str, label: str) -> dict[str, tuple[int, str]]:
        """Path -> size and MD5, as the catalog has them."""
        rows = self.rows(f"{parent}/resources/{label}/files")
        return {row["URI"].partition("/files/")[2]: (int(row["Size"]), row["digest"]) for row in rows}


@pytest.fixture
def server(sandbox: Sandbox) -> Server:
    return Server(sandbox)


@pytest.fixture
def session(server: Server) -> str:
    """The accession ID of session `e` of subject `s` in DEMO, with a scan 4."""
    name = server.call("PUT", "/data/projects/DEMO/subjects/s/experiments/e", xsiType="xnat:mrSessionData").decode()
    server.call("PUT", f"/data/experiments/{name}/scans/4", xsiType="xnat:mrScanData", type="T1")
    return name


@pytest.fixture
def on_disk(sandbox: Sandbox) -> Callable[[str], dict[str, bytes]]:
    """Path -> content of what the server keeps in the one folder of that name."""

    def look(label: str) -> dict[str, bytes]:
        (folder,) = [path for path in (sandbox.directory / "archive").rglob(label) if path.is_dir()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return look


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with every odd name, an empty file, a packed one, and what is left out."""
    root = tmp_path / "tree"
    for name in ODD:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 7)
    (root / "empty.log").touch()
    (root / "sub 01" / "anat" / "scan.nii.gz").write_bytes(gzip.compress(b"an image", mtime=0))
    (root / ".DS_Store").write_bytes(b"x")
    (root / "nothing in here").mkdir()
    return root


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Path -> content of what should arrive of a directory."""

    def look(root: Path) -> dict[str, bytes]:
        files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    return look


@pytest.fixture
def writes(sandbox: Sandbox) -> Callable[[], list[dict[str, Any]]]:
    """The requests that carried files."""
    return lambda: [r for r in sandbox.requests if r["method"] == "PUT" and "/files/" in r["path"]]


# plans of several stages


@pytest.fixture
def client(sandbox):
    with XnatClient(sandbox.url) as made:
        made.login(lambda: Password(username="alice", secret="alice"))
        yield made


@pytest.fixture
def make_plan(sandbox, tmp_path):
    """A plan of these stages for session `e` of DEMO."""

    def make(*stages, placement=Placement.ARCHIVE, workers=4, session="e", **more):
        where = Destination(server=sandbox.url, project="DEMO", subject="s", session=session)
        return UploadPlan(
            command="session upload-exam",
            root=str(tmp_path),
            destination=where,
            workers=workers,
            placement=placement,
            overwrite=Overwrite.DELETE,
            stages=stages,
            **more,
        )

    return make


@pytest.fixture
def files(tmp_path):
    """The stages of one resource with some files of its own."""

    def make(label, *, level=ResourceLevel.SESSION, **more):
        folder = tmp_path / label
        folder.mkdir(exist_ok=True)
        for name in (f"0 [{label}].txt", f"1 [{label}].txt", "plain.txt"):
            if not (folder / name).exists():
                (folder / name).write_bytes(label.encode())
        items = scan_files(str(folder), prefix=label).items
        ref = ResourceRef(label=label, level=level, scan=more.pop("scan", ""))
        return (plan_resource_stage(ref, items, **more),)

    return make


@pytest.fixture
def carry_out(client, tmp_path):
    """Run a plan as the command would; the journal is the same each time. Returns the run and what it ended with."""

    def run(plan, *, resource=ResourceTransport, tell=lambda event: None):
        transports = {"resource": resource, "tar": TarTransport}
        with closing(Journal(Store(tmp_path / "journal.sqlite"))) as journal:
            made = services(transports, tmp_path, tell=tell)
            report, error = run_in(plan, made, client=client, journal=journal, exclusively=lambda key: nullcontext())
            return SimpleNamespace(report=report), error

    return run


@pytest.fixture
def dicom(tmp_path, sandbox):
    """The stages of a small session."""
    exam = write_exam(tmp_path / "dicom", series=2, instances=4, seed=2, clutter=False)
    where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
    request = UploadRequest(
        command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=2
    )
    return lambda **more: plan_session_upload(replace(request, **more)).stages
