"""Delivers by way of the user cache: one request stages an archive file, a second one imports it.

XNAT reads the staged file from its own disk. Where a proxy in front of the server cuts long imports, the first request
ends as soon as the bytes are there, and the second one carries none.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count

from xnatctl.api import (
    Batch,
    BatchResult,
    Body,
    ByteCounter,
    Emit,
    FailureClass,
    ItemOutcome,
    NotFound,
    Outcome,
    TransportContext,
    UploadItem,
    XnatctlError,
    cut_batches,
    failed_outcomes,
)
from xnatctl.api.packing import stored_zip_body, tar_body

_IMPORT = "/data/services/import"
_HANDLER = "DICOM-zip"
#: Where files wait for their import.
_CACHE = "/user/cache/resources/xnatctl/files"
#: The version of XNAT since which the import service reads a tar.
_TAR_SINCE = (1, 8, 3)


class _Slots:
    """Numbers the workers of a stage, so that each one has a file of its own in the cache."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._lock = threading.Lock()

    def take(self) -> int:
        """The next number."""
        with self._lock:
            return next(self._numbers)


class UserCacheTransport:
    """A `Transport`, one per worker, with one staged file at a time."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._staged = ""

    def __enter__(self) -> UserCacheTransport:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the staged file. What an interrupt leaves there is overwritten by the next run."""
        if self._staged and not self._context.stop_requested():
            with suppress(XnatctlError):
                self._context.http.delete(f"/data{self._staged}")
        self.close()

    def describe(self) -> Mapping[str, str]:
        """Shown by --dry-run."""
        return {"staged in": "the cache of the user", "import handler": _HANDLER}

    def batches(self, items: Sequence[UploadItem], workers: int) -> Sequence[Batch]:
        """As core cuts them: by series, then by size."""
        return cut_batches(items, workers)

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """Stage, then import. An error becomes one outcome per item, and core decides what follows."""
        body = self._body(batch)
        sent = ByteCounter(emit, batch.items, body.length)
        try:
            self._stage(body, sent)
            places = self._import()
        except NotFound as error:
            # The server has removed the staged file, or has no user cache. Nothing was imported.
            outcomes = failed_outcomes(batch.items, error, FailureClass.TRANSIENT)
        except XnatctlError as error:
            outcomes = failed_outcomes(batch.items, error)
        else:
            return BatchResult(outcomes=_outcomes(batch, places), uris=tuple(places), bytes_sent=sent.bytes)
        finally:
            sent.end()
        return BatchResult(outcomes=outcomes, bytes_sent=sent.bytes)

    def _body(self, batch: Batch) -> Body:
        pack = tar_body if self._form == "tar" else stored_zip_body
        return pack(batch.items, self._context.open_item)

    @property
    def _form(self) -> str:
        return "tar" if self._context.importer.version >= _TAR_SINCE else "zip"

    def _stage(self, body: Body, sent: ByteCounter) -> None:
        """PUT the file. The same session and worker have the same path, so that files do not pile up."""
        if not self._staged:
            where = self._context.destination
            session = hashlib.sha256(f"{where.project}/{where.session}".encode()).hexdigest()[:12]
            number = self._context.shared.setdefault("xnatctl_usercache", _Slots()).take()
            self._staged = f"{_CACHE}/{session}-{number}.{self._form}"
        self._context.http.put(
            f"/data{self._staged}",
            params={"inbody": "true"},
            body=body,
            content_type="application/x-tar" if self._form == "tar" else "application/zip",
            on_bytes=sent,
        )

    def _import(self) -> list[str]:
        """Have the server import the staged file; the lines of the answer name the session."""
        query = {**self._context.importer.parameters(_HANDLER), "src": self._staged}
        return self._context.http.post(_IMPORT, params=query).lines()

    def close(self) -> None:
        """Nothing is open: core ends the requests of `http`."""


def _outcomes(batch: Batch, places: Sequence[str]) -> tuple[ItemOutcome, ...]:
    """One outcome per item. An answer without a line says that the server stored nothing."""
    if places:
        return tuple(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=places[0]) for item in batch.items)
    reason = "the server answered 200 and stored nothing: a series import filter or an anonymisation rule"
    return tuple(
        ItemOutcome(path=item.path, outcome=Outcome.FILTERED, failure=FailureClass.FILTERED, reason=reason)
        for item in batch.items
    )
