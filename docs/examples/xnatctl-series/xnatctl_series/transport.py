"""Packs each series into one zip, in memory, with the standard library."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

from xnatctl.api import Batch, BatchResult, Body, Emit, SourceChanged, TransportContext, UploadItem, changed_outcome


class SeriesTransport:
    """One per worker; made with the context of the run."""

    def __init__(self, context: TransportContext) -> None:
        self.context = context

    def __enter__(self) -> SeriesTransport:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def describe(self) -> Mapping[str, str]:
        """Shown by --dry-run -v."""
        return {"bundle": "one zip per series", "level": str(self.context.options["level"])}

    def batches(self, items: Sequence[UploadItem], workers: int) -> list[Batch]:
        """Every item exactly once; the ids are the same for the same items."""
        series: dict[str, list[UploadItem]] = {}
        for item in items:
            series.setdefault(item.series_instance_uid, []).append(item)
        return [Batch(id=uid, items=tuple(group)) for uid, group in series.items()]

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """One request; the importer turns the server's answer into one outcome per item."""
        try:
            packed = self.pack(batch)
        except SourceChanged as error:
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in batch.items))
        return self.context.importer.deliver(
            batch.items,
            handler="DICOM-zip",
            content_type="application/zip",
            body=Body(length=len(packed), chunks=lambda: iter([packed])),
            emit=emit,
        )

    def pack(self, batch: Batch) -> bytes:
        """Members are named as planned (SOP Instance UID), so that sending again replaces and never doubles."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=self.context.options["level"]) as out:
            for item in batch.items:
                with self.context.open_item(item) as reader:
                    out.writestr(item.name, reader.read())
        return buffer.getvalue()

    def close(self) -> None:
        """Nothing is open."""
