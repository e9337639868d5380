"""Progress on stderr: current activity, amount done and time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from xnatctl.api import Emit, Event, EventKind
from xnatctl_output.outlets import Outlet, outlet_for
from xnatctl_output.state import State


class Progress:
    """The progress of one command.

    `tick` is called from time to time, from any thread; `clock` gives seconds. `warned` holds the warnings that the
    command has shown: its sessions share some.
    """

    def __init__(self, outlet: Outlet, clock: Callable[[], float], warned: set[str] | None = None) -> None:
        self._warned = set() if warned is None else warned
        self._outlet = outlet
        self._state = State(clock)
        self._lock = threading.RLock()
        self._longest: dict[str, float] = {}

    def see(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            before = self._state.tally.done_files
            self._state.take(event)
            if self._state.tally.done_files > before:
                if self._longest:
                    self._longest = {reason: wait for reason, wait in self._longest.items() if not wait}  # overcome
                self._outlet.passed(self._state)
            elif event.kind is EventKind.RETRY:
                self._retry(event)
            elif event.kind is EventKind.WARNING and event.message not in self._warned:
                self._warned.add(event.message)
                self._outlet.warn(f"Warning: {event.message}")
            elif event.kind in (EventKind.SETTLING, EventKind.VERIFYING) and event.message:
                self._outlet.began(event.message)

    def tick(self) -> None:
        """Show how things are now."""
        with self._lock:
            self._state.tick()
            self._outlet.draw(self._state)

    def close(self) -> None:
        """Restore the terminal."""
        with self._lock:
            self._outlet.close()

    def _retry(self, event: Event) -> None:
        """Report a retry once for all workers, and again, without the reason, if the wait gets longer."""
        seconds = event.data.get("seconds")
        wait = float(seconds) if isinstance(seconds, int | float) else 0.0
        if wait > self._longest.get(event.message, -1.0):
            reason = "" if event.message in self._longest else f": {event.message}"
            self._longest[event.message] = wait
            self._outlet.line(f"sending a batch again{f' in {wait} s' if wait else ''}{reason}")


class _Running:
    """A progress and the thread that updates it while the command waits for a server."""

    def __init__(self, event: Event, warned: set[str]) -> None:
        quiet, color = bool(event.data.get("quiet")), bool(event.data.get("color"))
        self._outlet = outlet_for(quiet=quiet, color=color, clock=time.monotonic)
        self.progress = Progress(self._outlet, time.monotonic, warned)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if not quiet:
            self._thread = threading.Thread(target=self._go, name="progress", daemon=True)
            self._thread.start()

    def _go(self) -> None:
        while not self._over.wait(self._outlet.period):
            try:
                self.progress.tick()
            except (OSError, ValueError):  # stderr was closed, which must not end an upload
                return

    def end(self) -> None:
        """Restore the terminal and end the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.progress.close()


def observer(store: MutableMapping[str, Any]) -> Emit:
    """The observer of events: starts with the command, ends with it; `store` keeps what runs in between."""

    def observe(event: Event) -> None:
        if event.kind is EventKind.COMMAND_STARTED:
            store["running"] = _Running(event, store.setdefault("warned", set()))
        elif event.kind is EventKind.COMMAND_DONE and "running" in store:
            store.pop("running").end()
        elif "running" in store:
            store["running"].progress.see(event)

    return observe
