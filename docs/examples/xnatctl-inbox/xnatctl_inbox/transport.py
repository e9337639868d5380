"""The transport `inbox`: each instance becomes a file of a folder, complete or not there at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from xnatctl.api import (
    Batch,
    BatchResult,
    Emit,
    FailureClass,
    ItemOutcome,
    Outcome,
    SourceChanged,
    TransportContext,
    UploadItem,
    changed_outcome,
)

_CHUNK = 1 << 20


def address_of(options: Mapping[str, Any]) -> str:
    """The address of an inbox: two folders are two uploads."""
    return "inbox:" + os.path.abspath(options["folder"])


class InboxTransport:
    """One per worker."""

    def __init__(self, context: TransportContext) -> None:
        self.context = context
        self.folder = os.path.abspath(context.options["folder"])

    def __enter__(self) -> InboxTransport:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def describe(self) -> Mapping[str, str]:
        """Shown by --dry-run."""
        return {"folder": self.folder}

    def batches(self, items: Sequence[UploadItem], workers: int) -> list[Batch]:
        """Every file succeeds or fails on its own."""
        return [Batch(id=f"{number:06d}", items=(item,)) for number, item in enumerate(items)]

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """Write under another name, then rename: the system that watches sees whole files only."""
        (item,) = batch.items
        try:
            self._write(item)
        except SourceChanged as error:
            outcome = changed_outcome(item, error)
        except OSError as error:
            outcome = ItemOutcome(
                path=item.path,
                outcome=Outcome.FAILED,
                failure=FailureClass.TRANSIENT,
                reason=f"it cannot be written to {self.folder}: {error.strerror}",
            )
        else:
            outcome = ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
        return BatchResult(outcomes=(outcome,))

    def _write(self, item: UploadItem) -> None:
        path = os.path.join(self.folder, item.name)
        partial = f"{path}.partial"
        with self.context.open_item(item) as reader, open(partial, "wb") as out:
            while chunk := reader.read(_CHUNK):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)

    def close(self) -> None:
        """Nothing is open between batches."""
