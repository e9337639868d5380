"""The transports `tar` and `zip`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

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
    compressor_name,
    cut_batches,
    deflated_zip_body,
    fits_zip,
    stored_zip_body,
    tar_body,
    tgz_body,
)
from xnatctl_zip.choice import Choice, compressible

_HANDLER = "DICOM-zip"
#: DICOM-zip reads tar since this version (contract xnat-import 7).
_TAR_SINCE = (1, 8, 3)
#: A compressed bundle is held in memory, one per worker.
_COMPRESSED_BATCH = 32 * 2**20


class _Shared:
    """What the workers of one run know together."""

    def __init__(self, wanted: str) -> None:
        self.choice = Choice(wanted)
        self.said = False
        self.lock = threading.Lock()


_shared: WeakKeyDictionary[object, _Shared] = WeakKeyDictionary()
_shared_lock = threading.Lock()


class _Bundle:
    """What both transports do; they differ in the form of the bundle."""

    form = "tar"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._wanted = str(context.options.get("compress") or "auto")
        key = context.importer if context.importer is not None else self
        with _shared_lock:
            self._shared = _shared.setdefault(key, _Shared(self._wanted))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def describe(self) -> Mapping[str, str]:
        """No network, no secret."""
        return {
            "bundle": self.form,
            "compress": self._wanted,
            "compressor": compressor_name(),
            "import handler": _HANDLER,
        }

    def batches(self, items: Sequence[UploadItem], workers: int) -> Sequence[Batch]:
        """Smaller batches when they may have to be held in memory."""
        if self._wanted == "never":
            return cut_batches(items, workers)
        return cut_batches(items, workers, max_bytes=_COMPRESSED_BATCH)

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """One request."""
        importer = self._context.importer
        if importer is None:
            raise PluginUnavailable("This transport was made to describe, not to send.")
        compress = self._shared.choice.compress(batch.items)
        started = time.monotonic()
        try:
            content_type, body = self._body(importer, batch.items, emit, compress=compress)
        except SourceChanged as error:  # compressed bundles are read before they are sent
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in batch.items))
        built = time.monotonic()
        result = importer.deliver(batch.items, handler=_HANDLER, content_type=content_type, body=body, emit=emit)
        if compress:
            self._shared.choice.packed(batch.size, built - started)
        elif all(outcome.outcome.delivered for outcome in result.outcomes):
            self._shared.choice.sent(batch.size, time.monotonic() - built)
        return result

    def close(self) -> None:
        """Nothing of its own is open."""

    def _body(self, importer: Importer, items: Sequence[UploadItem], emit: Emit, *, compress: bool) -> tuple[str, Body]:
        open_item = self._context.open_item
        compress = compress and sum(item.size for item in items) <= 2 * _COMPRESSED_BATCH
        if self.form == "zip" or (importer.version < _TAR_SINCE and self._say_zip(emit)):
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

    def _say_zip(self, emit: Emit) -> bool:
        with self._shared.lock:
            if not self._shared.said:
                self._shared.said = True
                text = "This server is older than XNAT 1.8.3 and reads no tar; sending zip instead."
                emit(Event(kind=EventKind.WARNING, message=text))
        return True


class TarTransport(_Bundle):
    """Bundles as tar, or tar.gz when compressed."""


class ZipTransport(_Bundle):
    """Bundles as zip."""

    form = "zip"
