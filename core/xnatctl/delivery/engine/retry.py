"""Classifies failed requests and decides on retries.

All waits use a monotonic clock and end on an interrupt. All workers share one budget, so that they do not overload a
struggling server.
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
    Interrupted,
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
from xnatctl.xnat.importing import is_concurrent_send, is_unknown_handler

#: Gateway errors, after which the server may have stored everything (xnat-api 7).
_GATEWAY = frozenset({502, 504})

#: Statuses that any request would get: proxy login, method, length, version, expectation, URL or header too long.
_EVERY_REQUEST = frozenset({405, 406, 407, 411, 414, 417, 426, 431, 505})

#: Failures that may concern one file only.
OWN = frozenset({FailureClass.CONCURRENT, FailureClass.UNPARSABLE, FailureClass.REFUSED})

#: Failures of the server or the network, which would affect every other batch too.
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
    """The class of an error from an import request (xnat-import 3.2, xnat-api 7)."""
    simple: tuple[tuple[type[XnatctlError], FailureClass], ...] = (
        (SourceChanged, FailureClass.SOURCE),
        (Interrupted, FailureClass.ANSWER_LOST),  # other requests of the batch may have been sent before
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
    if error.status == 400 and is_concurrent_send(error.message):
        return FailureClass.CONCURRENT
    if error.status in _GATEWAY:
        return FailureClass.ANSWER_LOST
    if error.status == 507 or error.status in _EVERY_REQUEST:
        return FailureClass.FATAL
    # The cause may be the file or the server (xnat-import 3.2).
    return FailureClass.REFUSED if 400 <= error.status < 500 else FailureClass.TRANSIENT


def classify_import(error: XnatctlError) -> FailureClass:
    """Like `classify` for an import request: its path is always the same, so a 404 concerns the file or handler."""
    if type(error) is NotFound:
        return FailureClass.FATAL if is_unknown_handler(error.message) else FailureClass.REFUSED
    return classify(error)


def outcome_for(failure: FailureClass) -> Outcome:
    """The outcome of each item of a failed request."""
    match failure:
        case FailureClass.ANSWER_LOST | FailureClass.TRANSIENT:
            return Outcome.AMBIGUOUS
        case FailureClass.UNPARSABLE | FailureClass.CONCURRENT | FailureClass.REFUSED:
            return Outcome.AMBIGUOUS  # no rollback: earlier entries may be stored (xnat-import 3.3)
        case FailureClass.FILTERED:
            return Outcome.FILTERED
        case FailureClass.SOURCE:
            return Outcome.CHANGED
        case _:
            return Outcome.FAILED


#: How many times `patience` all workers together may spend on failing retries of single files.
_IN_VAIN = 8
#: How many times `patience` is waited because of Retry-After.
_ASKED = 10


@dataclass
class RetryPolicy:
    """Decides how long to wait before the next attempt and when to give up. All workers share one budget.

    All times in seconds. A wait has jitter in the upper half below `base * 2**n`, up to `cap`. `attempts` are per batch
    and class. Retries end for all workers when there was no answer, or nothing was delivered, for `patience`
    (`--retry-for`). Failing retries of single files share `_IN_VAIN` times as much, however much is delivered
    meanwhile.
    """

    base: float = 1.0
    cap: float = 10.0
    retry_after_cap: float = 300.0
    patience: float = 60.0
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
            FailureClass.REFUSED: 3,
            FailureClass.AUTHENTICATION: 1,
        }
    )
    _last_answer: float = -math.inf
    _failing_since: float | None = None
    _undelivered_since: float | None = None
    _asked_since: float | None = None
    _in_vain: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def waiting(cls, patience: float | None) -> RetryPolicy:
        """A policy with this patience, or the default."""
        return cls() if patience is None else cls(patience=patience)

    def answered(self) -> None:
        """The server answered without a server error, so it is alive."""
        with self._lock:
            self._last_answer = self.clock()
            self._failing_since = self._asked_since = None

    def delivered(self, waited: float = 0.0) -> None:
        """A batch was delivered after `waited` seconds between attempts, which then do not count as wasted."""
        with self._lock:
            self._undelivered_since = None
            self._in_vain = max(0.0, self._in_vain - waited)

    def dead(self, since: float) -> bool:
        """True if no worker got an answer since `since` (a reading of `clock`)."""
        with self._lock:
            return self._last_answer < since

    def _most(self, failure: FailureClass) -> int:
        """The number of attempts, which grows with the patience."""
        most = self.attempts.get(failure, 1)
        return max(most, int(self.patience / self.cap) + 4) if failure in COMMON and self.patience > 60 else most

    def delay(self, failure: FailureClass, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait before attempt number `attempt + 1`, or None to give up.

        `attempt` counts from 1. Retry-After is obeyed up to its cap, and does not use the budget until it sums up to
        ten times `patience`; a Retry-After that is too short grows with each attempt.
        """
        if attempt >= self._most(failure):
            return None
        ceiling = min(self.cap, self.base * 2.0 ** (attempt - 1))
        with self._lock:
            now = self.clock()
            if self._failing_since is None:
                self._failing_since = now
            if self._asked_since is None:
                self._asked_since = now
            if self._undelivered_since is None:
                self._undelivered_since = now
            if retry_after is not None:
                wait = min(max(retry_after, ceiling / 2), self.retry_after_cap)
                if now + wait - self._asked_since > max(_ASKED * self.patience, self.retry_after_cap):
                    return None
                self._failing_since = now + wait
                return wait
            wait = ceiling / 2 + self.random.uniform(0, ceiling / 2)
            if failure not in OWN:
                return wait if now - self._failing_since <= self.patience else None
            if now - self._undelivered_since > self.patience or self._in_vain + wait > _IN_VAIN * self.patience:
                return None
            self._in_vain += wait
            return wait
