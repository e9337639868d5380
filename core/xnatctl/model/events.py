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
    """The kinds of event, in the order in which a run first shows them."""

    COMMAND_STARTED = "command-started"  # data: quiet, color, interactive: how stderr may be used
    PREPARING = "preparing"  # message; data: files: how many were examined so far
    RUN_STARTED = "run-started"  # data: files, bytes, transport
    STAGE_STARTED = "stage-started"  # data: stage; skipped, skipped_bytes: delivered earlier and found on the server
    # A batch is identified by `batch` and `resource`, which is empty for a session. Each attempt starts it again.
    BATCH_STARTED = "batch-started"  # data: batch, resource, files, bytes
    BYTES_SENT = "bytes-sent"  # data: batch, resource, bytes: an increment, in bytes of the files as they are on disk
    ITEM_DONE = "item-done"  # data: batch, resource, path, outcome, reason, bytes; again: it had been delivered before
    BATCH_DONE = "batch-done"  # data: batch, resource, files, bytes
    RETRY = "retry"  # data: batch, reason, seconds
    SETTLING = "settling"  # data: state
    VERIFYING = "verifying"  # data: state
    WARNING = "warning"  # message
    STAGE_DONE = "stage-done"  # data: stage
    RUN_DONE = "run-done"  # data: status
    COMMAND_DONE = "command-done"  # a document, an error or a question follows; events after it start another one


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event. `message` is for people, `data` for programs; `time` is seconds since the epoch."""

    kind: EventKind  # what happened
    message: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


#: The function with which a transport emits events; any worker may call it.
Emit = Callable[[Event], None]
