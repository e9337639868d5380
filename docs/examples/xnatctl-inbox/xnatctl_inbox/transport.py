"""The transport `inbox`: each instance becomes a file of a folder, complete or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from xnatctl.api import (
    Batch,
    Emit,
    FailureClass,
    ItemOutcome,
    Outcome,
    ReceiverContext,
    SourceChanged,
    UploadItem,
    changed_outcome,
)
from xnatctl.api.system import replace

_CHUNK = 1 << 20


def address_of(options: Mapping[str, Any]) -> str:
    """The address of an inbox: two folders are two uploads."""
    return "inbox:" + os.path.abspath(str(options["folder"]))


class InboxTransport:
    """A `ReceiverTransport`, one per worker."""

    def __init__(self, context: ReceiverContext) -> None:
        self.context = context
        self.folder = os.path.abspath(str(context.options["folder"]))

    def describe(self) -> Mapping[str, str]:
        """Shown by --dry-run."""
        return {"folder": self.folder}

    def send(self, batch: Batch, emit: Emit) -> Iterator[ItemOutcome]:
        """One outcome for each file, as soon as the file is there."""
        for item in batch.items:
            if self.context.stop_requested():
                return  # the next run sends the others
            yield self._deliver(item)

    def _deliver(self, item: UploadItem) -> ItemOutcome:
        try:
            self._write(item)
        except SourceChanged as error:
            return changed_outcome(item, error)
        except OSError as error:
            return ItemOutcome(
                path=item.path,
                outcome=Outcome.FAILED,
                failure=FailureClass.TRANSIENT,
                reason=f"it cannot be written to {self.folder}: {error.strerror}",
            )
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)

    def _write(self, item: UploadItem) -> None:
        """Write under another name, then rename: the system that watches sees whole files only."""
        path = os.path.join(self.folder, item.name)
        partial = f"{path}.partial"
        with self.context.open_item(item) as reader, open(partial, "wb") as out:
            while chunk := reader.read(_CHUNK):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        replace(partial, path)

    def close(self) -> None:
        """Nothing is open between batches."""
