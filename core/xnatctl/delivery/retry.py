"""Why a request failed, and what to do about it: by class, not by status alone (DESIGN 5, "Retry").

All waits are on a monotonic clock and are cut short by an interrupt. Every worker draws on one budget, so a
server in trouble is not hammered by each of them.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xnatctl.errors import (
    AuthenticationError,
    ConnectionFailed,
    NotFound,
    NotXnat,
    PermissionDenied,
    ServerError,
    SourceChanged,
    Throttled,
    TooLarge,
    TransportError,
    XnatctlError,
)
from xnatctl.model.outcome import FailureClass, Outcome
from xnatctl.xnat.importing import is_concurrent_send, is_unparsable

#: The gateway answered although the server behind it may have stored everything (contract xnat-api 7).
_GATEWAY = frozenset({502, 504})

#: Failures of the server or the network, not of a file: when they do not end, every other batch would meet them too.
COMMON = frozenset(
    {
        FailureClass.TRANSIENT,
        FailureClass.UNREACHABLE,
        FailureClass.CROWDED,
        FailureClass.ANSWER_LOST,
        FailureClass.THROTTLED,
    }
)

#: Failures after which nothing more is sent.
STOPPING = frozenset(
    {
        FailureClass.AUTHENTICATION,
        FailureClass.PERMISSION,
        FailureClass.DESTINATION,
        FailureClass.ASSOCIATION,
        FailureClass.NOT_XNAT,
        FailureClass.FATAL,
    }
)


def classify(error: XnatctlError) -> FailureClass:
    """The class of an error from an import request (contract xnat-import 3.2, xnat-api 7)."""
    simple: tuple[tuple[type[XnatctlError], FailureClass], ...] = (
        (SourceChanged, FailureClass.SOURCE),
        (AuthenticationError, FailureClass.AUTHENTICATION),
        (PermissionDenied, FailureClass.PERMISSION),
        (NotFound, FailureClass.DESTINATION),
        (NotXnat, FailureClass.NOT_XNAT),
        (TooLarge, FailureClass.TOO_LARGE),
        (Throttled, FailureClass.THROTTLED),
        (TransportError, FailureClass.ANSWER_LOST),
        (ConnectionFailed, FailureClass.UNREACHABLE),
    )
    for kind, failure in simple:
        if isinstance(error, kind):
            return failure
    if isinstance(error, ServerError):
        return _classify_status(error)
    return FailureClass.FATAL


def _classify_status(error: ServerError) -> FailureClass:
    if error.status == 400:
        if is_concurrent_send(error.message):
            return FailureClass.CONCURRENT
        # A 400 on files that parse here is the server's trouble in disguise: disk full, database, lock
        # (contract xnat-import 3.2: "also 400 unable to read DICOM object").
        return FailureClass.UNPARSABLE if is_unparsable(error.message) else FailureClass.FATAL
    if error.status in _GATEWAY:
        return FailureClass.ANSWER_LOST
    if error.status == 507 or 400 <= error.status < 500:
        return FailureClass.FATAL
    return FailureClass.TRANSIENT


def outcome_for(failure: FailureClass) -> Outcome:
    """What a failed request makes of each of its items."""
    match failure:
        case FailureClass.ANSWER_LOST | FailureClass.TRANSIENT | FailureClass.UNPARSABLE | FailureClass.CONCURRENT:
            return Outcome.AMBIGUOUS  # no roll-back: earlier entries may be stored (contract xnat-import 3.3)
        case FailureClass.FILTERED:
            return Outcome.FILTERED
        case FailureClass.SOURCE:
            return Outcome.CHANGED
        case _:
            return Outcome.FAILED


@dataclass
class RetryPolicy:
    """How long to wait before the next attempt, and when to give up.

    Waits in seconds: jitter in the upper half below `base * 2**n`, capped. `attempts` are per batch and class, enough
    for a server that restarts. One budget is shared by all workers: when nothing at all has succeeded since a batch
    began to fail, and its attempts are used up or `patience` has passed, the server is dead for every batch.
    """

    base: float = 1.0
    cap: float = 10.0
    retry_after_cap: float = 300.0
    patience: float = 120.0
    random: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    attempts: dict[FailureClass, int] = field(
        default_factory=lambda: {
            FailureClass.CONCURRENT: 8,
            FailureClass.THROTTLED: 8,
            FailureClass.TRANSIENT: 9,
            FailureClass.UNREACHABLE: 9,
            FailureClass.CROWDED: 9,
            FailureClass.ANSWER_LOST: 7,
            FailureClass.UNPARSABLE: 3,
            FailureClass.AUTHENTICATION: 1,
        }
    )
    _last_success: float = -math.inf
    _failing_since: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def succeeded(self) -> None:
        """An answer arrived: the budget is full again."""
        with self._lock:
            self._last_success = self.clock()
            self._failing_since = None

    def dead(self, since: float) -> bool:
        """True when no worker has had a success since `since` (a reading of `clock`)."""
        with self._lock:
            return self._last_success < since

    def delay(self, failure: FailureClass, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait before attempt number `attempt + 1`, or None to give up.

        `attempt` counts from 1. Retry-After rules when it was named, capped, and is not held against the server.
        """
        if attempt >= self.attempts.get(failure, 1):
            return None
        with self._lock:
            now = self.clock()
            if self._failing_since is None:
                self._failing_since = now
            if retry_after is not None:
                wait = min(max(retry_after, 0.0), self.retry_after_cap)
                self._failing_since = now + wait
                return wait
            if now - self._failing_since > self.patience:
                return None
        ceiling = min(self.cap, self.base * 2.0 ** (attempt - 1))
        return ceiling / 2 + self.random.uniform(0, ceiling / 2)


class Pause:
    """Waiting that an interrupt ends at once. One per run, shared by all workers."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def stop(self) -> None:
        """End all waits, now and in future."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """True after `stop`."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait; False when the run is being stopped."""
        return not self._stop.wait(seconds)

    @staticmethod
    def now() -> float:
        """Monotonic seconds."""
        return time.monotonic()
