"""Copies each instance into a folder: a destination that is not XNAT."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
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
    cut_batches,
)


def address_of(options: Mapping[str, Any]) -> str:
    """The address in the journal, the report and `upload status`: another folder is another upload."""
    return f"inbox:{os.path.abspath(options['inbox'])}"


class InboxTransport:
    """One per worker; made with the context of the run."""

    def __init__(self, context: TransportContext) -> None:
        self.context = context
        self.folder = Path(context.options["inbox"])

    def __enter__(self) -> InboxTransport:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def describe(self) -> Mapping[str, str]:
        return {"folder": str(self.folder)}

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        return cut_batches(items, workers)

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        return BatchResult(outcomes=tuple(self.copy(item) for item in batch.items))

    def copy(self, item: UploadItem) -> ItemOutcome:
        """Write under a temporary name, then rename: the other system never reads half of a file."""
        target = self.folder / item.name
        part = target.with_name(f".{target.name}.part")
        try:
            with self.context.open_item(item) as reader, part.open("wb") as out:
                while block := reader.read(1 << 18):
                    out.write(block)
            part.replace(target)
        except SourceChanged as error:
            return changed_outcome(item, error)
        except OSError as error:
            return ItemOutcome(
                path=item.path, outcome=Outcome.FAILED, failure=FailureClass.FATAL, reason=f"{error.strerror}: {target}"
            )
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)

    def close(self) -> None:
        """Nothing is open."""
