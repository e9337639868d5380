"""One instance, one request; the file's bytes are the body, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from xnatctl.api import Batch, BatchResult, Emit, TransportContext, UploadItem, cut_batches
from xnatctl.api.packing import plain_body

_HANDLER = "gradual-DICOM"


class GradualTransport:
    """Sends file by file through the gradual-DICOM import handler (xnat-import 4.1)."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def describe(self) -> Mapping[str, str]:
        """The description for a dry run; uses no network and shows no secrets."""
        return {"requests": "one per file", "import handler": _HANDLER}

    def batches(self, items: Sequence[UploadItem], workers: int) -> Sequence[Batch]:
        """One item each."""
        return cut_batches(items, workers, max_files=1)

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """Send one request."""
        importer = self._context.importer
        (item,) = batch.items
        body = plain_body(item, self._context.open_item)
        return importer.deliver(batch.items, handler=_HANDLER, content_type="application/dicom", body=body, emit=emit)

    def close(self) -> None:
        """Nothing to close."""
