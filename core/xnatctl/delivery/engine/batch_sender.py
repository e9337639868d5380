"""Sends the batches of one stage, each until its items have a final outcome.

A sender starts no threads: the engine provides workers. Each worker owns one transport. One batch is in flight at a
time until the first answer has fixed the session; after that all workers send.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from xnatctl.delivery.engine.batch_queue import BatchQueue
from xnatctl.delivery.engine.concurrency import ConcurrencyLimiter
from xnatctl.delivery.engine.refusals import Refusals, SizeLimit
from xnatctl.delivery.engine.retry import COMMON, OWN, STOPPING, RetryPolicy, classify, outcome_for
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import JournalError, OutOfMemory, PluginUnavailable, XnatctlError, is_out_of_memory
from xnatctl.model.batches import halve
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.protocols import ConnectedTransport, Transport, TransportContext

TransportFactory = Callable[[TransportContext], Transport]

#: Finds items that arrived although sending failed; called before they are sent again.
Reconcile = Callable[[Sequence[UploadItem], FailureClass], Sequence[ItemOutcome]]

#: Judges the outcomes of a batch by the places of its items; also gets the URIs of the whole answer.
Placed = Callable[[Sequence[ItemOutcome], Sequence[str]], Sequence[ItemOutcome]]


class BatchSender:
    """Sends the items of one stage. `anchored` says whether the session is fixed, `placed` judges outcomes.

    `reconcile` gets failed items and the failure, and returns outcomes for those that arrived nevertheless; without it
    all failed items are sent again.
    """

    def __init__(
        self,
        factory: TransportFactory,
        context: TransportContext,
        journal: Journal,
        *,
        emit: Emit,
        policy: RetryPolicy,
        stop: StopToken,
        anchored: Callable[[], bool] = lambda: True,
        placed: Placed | None = None,
        reconcile: Reconcile | None = None,
        limiter: ConcurrencyLimiter | None = None,
    ) -> None:
        self._factory = factory
        self._context = context
        self._journal = journal
        self._emit = emit
        self._policy = policy
        self._stop = stop
        self._reconcile = reconcile
        self._placed = placed
        self._limiter = limiter or ConcurrencyLimiter(context.workers)
        self._refusals = Refusals(context.workers)
        self._sizes = SizeLimit()
        self._work = BatchQueue(journal, anchored, self._limiter, probing=lambda: self._refusals.probing)
        self._transports: list[Transport] = []
        self._lock = threading.Lock()
        self._early: dict[str, ItemOutcome] = {}
        self._able: set[int] = set()
        #: Distinguishes batches of different resources in events.
        self._resource = {"resource": context.resource.title if context.resource is not None else ""}
        #: The name of this thread's batch in events, and the paths of its items.
        self._here = threading.local()
        self.unrecorded: JournalError | None = None
        self.fault: XnatctlError | None = None

    @property
    def stopped_by(self) -> ItemOutcome | None:
        """The outcome that stopped sending early, or None."""
        return self._work.stopped_by

    def load(self, items: Sequence[UploadItem]) -> int:
        """Let the transport cut the items into batches, every item exactly once; returns their number.

        Raises the errors of a probe, and PluginUnavailable for a transport that fails at it.
        """
        self._context = replace(self._context, items=items, report=self._report)
        try:
            with self._factory(self._context) as transport:
                if isinstance(transport, ConnectedTransport):
                    transport.probe()
                whole = self._work.fill(items, transport.batches(items, self._context.workers))
                named = str(transport)
        except (XnatctlError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise _fault(error) from error
        if not whole:
            raise PluginUnavailable(
                f"The batches of {named[0].lower()}{named[1:]} do not hold every file exactly once.",
                hint="This is a bug in the plugin. Use another --mode and report the bug to its author.",
            )
        return len(self._work)

    def give_up(self) -> None:
        """Stop sending and close open connections; called from another thread on an interrupt."""
        self._work.stop(None)
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            with suppress(Exception):  # a plugin must not block an interrupt
                transport.close()

    def deliver(self, items: Sequence[UploadItem]) -> None:
        """Send items in this thread. Raises JournalError, PluginUnavailable."""
        self.load(items)
        self.run()
        if self.unrecorded is not None:
            raise self.unrecorded
        if self.fault is not None:
            raise self.fault

    def run(self) -> None:
        """The loop of a worker: deliver batches until none is left. Workers run in parallel; raises nothing.

        `unrecorded` is set when the journal cannot be written, which stops sending. `fault` is set when the transport
        failed outside a batch.
        """
        try:
            with self._factory(self._context) as transport:
                with self._lock:
                    self._transports.append(transport)
                leave = transport.rest if isinstance(transport, ConnectedTransport) else _nothing

                def rest() -> None:
                    leave()
                    self._journal.sync()

                going_on = True
                while going_on and (batch := self._work.take(rest)) is not None:
                    try:
                        going_on = self._deliver(transport, batch)
                    finally:
                        self._work.done()
                self._journal.sync()
        except JournalError as error:
            self.unrecorded = self.unrecorded or error
            self._work.stop(None)
        except XnatctlError as error:
            self.fault = self.fault or error
            self._work.stop(None)
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything; the stage must end
            self.fault = self.fault or _fault(error)
            self._work.stop(None)
        finally:
            with self._lock:
                self._able.discard(threading.get_ident())

    def _deliver(self, transport: Transport, batch: Batch) -> bool:
        """Send one batch until each item has a final outcome. Returns False if this worker should end."""
        attempt = 1
        begun, waited = self._policy.clock(), 0.0
        while not self._is_too_large(batch):
            outcomes = self._attempt(transport, batch)
            again = [o for o in outcomes if o.outcome in (Outcome.AMBIGUOUS, Outcome.FAILED)]
            if len(again) < len(outcomes):
                self._policy.delivered(waited)
            if not again or self._stop.requested:
                break
            worst = next((o for o in again if o.failure in STOPPING), again[0])
            if worst.failure is FailureClass.CROWDED and self._others_able():
                self._say_retry(batch, f"{worst.reason}; continuing with one connection fewer", 0)
                self._work.add_first([replace(batch, items=_failed_items(batch, again))])
                return False
            if self._is_settled(batch, again, worst):
                break
            delay = self._policy.delay(worst.failure, attempt, worst.retry_after)
            if delay is not None:
                self._say_retry(batch, worst.reason or str(worst.failure), delay)
                waited += delay
                if not self._stop.wait(delay) or self._work.stopped:
                    break
            left = self._left(batch, again, worst.failure)
            if left and delay is None:
                self._give_up_on(left, worst, attempt, begun)
            if not left or delay is None:
                break
            batch = replace(batch, items=left)
            attempt += 1
        return True

    def _is_too_large(self, batch: Batch) -> bool:
        """Whether a batch is known to be too large; its halves are queued, or its single file is refused."""
        if (halves := self._sizes.split(batch)) is not None:
            self._work.add_first(halves)
            return True
        if (refused := self._sizes.known(batch)) is not None:
            self._record([_too_large(item, refused) for item in batch.items])
            return True
        return False

    def _is_settled(self, batch: Batch, again: Sequence[ItemOutcome], worst: ItemOutcome) -> bool:
        """Whether the batch is not retried as it is: sending stops, or its halves are queued."""
        if worst.failure in STOPPING:
            self._work.stop(worst)
            return True
        if worst.failure is FailureClass.TOO_LARGE:
            self._shrink(batch, worst)
            return True
        if worst.failure is FailureClass.REFUSED and len(again) == len(batch.items) > 1:
            self._say_retry(batch, f"{worst.reason}; splitting the batch to find the file", 0)
            self._refusals.refused()
            self._work.add_first(halve(batch))
            self._stop_if_hopeless(worst)
            return True
        return False

    def _give_up_on(self, left: Sequence[UploadItem], worst: ItemOutcome, attempts: int, begun: float) -> None:
        """Record the final failure of items, and stop sending if it affects all others."""
        if worst.failure is FailureClass.REFUSED:
            times = f"refused {attempts} times" if attempts > 1 else "refused"
            self._record(
                [
                    ItemOutcome(
                        path=item.path,
                        outcome=Outcome.REJECTED,
                        failure=worst.failure,
                        reason=f"{times}: {worst.reason or 'the server does not say why'}",
                    )
                    for item in left
                ]
            )
        if worst.failure in OWN:
            self._refusals.refused()
            self._stop_if_hopeless(worst)
        if worst.failure in COMMON and self._policy.dead(begun):
            self._work.stop(worst)

    def _stop_if_hopeless(self, worst: ItemOutcome) -> None:
        """Stop sending when there are too many refusals to be caused by the files."""
        if self._refusals.hopeless(others=self._work.has_others):
            self._work.stop(worst)

    def _shrink(self, batch: Batch, worst: ItemOutcome) -> None:
        """Handle a too large request: halve it, or give up on its file; stop when none can be smaller."""
        smallest = batch.size if len(batch.items) > 1 else min(item.size for item in self._context.items)
        if self._sizes.refuse(batch, smallest):
            self._work.stop(worst)
        elif len(batch.items) > 1:
            self._say_retry(batch, "too large for the server or a proxy; splitting the batch", 0)
            self._work.add_first(halve(batch))

    def _others_able(self) -> bool:
        """Whether another worker has delivered a file and can take over."""
        with self._lock:
            return bool(self._able - {threading.get_ident()})

    def _left(self, batch: Batch, again: Sequence[ItemOutcome], failure: FailureClass) -> tuple[UploadItem, ...]:
        """The items that are still to be sent: those that failed and did not arrive."""
        items = _failed_items(batch, again)
        if self._reconcile is None:
            return items
        try:
            found = tuple(self._reconcile(items, failure))
        except XnatctlError:
            return items  # the check failed, so send the items again
        self._record(found)
        there = {outcome.path for outcome in found}
        return tuple(item for item in items if item.path not in there)

    def _attempt(self, transport: Transport, batch: Batch) -> tuple[ItemOutcome, ...]:
        """Make one request: record the intent, send, return the outcome. Raises Interrupted if the run is stopped."""
        self._stop.check(writes=True)
        self._journal.intend(batch)
        self._here.named = named = {"batch": batch.id, **self._resource}
        self._here.paths = frozenset(item.path for item in batch.items)
        data = {**named, "files": len(batch.items), "bytes": batch.size}
        self._emit(Event(kind=EventKind.BATCH_STARTED, data=data))
        try:
            result = transport.send(batch, self._naming(named))
            reported = _complete(batch, result)
            if self._placed is not None:
                reported = tuple(self._placed(reported, result.uris))
        except JournalError:
            raise
        except XnatctlError as error:
            # "Nothing was sent" is true of this request only, not of the run.
            reported = _failed(batch, classify(error), error.message.removesuffix(" Nothing was sent."))
        except BaseException as error:  # noqa: BLE001 - a fault of the plugin ends the stage, not the program
            reason = OutOfMemory("send").message if is_out_of_memory(error) else _say(error)
            reported = _failed(batch, FailureClass.FATAL, reason)
        with self._lock:
            early = {item.path: self._early.pop(item.path) for item in batch.items if item.path in self._early}
        outcomes = tuple(early.get(outcome.path, outcome) for outcome in reported)
        self._record([outcome for outcome in outcomes if outcome.path not in early], later=True)
        self._emit(Event(kind=EventKind.BATCH_DONE, data=data))
        self._limiter.observe(outcomes)
        if any(outcome.outcome.delivered for outcome in outcomes):
            self._sizes.accepted(batch.size)
        return outcomes

    def _naming(self, named: Mapping[str, str]) -> Emit:
        """The `emit` of one batch: sets the batch name of byte events."""

        def emit(event: Event) -> None:
            if event.kind is EventKind.BYTES_SENT:
                event = Event(kind=event.kind, data={**event.data, **named})
            self._emit(event)

        return emit

    def _report(self, outcome: ItemOutcome) -> None:
        """Record an outcome before its batch is done, for a transport that gets answers one by one."""
        if outcome.path not in getattr(self._here, "paths", ()):
            return
        if self._placed is not None:
            (outcome,) = self._placed((outcome,), ())
        with self._lock:
            self._early[outcome.path] = outcome = _one_of(self._early.get(outcome.path), outcome)
        self._record([outcome], flush=False)

    def _record(self, outcomes: Sequence[ItemOutcome], *, flush: bool = True, later: bool = False) -> None:
        """Write outcomes to the journal, then emit events."""
        items = self._journal.record(outcomes, flush=flush, later=later)
        for outcome, (item, again) in zip(outcomes, items, strict=True):
            self._emit(_item_event(outcome, item.size, {**getattr(self._here, "named", {}), "again": again}))
        if any(outcome.failure not in COMMON for outcome in outcomes):
            self._policy.answered()  # any answer shows that the server is alive
        if any(outcome.outcome.delivered for outcome in outcomes):
            self._refusals.delivered()
            with self._lock:
                self._able.add(threading.get_ident())

    def _say_retry(self, batch: Batch, reason: str, seconds: float) -> None:
        self._emit(
            Event(
                kind=EventKind.RETRY,
                message=reason,
                data={"batch": batch.id, "reason": reason, "seconds": round(seconds, 1)},
            )
        )


def _too_large(item: UploadItem, refused: int) -> ItemOutcome:
    reason = f"not sent: the server refused a file of {refused} bytes as too large (HTTP 413), and this has {item.size}"
    return ItemOutcome(path=item.path, outcome=Outcome.FAILED, failure=FailureClass.TOO_LARGE, reason=reason)


def _failed_items(batch: Batch, again: Sequence[ItemOutcome]) -> tuple[UploadItem, ...]:
    paths = {outcome.path for outcome in again}
    return tuple(item for item in batch.items if item.path in paths)


def _failed(batch: Batch, failure: FailureClass, reason: str) -> tuple[ItemOutcome, ...]:
    outcome = outcome_for(failure)
    return tuple(ItemOutcome(path=item.path, outcome=outcome, failure=failure, reason=reason) for item in batch.items)


def _complete(batch: Batch, result: BatchResult) -> tuple[ItemOutcome, ...]:
    """One outcome for every item of the batch, and none for other items. Raises TypeError for an invalid result."""
    if not isinstance(result, BatchResult) or not all(isinstance(entry, ItemOutcome) for entry in result.outcomes):
        raise TypeError("the result is not a BatchResult of ItemOutcomes")
    outcomes: dict[str, ItemOutcome] = {}
    for entry in result.outcomes:
        outcomes[entry.path] = _one_of(outcomes.get(entry.path), entry)
    silence = "the transport reported no outcome for it"
    return tuple(
        outcomes.get(item.path)
        or ItemOutcome(path=item.path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.ANSWER_LOST, reason=silence)
        for item in batch.items
    )


def _one_of(before: ItemOutcome | None, outcome: ItemOutcome) -> ItemOutcome:
    """The outcome of an item that has one `before` perhaps; two that differ leave the result unknown.

    Only core may report an item as verified.
    """
    if outcome.outcome is Outcome.VERIFIED:
        outcome = replace(outcome, outcome=Outcome.ACCEPTED)
    if before is None or before.outcome is outcome.outcome:
        return outcome
    reason = f"the transport reported two outcomes for it, {before.outcome} and {outcome.outcome}"
    return ItemOutcome(path=outcome.path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.ANSWER_LOST, reason=reason)


def _item_event(outcome: ItemOutcome, size: int, more: Mapping[str, object]) -> Event:
    data = {"path": outcome.path, "outcome": str(outcome.outcome), "reason": outcome.reason, "bytes": size}
    return Event(kind=EventKind.ITEM_DONE, data={**data, **more})


def _nothing() -> None:
    """The default for transports that hold no connection while they wait."""


def _say(error: BaseException) -> str:
    return f"the transport failed: {type(error).__name__}: {error}"


def _fault(error: BaseException) -> XnatctlError:
    if is_out_of_memory(error):
        return OutOfMemory()
    text = _say(error)
    return PluginUnavailable(
        f"{text[0].upper()}{text[1:]}.",
        hint="This is a bug in the plugin. Use another --mode and report the bug to its author. Delivered files "
        "are not affected.",
    )
