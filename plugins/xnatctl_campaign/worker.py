"""A worker process: delivers the rows that a run names, one after the other, in its main thread."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO

from xnatctl.api import Event, Interrupted, JournalError, RowResult
from xnatctl_campaign.delivering import CLAIM_LOST, RowDelivery
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.inbox import Inbox
from xnatctl_campaign.ledger import Entry
from xnatctl_campaign.protocol import Sender
from xnatctl_campaign.relay import Relay
from xnatctl_campaign.rows import RowIndex

#: Rows between two collections of garbage. Core lets it collect rarely, which fits a single upload.
_COLLECTED = 20


class Worker:
    """Delivers rows by `delivery`; `tell` gets the events as in a single upload."""

    def __init__(self, campaign: Campaign, delivery: RowDelivery, tell: Callable[[Event], None]) -> None:
        self._index = RowIndex(campaign)
        self._delivery = delivery
        self._tell = tell

    def serve(self, inbox: Inbox, sender: Sender) -> None:
        """Deliver rows until the run says to stop, or has ended.

        Raises Interrupted after a row that a signal interrupted: the one who sent it wants this process to end.
        """
        for number, row in enumerate(inbox.rows()):
            if number % _COLLECTED == 0:
                gc.collect()
            sender.send(**{"is": "started", "row": row})
            result = self._deliver(row, Relay(sender, row), inbox)
            sender.send(**{"is": "result", **asdict(result)})
            if result.state == "interrupted":
                if inbox.interrupted:
                    return
                raise Interrupted("Interrupted.", signal_number=max(result.exit_code - 128, 1))

    def _deliver(self, row: int, relay: Relay, inbox: Inbox) -> RowResult:
        def tell(event: Event) -> None:
            self._tell(event)
            relay.take(event)

        if row not in self._index:
            return RowResult(row=row, state="failed", exit_code=2, code="not-found", reason=f"There is no row {row}.")
        relay.phase("waiting")
        try:
            with inbox.working():
                entry = self._delivery.deliver(self._index[row], tell)
        except KeyboardInterrupt as interrupt:  # while it waited for a slot, or before it began
            exit_code = 128 + getattr(interrupt, "number", 2)
            return RowResult(
                row=row, state="interrupted", exit_code=exit_code, code="interrupted", reason="Interrupted."
            )
        except JournalError as error:
            return RowResult(row=row, state="failed", exit_code=error.exit_code, code=error.code, reason=error.message)
        return _result(row, entry)


def _result(row: int, entry: Entry | None) -> RowResult:
    """The result of a row for the run. Another worker has a row without an entry, or whose claim was lost."""
    if entry is None or entry.code == CLAIM_LOST:
        return RowResult(row=row, state="held")
    return RowResult(row=row, state=str(entry.state), exit_code=entry.exit_code, code=entry.code, reason=entry.reason)


@contextmanager
def own_stdout() -> Iterator[IO[bytes]]:
    """Standard output for messages alone; what anything else prints there goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stdout.flush()
    os.dup2(2, 1)
    with pipe:
        yield pipe
