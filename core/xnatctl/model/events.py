"""Events of a running plan.

Workers put events on a queue; the main thread passes them to the observers (`xnatctl_on_event`) and to the progress
display. An event contains no secrets, and no patient data except paths.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """The kinds of event, in the order in which a run first shows them.

    A name that ends with `?` may be missing in `data`. A batch is identified by `batch` and `resource`, which is empty
    for a session; each attempt to send it begins it again. Sizes are those of the files on disk, in bytes.
    """

    #: The command begins; how stderr may be used. Data: quiet: bool, color: bool, interactive: bool
    COMMAND_STARTED = "command-started"
    #: `message` says what is going on outside a run; `files` were examined so far. Data: files?: int
    PREPARING = "preparing"
    #: The run begins; `skipped` files were delivered earlier.
    #: Data: files: int, bytes: int, skipped: int, transport: str
    RUN_STARTED = "run-started"
    #: A stage begins; what was delivered earlier and found. Data: stage: str, skipped?: int, skipped_bytes?: int
    STAGE_STARTED = "stage-started"
    #: A worker begins to send. Data: batch: str, resource: str, files: int, bytes: int
    BATCH_STARTED = "batch-started"
    #: An increment of a large or slow request. Data: batch: str, resource: str, bytes: int
    BYTES_SENT = "bytes-sent"
    #: A file has an `Outcome`; `again`: it had been delivered before.
    #: Data: path: str, outcome: str, reason: str or None, bytes: int, again: bool, batch?: str, resource?: str
    ITEM_DONE = "item-done"
    #: The attempt is over. Data: batch: str, resource: str, files: int, bytes: int
    BATCH_DONE = "batch-done"
    #: `message` says why something is sent again, after so many seconds.
    #: Data: batch?: str, reason?: str, seconds?: float
    RETRY = "retry"
    #: The server works on the session: building, archiving, waiting, comparing. Data: state: str
    SETTLING = "settling"
    #: `state` says what is compared. Data: state: str
    VERIFYING = "verifying"
    #: `message` is a warning.
    WARNING = "warning"
    #: A stage is done. Data: stage: str
    STAGE_DONE = "stage-done"
    #: The run is over; `status` is that of the report. Data: status: str
    RUN_DONE = "run-done"
    #: A document, an error or a question follows; events after it belong to another command.
    COMMAND_DONE = "command-done"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event. `message` is for people, `data` for programs; `time` is seconds since the epoch."""

    kind: EventKind  # what happened
    message: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


#: The function with which a transport emits events; any worker may call it.
Emit = Callable[[Event], None]
