"""The contract of observers of a run (`xnatctl_on_event`)."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from xnatctl.model.events import Event, EventKind
from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.watch import expect

_BATCH = {"batch": "00001-abc", "resource": ""}


def events_of_a_run() -> list[Event]:
    """The events of a run with a retry, with the data that core sends."""
    return [
        Event(kind=EventKind.COMMAND_STARTED, data={"quiet": False, "color": False, "interactive": False}),
        Event(kind=EventKind.PREPARING, message="examining files", data={"files": 2}),
        Event(kind=EventKind.RUN_STARTED, data={"files": 2, "bytes": 2000, "skipped": 0, "transport": "tar"}),
        Event(kind=EventKind.WARNING, message="1 symbolic link leads to nothing."),
        Event(kind=EventKind.STAGE_STARTED, data={"stage": "session", "skipped": 0, "skipped_bytes": 0}),
        Event(kind=EventKind.BATCH_STARTED, data={**_BATCH, "files": 2, "bytes": 2000}),
        Event(kind=EventKind.BYTES_SENT, data={**_BATCH, "bytes": 2000}),
        Event(kind=EventKind.RETRY, message="503", data={"batch": "00001-abc", "reason": "503", "seconds": 0.5}),
        Event(
            kind=EventKind.ITEM_DONE,
            data={**_BATCH, "path": "a\udcff.dcm", "outcome": "accepted", "reason": None, "bytes": 1000},
        ),
        Event(
            kind=EventKind.ITEM_DONE,
            data={**_BATCH, "path": "b.dcm", "outcome": "failed", "reason": "refused", "bytes": 1000},
        ),
        Event(kind=EventKind.BATCH_DONE, data={**_BATCH, "files": 2, "bytes": 2000}),
        Event(kind=EventKind.SETTLING, data={"state": "archiving"}),
        Event(kind=EventKind.VERIFYING, data={"state": "comparing"}),
        Event(kind=EventKind.STAGE_DONE, data={"stage": "session"}),
        Event(kind=EventKind.RUN_DONE, data={"status": "complete"}),
        Event(kind=EventKind.COMMAND_DONE),
    ]


class ObserverContract(Contract):
    """For observers. Set `observer`, the implementation of the hook: `observer = staticmethod(xnatctl_on_event)`."""

    observer: ClassVar[Any]
    #: The main thread waits for observers: core drops one that takes longer than `OBSERVING` for an event.
    seconds: ClassVar[float] = 1.0

    def tell(self, events: Sequence[Event]) -> None:
        """Send events to the observer as core does."""
        store: dict[str, Any] = {}
        known = inspect.signature(self.observer).parameters
        for event in events:
            arguments = {"event": event, "store": store}
            before = copy.deepcopy(dict(event.data))
            with self.calling(f"xnatctl_on_event for {event.kind}", allowed=()):
                self.observer(**{name: value for name, value in arguments.items() if name in known})
            expect(dict(event.data) == before, f"`xnatctl_on_event` changes the data of {event.kind}; events are read")

    def test_it_hears_a_run(self) -> None:
        """Every kind of event, in the order of a run; the second run begins anew."""
        self.tell([*events_of_a_run(), *events_of_a_run()])

    def test_it_hears_kinds_of_events_in_any_order(self) -> None:
        """A run that is interrupted ends anywhere; events may have less data than expected."""
        self.tell(list(reversed(events_of_a_run())))
        self.tell([Event(kind=kind) for kind in EventKind])
