"""The other side of a transport, for its tests."""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xnatctl.delivery.engine.outcomes import changed_outcome
from xnatctl.errors import SourceChanged
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import BatchResult, ItemOutcome, Outcome
from xnatctl.model.plan import FileStatus, Source, UploadItem
from xnatctl.model.refs import Destination, ResourceRef
from xnatctl.plugin.protocols import Body, ReceiverContext, TransportContext


@dataclass
class Received:
    """One body that arrived."""

    handler: str
    content_type: str
    content: bytes
    paths: tuple[str, ...]


@dataclass(eq=False)
class FakeImporter:
    """Takes bodies as the import service would; `received` holds them in order of arrival.

    Checks what the real one would choke on: a body that is not as long as it said.
    """

    version: tuple[int, ...] = (1, 8, 11)
    received: list[Received] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def parameters(self, handler: str) -> dict[str, str]:
        """The query of an import."""
        return {"import-handler": handler, "PROJECT_ID": "P", "SUBJECT_ID": "S", "EXPT_LABEL": "E", "rename": "true"}

    def deliver(
        self, items: Sequence[UploadItem], *, handler: str, content_type: str, body: Body, emit: Emit
    ) -> BatchResult:
        """Accept everything that arrives whole."""
        try:
            content = b"".join(body.chunks())
        except SourceChanged as error:
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in items))
        if len(content) != body.length:
            raise AssertionError(f"the body said {body.length} bytes and had {len(content)}")
        with self.lock:
            self.received.append(Received(handler, content_type, content, tuple(item.path for item in items)))
        emit(Event(kind=EventKind.BYTES_SENT, data={"bytes": len(content)}))
        uri = "/data/prearchive/projects/P/20240115_120000000/E"
        return BatchResult(
            outcomes=tuple(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=uri) for item in items),
            uris=(uri,),
            bytes_sent=len(content),
        )


@dataclass(eq=False)
class FakeWriter:
    """One resource that takes files as the server would; `stored` holds them by path, `requests` the paths of each.

    Checks what the real one would choke on: a length that is wrong, a file alone whose name or size does not allow it
    (xnat-api 4.3, 4.5), a zip that no streaming reader can read (4.6).
    """

    version: tuple[int, ...] = (1, 8, 11)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, ...]] = field(default_factory=list)

    def put_file(self, item: UploadItem, *, body: Body, emit: Emit) -> BatchResult:
        """Accept a file that may go alone."""
        if not item.goes_alone:
            raise AssertionError(f"{item.name!r} with {item.size} bytes would not arrive unchanged on its own")
        return self._take((item,), body, lambda content: {item.name: content})

    def put_bundle(
        self, items: Sequence[UploadItem], *, form: Literal["zip", "tar", "tar.gz"], body: Body, emit: Emit
    ) -> BatchResult:
        """Accept what can be unpacked."""
        return self._take(items, body, lambda content: _unpacked(content, form))

    def _take(
        self, items: Sequence[UploadItem], body: Body, unpack: Callable[[bytes], Mapping[str, bytes]]
    ) -> BatchResult:
        try:
            content = b"".join(body.chunks())
        except SourceChanged as error:
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in items))
        if len(content) != body.length:
            raise AssertionError(f"the body said {body.length} bytes and had {len(content)}")
        self.stored |= unpack(content)
        self.requests.append(tuple(item.path for item in items))
        outcomes = tuple(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED) for item in items)
        return BatchResult(outcomes=outcomes, bytes_sent=len(content))


def _unpacked(content: bytes, form: str) -> dict[str, bytes]:
    stream = io.BytesIO(content)
    if form != "zip":
        with tarfile.open(fileobj=stream, mode="r:gz" if form == "tar.gz" else "r:") as archive:
            opened = {member.name: archive.extractfile(member) for member in archive}
            return {name: member.read() for name, member in opened.items() if member is not None}
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if member.flag_bits & 8 and member.compress_type == zipfile.ZIP_STORED:
                raise AssertionError(f"{member.filename} is stored with its size behind it: no stream can be read so")
        return {member.filename: archive.read(member) for member in archive.infolist()}


def make_context(
    importer: FakeImporter | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    workers: int = 1,
    writer: FakeWriter | None = None,
) -> TransportContext:
    """What a transport is made with: for instances, or with `writer` for the files of a resource."""
    return TransportContext(
        destination=Destination(server="http://127.0.0.1", project="P", subject="S", session="E"),
        workers=workers,
        options=dict(options or {}),
        open_item=open_item,
        resource=ResourceRef(label="R") if writer is not None else None,
        **({"importer": importer or FakeImporter()} if writer is None else {"writer": writer}),
    )


def make_receiver_context(
    *, options: Mapping[str, Any] | None = None, workers: int = 1, items: Sequence[UploadItem] = (), address: str = ""
) -> ReceiverContext:
    """What a receiver transport is made with."""
    return ReceiverContext(
        address=address, workers=workers, options=dict(options or {}), open_item=open_item, items=items
    )


def make_item(path: Path, /, **fields: Any) -> UploadItem:
    """The item of a file; of a DICOM file with what its header says, unless `fields` say otherwise."""
    found = scan_path(str(path)).items
    if found and not fields:
        return found[0]
    status = path.stat()
    known: dict[str, Any] = {
        "path": path.name,
        "source": Source(path=str(path)),
        "size": status.st_size,
        "stamp": FileStatus.of(status).packed,
        "resource_name": f"{path.name}.dcm",
    }
    return UploadItem(**{**known, **fields})
