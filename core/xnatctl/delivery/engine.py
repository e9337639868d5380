"""The pool: workers send batches, the main thread listens.

The only module that starts threads. Every worker owns one transport. Until the first answer has fixed the session,
one batch is in flight at a time; after that all workers send (DESIGN 5, "Sending").
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from xnatctl.delivery.journal import Journal
from xnatctl.delivery.planning import halve
from xnatctl.delivery.retry import COMMON, STOPPING, Pause, RetryPolicy, classify, outcome_for
from xnatctl.errors import Interrupted, JournalError, PluginUnavailable, XnatctlError
from xnatctl.model.events import Event, EventKind
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.protocols import ConnectedTransport, Transport, TransportContext

TransportFactory = Callable[[TransportContext], Transport]

#: How long workers get to notice an interrupt, in seconds; their sockets are already gone.
_GRACE = 3.0

#: Seconds for which a worker may keep what it has to tell of a batch that it is sending.
_TELL_EVERY = 0.1


class Engine:
    """Sends the items of one stage. `anchored` says whether the session is fixed; `abort` cuts requests in flight."""

    def __init__(
        self,
        factory: TransportFactory,
        context: TransportContext,
        journal: Journal,
        *,
        tell: Callable[[Event], None],
        anchored: Callable[[], bool] = lambda: True,
        abort: Callable[[], None] = lambda: None,
        policy: RetryPolicy | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._factory = factory
        self._context = context
        self._journal = journal
        self._tell = tell
        self._abort = abort
        self._policy = policy or RetryPolicy()
        self._pause = pause or Pause()
        self._work = _Work(anchored)
        self._events: queue.SimpleQueue[Event | Sequence[Event] | None] = queue.SimpleQueue()
        self._untold = threading.local()
        self._transports: list[Transport] = []
        self._lock = threading.Lock()
        self._unrecorded: JournalError | None = None
        self._sizes: dict[str, int] = {}
        self._early: dict[str, ItemOutcome] = {}
        self._able: set[int] = set()

    @property
    def stopped_by(self) -> ItemOutcome | None:
        """The outcome that ended the stage early, if one did."""
        return self._work.stopped_by

    def send(self, items: Sequence[UploadItem]) -> None:
        """Send all items; returns when every one has an outcome or the stage was stopped.

        Raises Interrupted on Ctrl-C or a signal, after cutting what is in flight; JournalError when what is done cannot
        be recorded: nothing goes on without a record.
        """
        if not items:
            return
        self._sizes = {item.path: item.size for item in items}
        self._context = replace(self._context, items=tuple(items), report=self._report)
        self._work.add(self._cut(items))
        count = min(self._context.workers, len(self._work))
        threads = [
            threading.Thread(target=self._worker, name=f"worker-{number}", daemon=True) for number in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            self._listen(threads)
        except (KeyboardInterrupt, Interrupted) as interrupt:
            self._interrupt(threads)
            number = interrupt.exit_code - 128 if isinstance(interrupt, Interrupted) else 2
            raise Interrupted("Interrupted; requests in flight were cut.", signal_number=number) from None
        if self._unrecorded is not None:
            raise self._unrecorded

    def _cut(self, items: Sequence[UploadItem]) -> Sequence[Batch]:
        """The transport's own batches, checked: every item exactly once. Raises what a probe raises."""
        with self._factory(self._context) as transport:
            if isinstance(transport, ConnectedTransport):
                transport.probe()
            batches = tuple(transport.batches(items, self._context.workers))
        if sorted(item.path for batch in batches for item in batch.items) != sorted(item.path for item in items):
            raise PluginUnavailable(
                "The transport's batches do not hold every file exactly once.",
                hint="This is a fault of the plugin; use another --mode and tell its author.",
            )
        return batches

    # the main thread

    def _listen(self, threads: Sequence[threading.Thread]) -> None:
        """Tell what the workers say until the last one has said None."""
        running = len(threads)
        while running:
            try:
                # A timeout keeps the main thread able to see signals on every platform.
                event = self._events.get(timeout=0.5)
            except queue.Empty:
                continue
            if event is None:
                running -= 1
                continue
            for one in (event,) if isinstance(event, Event) else event:
                self._tell(one)
        for thread in threads:
            thread.join()

    def _interrupt(self, threads: Sequence[threading.Thread]) -> None:
        self._pause.stop()
        self._work.stop(None)
        self._abort()
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            with suppress(Exception):  # a plugin must not keep an interrupt from ending
                transport.close()
        deadline = self._pause.now() + _GRACE
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - self._pause.now()))

    # the workers

    def _worker(self) -> None:
        try:
            with self._factory(self._context) as transport:
                with self._lock:
                    self._transports.append(transport)
                rest = transport.rest if isinstance(transport, ConnectedTransport) else _nothing
                going_on = True
                while going_on and (batch := self._work.take(rest)) is not None:
                    try:
                        going_on = self._deliver(transport, batch)
                    finally:
                        self._work.done()
        except JournalError as error:
            self._unrecorded = self._unrecorded or error
            self._work.stop(None)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the stage must end and say so
            self._work.stop(
                ItemOutcome(path="", outcome=Outcome.FAILED, failure=FailureClass.FATAL, reason=_say(error))
            )
        finally:
            with self._lock:
                self._able.discard(threading.get_ident())
            self._events.put(None)

    def _deliver(self, transport: Transport, batch: Batch) -> bool:
        """Send one batch until each of its items has a final outcome. False when this worker is one too many."""
        attempt = 1
        begun = self._policy.clock()
        while True:
            outcomes = self._attempt(transport, batch)
            again = [o for o in outcomes if o.outcome in (Outcome.AMBIGUOUS, Outcome.FAILED)]
            if not again or self._pause.stopped:
                return True
            worst = next((o for o in again if o.failure in STOPPING), again[0])
            if worst.failure in STOPPING:
                self._work.stop(worst)
                return True
            if worst.failure is FailureClass.TOO_LARGE and len(batch.items) > 1:
                self._say_retry(batch, "too large for the server or a proxy; sending it in two halves", 0)
                self._work.add_first(halve(batch))
                return True
            paths = {outcome.path for outcome in again}
            batch = Batch(id=batch.id, items=tuple(item for item in batch.items if item.path in paths))
            if worst.failure is FailureClass.CROWDED and self._others_able():
                self._say_retry(batch, f"{worst.reason}; going on with one connection less", 0)
                self._work.add_first([batch])
                return False
            delay = self._policy.delay(worst.failure, attempt, worst.retry_after)
            if delay is None:
                if worst.failure in COMMON and self._policy.dead(begun):
                    self._work.stop(worst)
                return True
            self._say_retry(batch, worst.reason or str(worst.failure), delay)
            if not self._pause.wait(delay) or self._work.stopped:
                return True
            attempt += 1

    def _others_able(self) -> bool:
        """Whether another worker has delivered something, so that it can take over."""
        with self._lock:
            return bool(self._able - {threading.get_ident()})

    def _attempt(self, transport: Transport, batch: Batch) -> tuple[ItemOutcome, ...]:
        """One request's worth: intent, send, outcome."""
        self._journal.intend(batch)
        data = {"batch": batch.id, "files": len(batch.items), "bytes": batch.size}
        self._events.put(Event(kind=EventKind.BATCH_STARTED, data=data))
        try:
            result = transport.send(batch, self._events.put)
        except JournalError:
            raise
        except XnatctlError as error:
            result = _failed(batch, classify(error), error.message)
        except Exception as error:  # noqa: BLE001 - a fault of the plugin ends the stage, not the program
            result = _failed(batch, FailureClass.FATAL, _say(error))
        with self._lock:
            early = {item.path: self._early.pop(item.path) for item in batch.items if item.path in self._early}
        outcomes = tuple(early.get(outcome.path, outcome) for outcome in _complete(batch, result))
        self._take_note([outcome for outcome in outcomes if outcome.path not in early])
        self._say_reported(at_once=True)
        self._events.put(Event(kind=EventKind.BATCH_DONE, data=data))
        return outcomes

    def _report(self, outcome: ItemOutcome) -> None:
        """An outcome before its batch is done; called by a transport that gets its answers one by one."""
        self._take_note([outcome], flush=False)
        with self._lock:
            self._early[outcome.path] = outcome
        self._say_reported(at_once=False)

    def _say_reported(self, *, at_once: bool) -> None:
        """Hand this worker's events to the main thread, not one by one: each wakes it, and it holds up the workers."""
        now, events = self._pause.now(), getattr(self._untold, "events", None)
        if events and (at_once or now - self._untold.since > _TELL_EVERY):
            self._events.put(events)
            self._untold.events = []
            self._untold.since = now

    def _take_note(self, outcomes: Sequence[ItemOutcome], *, flush: bool = True) -> None:
        self._journal.record(outcomes, flush=flush)
        if not hasattr(self._untold, "events"):
            self._untold.events, self._untold.since = [], self._pause.now()
        self._untold.events += [_item_event(outcome, self._sizes[outcome.path]) for outcome in outcomes]
        if any(outcome.failure not in COMMON for outcome in outcomes):
            self._policy.succeeded()  # whatever it said, the server lives
        if any(outcome.outcome.delivered for outcome in outcomes):
            with self._lock:
                self._able.add(threading.get_ident())

    def _say_retry(self, batch: Batch, reason: str, seconds: float) -> None:
        self._events.put(
            Event(
                kind=EventKind.RETRY,
                message=reason,
                data={"batch": batch.id, "reason": reason, "seconds": round(seconds, 1)},
            )
        )


