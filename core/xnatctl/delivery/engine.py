"""The threads: workers send, the main thread listens.

The only module that starts threads. What a worker does is a lane's (one stage, many workers) or a leg's (many
resources, one worker each); what they say is told in the main thread, and an interrupt ends them all.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from xnatctl.delivery.journal import Journal
from xnatctl.delivery.lane import Lane, TransportFactory
from xnatctl.delivery.retry import Pause, RetryPolicy
from xnatctl.errors import Interrupted
from xnatctl.model.events import Event
from xnatctl.model.outcome import ItemOutcome
from xnatctl.model.plan import UploadItem
from xnatctl.plugin.protocols import TransportContext

#: How long workers get to notice an interrupt, in seconds; their sockets are already gone.
_GRACE = 3.0


class Crew:
    """Workers and the one who listens to them. `tell` hears every event in the main thread; `abort` cuts requests."""

    def __init__(self, *, tell: Callable[[Event], None], pause: Pause, abort: Callable[[], None]) -> None:
        self._tell = tell
        self._pause = pause
        self._abort = abort
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._fault: BaseException | None = None

    def emit(self, event: Event) -> None:
        """Say something, from any worker."""
        self._events.put(event)

    def run(self, work: Callable[[], None], count: int, *, give_up: Callable[[], None]) -> None:
        """Have `count` workers do `work`, which raises nothing foreseeable; returns when all are done.

        Raises Interrupted on Ctrl-C or a signal, after `give_up` and after cutting what is in flight; what `work`
        raised all the same is raised here.
        """
        threads = [
            threading.Thread(target=self._worker, args=(work,), name=f"worker-{number}", daemon=True)
            for number in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            self._listen(threads)
        except (KeyboardInterrupt, Interrupted) as interrupt:
            self._interrupt(threads, give_up)
            number = interrupt.exit_code - 128 if isinstance(interrupt, Interrupted) else 2
            raise Interrupted("Interrupted; requests in flight were cut.", signal_number=number) from None
        if self._fault is not None:
            raise self._fault

    def _worker(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            self._fault = fault
        finally:
            self._events.put(None)

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
            else:
                self._tell(event)
        for thread in threads:
            thread.join()

    def _interrupt(self, threads: Sequence[threading.Thread], give_up: Callable[[], None]) -> None:
        self._pause.stop()
        give_up()
        self._abort()
        deadline = self._pause.now() + _GRACE
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - self._pause.now()))


class Engine:
    """Sends the items of one stage with as many workers as the context says.

    `anchored` says whether the session is fixed; `abort` cuts requests in flight.
    """

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
        pause = pause or Pause()
        self._workers = context.workers
        self._crew = Crew(tell=tell, pause=pause, abort=abort)
        self._lane = Lane(
            factory,
            context,
            journal,
            emit=self._crew.emit,
            policy=policy or RetryPolicy(),
            pause=pause,
            anchored=anchored,
        )

    @property
    def stopped_by(self) -> ItemOutcome | None:
        """The outcome that ended the stage early, if one did."""
        return self._lane.stopped_by

    def send(self, items: Sequence[UploadItem]) -> None:
        """Send all items; returns when every one has an outcome or the stage was stopped.

        Raises Interrupted on Ctrl-C or a signal, after cutting what is in flight; JournalError when what is done cannot
        be recorded: nothing goes on without a record; PluginUnavailable for a transport that failed beside its batches.
        """
        if not items:
            return
        count = min(self._workers, self._lane.load(items))
        self._crew.run(self._lane.run, count, give_up=self._lane.give_up)
        if self._lane.unrecorded is not None:
            raise self._lane.unrecorded
        if self._lane.fault is not None:
            raise self._lane.fault
