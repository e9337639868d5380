"""Why a request failed, and what to do about it: by class, not by status alone.

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
from xnatctl.xnat.importing import is_concurrent_send, is_unknown_handler

#: The gateway answered although the server behind it may have stored everything (xnat-api 7).
_GATEWAY = frozenset({502, 504})

#: What every request would be answered: proxy login, method, length, version, expectation, length of the URL or head.
_EVERY_REQUEST = frozenset({405, 406, 407, 411, 414, 417, 426, 431, 505})

#: Failures that may be of one file alone.
OWN = frozenset({FailureClass.CONCURRENT, FailureClass.UNPARSABLE, FailureClass.REFUSED})

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
    """The class of an error from an import request (xnat-import 3.2, xnat-api 7)."""
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
    if error.status == 400 and is_concurrent_send(error.message):
        return FailureClass.CONCURRENT
    if error.status in _GATEWAY:
        return FailureClass.ANSWER_LOST
    if error.status == 507 or error.status in _EVERY_REQUEST:
        return FailureClass.FATAL
    # It may be the file, or the server's trouble in disguise (xnat-import 3.2).
    return FailureClass.REFUSED if 400 <= error.status < 500 else FailureClass.TRANSIENT


def classify_import(error: XnatctlError) -> FailureClass:
    """The same for one import request: its path is the same for every file, so a 404 is about the file or handler."""
    if type(error) is NotFound:
        return FailureClass.FATAL if is_unknown_handler(error.message) else FailureClass.REFUSED
    return classify(error)


def outcome_for(failure: FailureClass) -> Outcome:
    """What a failed request makes of each of its items."""
    match failure:
        case FailureClass.ANSWER_LOST | FailureClass.TRANSIENT:
            return Outcome.AMBIGUOUS
        case FailureClass.UNPARSABLE | FailureClass.CONCURRENT | FailureClass.REFUSED:
            return Outcome.AMBIGUOUS  # no roll-back: earlier entries may be stored (xnat-import 3.3)
        case FailureClass.FILTERED:
            return Outcome.FILTERED
        case FailureClass.SOURCE:
            return Outcome.CHANGED
        case _:
            return Outcome.FAILED


#: How often `patience` is spent on retries in vain of single files, by all workers together.
_IN_VAIN = 8
#: How often `patience` is waited because the server asks for it.
_ASKED = 10


@dataclass
class RetryPolicy:
    """How long to wait before the next attempt, and when to give up. One budget is shared by all workers.

    All times in seconds. A wait has jitter in the upper half below `base * 2**n`, up to `cap`. `attempts` are per batch
    and class. Retries end for all workers when there was no answer, or nothing was delivered, for `patience`
    (`--retry-for`). Retries of single files that turn out in vain share `_IN_VAIN` times as much, however much is
    delivered meanwhile.
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
        """One with this patience, or with the usual one."""
        return cls() if patience is None else cls(patience=patience)

    def answered(self) -> None:
        """The server answered something that is not its own trouble: it lives."""
        with self._lock:
            self._last_answer = self.clock()
            self._failing_since = self._asked_since = None

    def delivered(self, waited: float = 0.0) -> None:
        """Something was delivered, after `waited` seconds between attempts, which were not in vain."""
        with self._lock:
            self._undelivered_since = None
            self._in_vain = max(0.0, self._in_vain - waited)

    def dead(self, since: float) -> bool:
        """True when no worker has had an answer since `since` (a reading of `clock`)."""
        with self._lock:
            return self._last_answer < since

    def _most(self, failure: FailureClass) -> int:
        """Attempts; as many more as a longer patience has room for."""
        most = self.attempts.get(failure, 1)
        return max(most, int(self.patience / self.cap) + 4) if failure in COMMON and self.patience > 60 else most

    def delay(self, failure: FailureClass, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait before attempt number `attempt + 1`, or None to give up.

        `attempt` counts from 1. Retry-After rules when it was named, up to its cap, and is not held against the server
        until it asked for ten times `patience`; one that is too short to help is made longer from try to try.
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
