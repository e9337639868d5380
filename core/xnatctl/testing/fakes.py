"""The other side of a transport, for its tests."""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from xnatctl.delivery.engine.outcomes import all_outcomes, changed_outcome
from xnatctl.delivery.engine.retry import outcome_for
from xnatctl.errors import SourceChanged
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import FileStatus, Source, UploadItem
from xnatctl.model.refs import Destination, ResourceRef
from xnatctl.plugin.protocols import Body, ReceiverContext, TransportContext

#: The session that every import answers with.
PLACE: Final = "/data/prearchive/projects/P/20240115_120000000/E"


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

    `mistakes` says what the real one would choke on: a body of another length than it claims, or one that differs when
    it is read again. `script` holds the failures of the first requests, None for one that succeeds. `meet` keeps each
    of the first two requests waiting until the other one is there, at most as many seconds.
    """

    version: tuple[int, ...] = (1, 8, 11)
    received: list[Received] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    script: deque[FailureClass | None] = field(default_factory=deque)
    meet: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _requests: int = 0
    _barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))

    def parameters(self, handler: str) -> dict[str, str]:
        """The query of an import."""
        return {"import-handler": handler, "PROJECT_ID": "P", "SUBJECT_ID": "S", "EXPT_LABEL": "E", "rename": "true"}

    def deliver(
        self, items: Sequence[UploadItem], *, handler: str, content_type: str, body: Body, emit: Emit
    ) -> BatchResult:
        """Read a body and answer; accept everything that arrives whole and is not in the script."""
        with self.lock:
            self._requests += 1
            waits = bool(self.meet) and self._requests <= 2
        if waits:
            with suppress(threading.BrokenBarrierError):
                self._barrier.wait(self.meet)
        try:
            content = self.content_of(body)
        except SourceChanged as error:
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in items))
        with self.lock:
            self.received.append(Received(handler, content_type, content, tuple(item.path for item in items)))
            failure = self.script.popleft() if self.script else None
        emit(Event(kind=EventKind.BYTES_SENT, data={"bytes": sum(item.size for item in items)}))
        if failure is not None:
            return BatchResult(outcomes=scripted_outcomes(items, failure), bytes_sent=len(content))
        return BatchResult(
            outcomes=tuple(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=PLACE) for item in items),
            uris=(PLACE,),
            bytes_sent=len(content),
        )

    def content_of(self, body: Body) -> bytes:
        """Read a body twice, and note what is wrong with it. Raises SourceChanged."""
        content, again = b"".join(body.chunks()), b"".join(body.chunks())
        if len(content) != body.length:
            self.mistakes.append(f"Body.length says {body.length} bytes, and the body has {len(content)}")
        if content != again:
            self.mistakes.append("Body.chunks() yields other bytes the second time; each call starts at the first byte")
        return content


def scripted_outcomes(items: Sequence[UploadItem], failure: FailureClass) -> tuple[ItemOutcome, ...]:
    """What the import service answers for a failure: one outcome for each item."""
    after = 0.0 if failure is FailureClass.THROTTLED else None
    return all_outcomes(items, outcome_for(failure), failure, f"scripted: {failure}", after)


@dataclass(eq=False)
class FakeWriter:
    """One resource that takes files as the server would; `stored` holds them by path, `requests` the paths of each.

    `script` is as in `FakeImporter`. `mistakes` says what the real one would choke on: a length that is wrong, a file
    alone whose name or size does not allow it (xnat-api 4.3, 4.5), a zip that no streaming reader can read (4.6).
    """

    version: tuple[int, ...] = (1, 8, 11)
    stored: dict[str, bytes] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    script: deque[FailureClass | None] = field(default_factory=deque)
    requests: list[tuple[str, ...]] = field(default_factory=list)

    def put_file(self, item: UploadItem, *, body: Body, emit: Emit) -> BatchResult:
        """Accept a file that may go alone."""
        if not item.goes_alone:
            self.mistakes.append(
                f"put_file got {item.name!r} ({item.size} bytes), which does not arrive unchanged on its own; put what "
                "is not `goes_alone` into a bundle"
            )
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
            self.mistakes.append(f"Body.length says {body.length} bytes, and the body has {len(content)}")
        try:
            self.stored |= unpack(content)
        except (ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
            self.mistakes.append(f"the server cannot unpack the body: {error}")
        self.requests.append(tuple(item.path for item in items))
        failure = self.script.popleft() if self.script else None
        if failure is not None:
            return BatchResult(outcomes=scripted_outcomes(items, failure), bytes_sent=len(content))
        outcomes = tuple(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED) for item in items)
        return BatchResult(outcomes=outcomes, bytes_sent=len(content))


def bundle_of(content: bytes) -> dict[str, bytes]:
    """The members of a zip, tar or tar.gz by name; any other content is one member without a name."""
    stream = io.BytesIO(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(stream) as archive:
            return {member.filename: archive.read(member) for member in archive.infolist() if not member.is_dir()}
    if content[:2] == b"\x1f\x8b" or content[257:262] == b"ustar":
        with tarfile.open(fileobj=stream) as bundle:
            opened = {member.name: bundle.extractfile(member) for member in bundle if member.isfile()}
            return {name: member.read() for name, member in opened.items() if member is not None}
    return {"": content}


def _unpacked(content: bytes, form: str) -> dict[str, bytes]:
    stream = io.BytesIO(content)
    if form != "zip":
        with tarfile.open(fileobj=stream, mode="r:gz" if form == "tar.gz" else "r:") as archive:
            opened = {member.name: archive.extractfile(member) for member in archive}
            return {name: member.read() for name, member in opened.items() if member is not None}
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if member.flag_bits & 8 and member.compress_type == zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is stored with its size behind it, so no stream can be read")
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


def describing(context: TransportContext) -> TransportContext:
    """The same context for a transport that only describes itself and cuts batches: it has no way to send."""
    return TransportContext(
        destination=context.destination,
        workers=context.workers,
        options=context.options,
        open_item=context.open_item,
        resource=context.resource,
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
        "stamp": FileStatus.pack(status),
        "resource_name": f"{path.name}.dcm",
    }
    return UploadItem(**{**known, **fields})