class _Work:
    """Batches to hand out; one at a time until `anchored` is true."""

    def __init__(self, anchored: Callable[[], bool]) -> None:
        self._anchored = anchored
        self._batches: deque[Batch] = deque()
        self._in_flight = 0
        self._stopped = False
        self.stopped_by: ItemOutcome | None = None
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._batches)

    def add(self, batches: Sequence[Batch]) -> None:
        with self._changed:
            self._batches.extend(batches)
            self._changed.notify_all()

    def add_first(self, batches: Sequence[Batch]) -> None:
        with self._changed:
            self._batches.extendleft(reversed(batches))
            self._changed.notify_all()

    def take(self, rest: Callable[[], None]) -> Batch | None:
        """The next batch; None when there is none and none can come back (a half of one in flight).

        Calls `rest` before it waits.
        """
        rested = False
        while True:
            with self._changed:
                if self._stopped or (not self._batches and self._in_flight == 0):
                    self._changed.notify_all()
                    return None
                if self._batches and (self._in_flight == 0 or self._anchored()):
                    self._in_flight += 1
                    return self._batches.popleft()
                if rested:
                    self._changed.wait()
                    continue
            rest()
            rested = True

    @property
    def stopped(self) -> bool:
        """True when nothing more is to be sent."""
        with self._changed:
            return self._stopped

    def done(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def stop(self, why: ItemOutcome | None) -> None:
        with self._changed:
            self._stopped = True
            self.stopped_by = self.stopped_by or why
            self._changed.notify_all()


def _failed(batch: Batch, failure: FailureClass, reason: str) -> BatchResult:
    outcome = outcome_for(failure)
    return BatchResult(
        outcomes=tuple(
            ItemOutcome(path=item.path, outcome=outcome, failure=failure, reason=reason) for item in batch.items
        )
    )


def _complete(batch: Batch, result: BatchResult) -> tuple[ItemOutcome, ...]:
    """One outcome for every item of the batch, none for strangers."""
    said = {outcome.path: outcome for outcome in result.outcomes}
    silence = "the transport did not say what became of it"
    return tuple(
        said.get(item.path)
        or ItemOutcome(path=item.path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.ANSWER_LOST, reason=silence)
        for item in batch.items
    )


def _item_event(outcome: ItemOutcome, size: int) -> Event:
    return Event(
        kind=EventKind.ITEM_DONE,
        data={"path": outcome.path, "outcome": str(outcome.outcome), "reason": outcome.reason, "bytes": size},
    )


def _nothing() -> None:
    """For transports that hold nothing while they wait."""


def _say(error: Exception) -> str:
    return f"the transport failed: {type(error).__name__}: {error}"
