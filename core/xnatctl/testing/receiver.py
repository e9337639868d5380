"""A DICOM receiver on loopback that keeps what it gets, byte for byte."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

#: Status of C-STORE: success (PS3.4 B.2.3).
_SUCCESS = 0x0000
#: The SOP class of C-ECHO (PS3.4 A.4).
_VERIFICATION = "1.2.840.10008.1.1"


class Receiver:
    """A Storage SCP at 127.0.0.1, as a context manager; it takes every SOP class and transfer syntax.

    `received` maps each SOP Instance UID to the copies of its data set, as bytes. `statuses` are the statuses of the
    next C-STORE requests; after them each one succeeds. Nothing is kept for a status that is a failure.
    """

    host = "127.0.0.1"

    def __init__(self, ae_title: str = "RECEIVER") -> None:
        self.ae_title = ae_title
        self.port = 0
        self.received: dict[str, list[bytes]] = {}
        self.statuses: list[int] = []
        self._lock = threading.Lock()
        self._server: Any = None

    def __enter__(self) -> Self:
        from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

        entity: Any = AE(ae_title=self.ae_title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(_VERIFICATION)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server((self.host, 0), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        with self._lock:
            status = self.statuses.pop(0) if self.statuses else _SUCCESS
            if status == _SUCCESS or status & 0xF000 == 0xB000:
                copies = self.received.setdefault(str(event.request.AffectedSOPInstanceUID), [])
                copies.append(event.request.DataSet.getvalue())
        return status
