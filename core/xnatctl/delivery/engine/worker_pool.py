"""The worker pool: workers send, and the main thread handles their events.

This is the only module that starts threads. A worker runs a batch sender (one stage, many workers) or the runner of a
resource (many resources, one worker each). An interrupt ends all workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from xnatctl.delivery.engine.batch_sender import BatchSender, Placed, TransportFactory
from xnatctl.delivery.engine.concurrency import ConcurrencyLimiter
from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import Interrupted, OutOfMemory, signal_of
from xnatctl.model.events import Event
from xnatctl.model.outcome import ItemOutcome
from xnatctl.model.plan import UploadItem
from xnatctl.plugin.protocols import TransportContext

#: Seconds that workers get to end after an interrupt; their sockets are already closed.
_GRACE = 3.0
#: Seconds between two collections of worker events: handling each one at once would slow the workers down.
_LOOK = 0.05


class WorkerPool:
    """Runs workers until `stop`. `tell` gets every event in the main thread; `abort` cuts requests in flight."""

    def __init__(self, *, tell: Callable[[Event], None], stop: StopToken, abort: Callable[[], None]) -> None:
        self._tell = tell
        self._stop = stop
        self._abort = abort
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._running = 0
        self._over = threading.Event()
        self._fault: BaseException | None = None

    def emit(self, event: Event) -> None:
        """Queue an event; called from any worker."""
        self._events.append(event)

    def run(self, work: Callable[[], None], count: int, *, give_up: Callable[[], None]) -> None:
        """Run `work` in `count` workers; returns when all are done.

        Raises Interrupted on Ctrl-C, a signal or a stop, after `give_up` and after cutting requests in flight. An
        unexpected error of `work` is raised here.
        """
        if count == 0:
            return
        threads = [
            threading.Thread(target=self._worker, args=(work,), name=f"worker-{number}", daemon=True)
            for number in range(count)
        ]
        self._running = count
        self._over.clear()
        try:
            threads = self._start(threads)
            self._listen(threads)
        except (KeyboardInterrupt, Interrupted) as interrupt:
            self._interrupt(threads, give_up, signal_of(interrupt))
            message = "Interrupted; requests in flight were cut."
            raise Interrupted(message, signal_number=signal_of(interrupt)) from None
        if self._fault is not None:
            raise self._fault

    def _start(self, threads: list[threading.Thread]) -> list[threading.Thread]:
        """Start as many threads as the system allows and return them. Raises OutOfMemory if it allows none."""
        for number, thread in enumerate(threads):
            try:
                thread.start()
            except RuntimeError as error:  # can't start new thread
                if not number:
                    raise OutOfMemory("start a thread") from error
                with self._lock:
                    self._running -= len(threads) - number
                    if self._running == 0:
                        self._over.set()
                return threads[:number]
        return threads

    def _worker(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            self._fault = fault
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._over.set()

    def _listen(self, threads: Sequence[threading.Thread]) -> None:
        """Handle worker events until the last worker is done; waits are short so that signals are handled.

        Raises Interrupted if the run is stopped.
        """
        while not self._over.wait(_LOOK):
            self._publish_events()
            self._stop.check()
        for thread in threads:
            thread.join()
        self._publish_events()
        self._stop.check()

    def _publish_events(self) -> None:
        while self._events:
            self._tell(self._events.popleft())

    def _interrupt(self, threads: Sequence[threading.Thread], give_up: Callable[[], None], number: int) -> None:
        self._stop.stop(signal_number=number)
        give_up()
        self._abort()
        deadline = self._stop.now() + _GRACE
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - self._stop.now()))


class Engine:
    """Sends the items of one stage with the workers of the context; adapts their number up to `most`.

    `anchored` says whether the session is fixed; `placed` judges the outcomes of each batch; `abort` cuts requests in
    flight.
    """

    def __init__(
        self,
        factory: TransportFactory,
        context: TransportContext,
        journal: Journal,
        *,
        tell: Callable[[Event], None],
        anchored: Callable[[], bool] = lambda: True,
        placed: Placed | None = None,
        abort: Callable[[], None] = lambda: None,
        policy: RetryPolicy | None = None,
        stop: StopToken | None = None,
        most: int = 0,
    ) -> None:
        stop = stop or StopToken()
        self._limiter = ConcurrencyLimiter(context.workers, most)
        self._pool = WorkerPool(tell=tell, stop=stop, abort=abort)
        self._sender = BatchSender(
            factory,
            context,
            journal,
            emit=self._pool.emit,
            policy=policy or RetryPolicy(),
            stop=stop,
            anchored=anchored,
            placed=placed,
            limiter=self._limiter,
        )

    @property
    def stopped_by(self) -> ItemOutcome | None:
        """The outcome that stopped the stage early, or None."""
        return self._sender.stopped_by

    def send(self, items: Sequence[UploadItem]) -> None:
        """Send all items; returns when each has an outcome or the stage was stopped.

        Raises Interrupted on Ctrl-C or a signal, after cutting requests in flight; JournalError when the journal cannot
        be written; PluginUnavailable for a transport that failed outside its batches.
        """
        if not items:
            return
        count = min(self._limiter.most, self._sender.load(items))
        self._pool.run(self._sender.run, count, give_up=self._sender.give_up)
        if self._sender.unrecorded is not None:
            raise self._sender.unrecorded
        if self._sender.fault is not None:
            raise self._sender.fault
