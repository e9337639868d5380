"""The transports `tar` and `zip`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Self

from xnatctl.api import (
    Batch,
    BatchResult,
    Body,
    Emit,
    Event,
    EventKind,
    Importer,
    PluginUnavailable,
    SourceChanged,
    TransportContext,
    UploadItem,
    changed_outcome,
    cut_batches,
)
from xnatctl.api.packing import (
    compressor_name,
    deflated_size,
    deflated_zip_body,
    fits_zip,
    stored_zip_body,
    tar_body,
    tgz_body,
)
from xnatctl.api.system import usable_processors
from xnatctl_zip.choice import CompressionChoice, compressible
from xnatctl_zip.memory import LARGEST, MemoryBudget, batch_size

_HANDLER = "DICOM-zip"
#: DICOM-zip reads tar since this version (xnat-import 7).
_TAR_SINCE = (1, 8, 3)
#: Bytes to measure the compressor before the first compressed bundle, and to measure the link.
_SAMPLE = 1 << 20
_PROBE = 4 << 20


class _Shared:
    """State shared by the workers of one run."""

    def __init__(self, wanted: str, workers: int, items: Sequence[UploadItem]) -> None:
        self.upload = sum(item.size for item in items)
        self.choice = CompressionChoice(wanted, share=min(1.0, usable_processors() / workers))
        self.room = MemoryBudget()
        self.reported = False
        self.lock = threading.Lock()


class _Bundle:
    """The base of both transports, which differ in the format of the bundle."""

    form = "tar"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._wanted = str(context.options.get("compress") or "auto")
        made = _Shared(self._wanted, context.workers, context.items)
        self._shared: _Shared = context.shared.setdefault("bundles", made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def describe(self) -> Mapping[str, str]:
        """The description for a dry run; uses no network and shows no secrets."""
        return {
            "bundle": self.form,
            "compress": self._wanted,
            "compressor": compressor_name(),
            "import handler": _HANDLER,
        }

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        """Cut smaller batches if they may have to be held in memory."""
        if self._wanted == "never":
            return cut_batches(items, workers)
        batches = cut_batches(items, workers, max_bytes=batch_size(workers))
        return batches if self._wanted == "always" else chain(batches[:1], _probes(batches[1:]))

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """Send one request."""
        importer = self._context.importer
        choice, size = self._shared.choice, batch.size
        if size <= LARGEST and choice.compress(batch.items, self._shared.upload):
            if choice.curious:
                self._try_compressor(batch.items)
            if choice.compress(batch.items, self._shared.upload):
                with self._shared.room.hold(size, self._context.stop_requested):
                    return self._packed(importer, batch, emit)
        started = time.monotonic()
        result = self._deliver(importer, batch, emit, self._body(importer, batch.items, emit, compress=False))
        if all(outcome.outcome.delivered for outcome in result.outcomes):
            choice.sent(size, time.monotonic() - started)
        return result

    def _packed(self, importer: Importer, batch: Batch, emit: Emit) -> BatchResult:
        started = time.monotonic()
        try:
            body = self._body(importer, batch.items, emit, compress=True)
        except SourceChanged as error:  # compressed bundles are read before they are sent
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in batch.items))
        built = time.monotonic() - started
        result = self._deliver(importer, batch, emit, body)
        delivered = all(outcome.outcome.delivered for outcome in result.outcomes)
        self._shared.choice.packed(batch.size, built, time.monotonic() - started if delivered else None)
        return result

    def _deliver(self, importer: Importer, batch: Batch, emit: Emit, body: tuple[str, Body]) -> BatchResult:
        content_type, content = body
        return importer.deliver(batch.items, handler=_HANDLER, content_type=content_type, body=content, emit=emit)

    def _try_compressor(self, items: Sequence[UploadItem]) -> None:
        """Measure the compressor on the beginning of the batch."""
        item = next(item for item in items if compressible(item))
        try:
            with self._context.open_item(item) as reader:
                data = reader.read(_SAMPLE)
        except SourceChanged:
            return  # reported when it is sent
        started = time.thread_time()
        deflated_size(data)
        self._shared.choice.packed(len(data), time.thread_time() - started)

    def close(self) -> None:
        """Nothing to close."""

    def _body(self, importer: Importer, items: Sequence[UploadItem], emit: Emit, *, compress: bool) -> tuple[str, Body]:
        open_item = self._context.open_item
        if self.form == "zip" or (importer.version < _TAR_SINCE and self._say_zip(importer, emit)):
            if not fits_zip(items):
                # One file of 4 GiB and more: zip64 divides readers, tar does not; older servers get what they can read.
                raise PluginUnavailable(
                    "A file of 4 GiB or more does not fit a zip bundle.", hint="Use --mode tar, or --mode gradual."
                )
            body = deflated_zip_body(items, open_item, compressible) if compress else stored_zip_body(items, open_item)
            return "application/zip", body
        if compress:
            return "application/x-gtar", tgz_body(items, open_item)  # x-tar would be read as plain tar (1.3)
        return "application/x-tar", tar_body(items, open_item)

    def _say_zip(self, importer: Importer, emit: Emit) -> bool:
        with self._shared.lock:
            if not self._shared.reported:
                self._shared.reported = True
                why = (
                    "This server is older than XNAT 1.8.3 and cannot read tar"
                    if importer.version
                    else "The server does not report its version, and XNAT before 1.8.3 cannot read tar"
                )
                text = f"{why}; sending zip instead."
                emit(Event(kind=EventKind.WARNING, message=text))
        return True


def _probes(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Split the first of many batches, so that the link is measured early."""
    if len(batches) < 2:
        yield from batches
        return
    first, number, size = batches[0], 0, 0
    group: list[UploadItem] = []
    for item in first.items:
        if group and size + item.size > _PROBE:
            yield Batch(id=f"{first.id}-{number}", items=tuple(group))
            group, size, number = [], 0, number + 1
        group.append(item)
        size += item.size
    yield Batch(id=f"{first.id}-{number}", items=tuple(group))
    yield from batches[1:]


class TarTransport(_Bundle):
    """Bundles as tar, or tar.gz when compressed."""


class ZipTransport(_Bundle):
    """Bundles as zip."""

    form = "zip"
