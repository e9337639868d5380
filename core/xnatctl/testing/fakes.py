"""The other side of a transport, for its tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnatctl.delivery.outcomes import changed_outcome
from xnatctl.errors import SourceChanged
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import BatchResult, ItemOutcome, Outcome
from xnatctl.model.plan import Source, UploadItem
from xnatctl.model.refs import Destination
from xnatctl.plugin.protocols import Body, TransportContext


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


def make_context(
    importer: FakeImporter | None = None, *, options: Mapping[str, Any] | None = None, workers: int = 1
) -> TransportContext:
    """What a transport is made with."""
    return TransportContext(
        destination=Destination(server="http://127.0.0.1", project="P", subject="S", session="E"),
        workers=workers,
        options=dict(options or {}),
        open_item=open_item,
        importer=importer or FakeImporter(),
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
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "name": f"{path.name}.dcm",
    }
    return UploadItem(**{**known, **fields})
