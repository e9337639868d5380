"""The transport `resource`: a directory as zip bundles, a single file unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from xnatctl.api import Batch, BatchResult, Emit, TransportContext, UploadItem
from xnatctl.api.packing import plain_body, stored_zip_body

#: A bundle must be unpacked in well under a minute, or a proxy gives up on it (xnat-api 7).
BUNDLE_BYTES = 256 * 2**20
BUNDLE_FILES = 2000
#: Larger files are not bundled: bundling saves no request, and unpacking takes time.
ALONE_BYTES = 64 * 2**20


class ResourceTransport:
    """Bundles and sends through the writer of one resource (xnat-api 4.3, 4.6)."""

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
        return {
            "bundle": "zip, unpacked by the server",
            "alone": "single files, and large ones if a URL can carry their name",
        }

    def batches(self, items: Sequence[UploadItem], workers: int) -> Sequence[Batch]:
        """Bundles in path order, limited in bytes and files; large files separately."""
        groups: list[list[UploadItem]] = []
        group: list[UploadItem] = []
        size = 0
        for item in sorted(items, key=lambda item: item.name):
            if item.size >= ALONE_BYTES:
                groups.append([item])
                continue
            if group and (len(group) >= BUNDLE_FILES or size + item.size > BUNDLE_BYTES):
                groups.append(group)
                group, size = [], 0
            group.append(item)
            size += item.size
        if group:
            groups.append(group)
        return [Batch(id=f"{number:05d}", items=tuple(group)) for number, group in enumerate(groups)]

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """Send one request."""
        writer, open_item = self._context.writer, self._context.open_item
        first = batch.items[0]
        if len(batch.items) == 1 and first.goes_alone:
            return writer.put_file(first, body=plain_body(first, open_item), emit=emit)
        return writer.put_bundle(batch.items, form="zip", body=stored_zip_body(batch.items, open_item), emit=emit)

    def close(self) -> None:
        """Nothing to close."""
