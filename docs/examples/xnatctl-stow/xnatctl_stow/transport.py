"""The transport `stow`: a batch is one STOW-RS request, and the answer names each instance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from xnatctl.api import (
    Batch,
    ByteCounter,
    Emit,
    ItemOutcome,
    ReceiverContext,
    SourceChanged,
    UploadItem,
    changed_outcome,
    cut_batches,
)
from xnatctl_stow.answers import outcomes_of
from xnatctl_stow.connection import Connection
from xnatctl_stow.multipart import multipart_body
from xnatctl_stow.service import Service

#: Many servers keep a whole request in memory.
_BATCH_BYTES = 32 * 2**20
_BATCH_FILES = 100


class StowTransport:
    """One per worker."""

    def __init__(self, context: ReceiverContext) -> None:
        self._context = context
        self._service = Service.from_options(context.options)
        self._connection = Connection(self._service)

    def describe(self) -> Mapping[str, str]:
        """Shown by --dry-run."""
        return {
            "service": self._service.url,
            "authentication": self._service.authentication,
            "encrypted": "yes" if self._service.url.startswith("https:") else "no",
        }

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        """Requests of a size that can be sent again."""
        return cut_batches(items, workers, max_bytes=_BATCH_BYTES, max_files=_BATCH_FILES)

    def probe(self) -> None:
        """Ask for one study. Raises ConnectionFailed, AuthenticationError.

        A service may store without answering queries, so other statuses say nothing.
        """
        if self._connection.get("/studies", {"limit": 1}).status == 401:
            raise self._service.login_refused

    def rest(self) -> None:
        """An idle connection is closed by the server when it likes, so nothing is done here."""

    def send(self, batch: Batch, emit: Emit) -> Iterator[ItemOutcome]:
        """One request. Raises TransportError without an answer: every item is ambiguous then."""
        content_type, body = multipart_body(batch.items, self._context.open_item)
        counter = ByteCounter(emit, batch.items, body.length)
        try:
            answer = self._connection.post("/studies", content_type, body, counter)
        except SourceChanged as error:
            yield from (changed_outcome(item, error) for item in batch.items)
            return
        counter.end()
        yield from outcomes_of(batch.items, answer, self._shown)

    def _shown(self, item: UploadItem, text: str) -> str:
        return self._context.discreet(item, self._service.masked(text))

    def close(self) -> None:
        """Cut the request in flight."""
        self._connection.close()
