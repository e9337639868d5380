"""Progress on stderr: a bar on a terminal, elsewhere a line every 100 files."""

from __future__ import annotations

import sys
from typing import Any

from xnatctl.api import Event, EventKind, printable

#: Elsewhere than on a terminal, a line after so many files (spec: "every 100 files").
EVERY = 100

#: Outcomes that end an item's way; the others are followed by another attempt.
_DELIVERED = "accepted"


class Progress:
    """One run's progress. Counts each file once, however often it was sent."""

    def __init__(self, event: Event) -> None:
        self._files = _number(event, "files")
        self._bytes = _number(event, "bytes")
        self._quiet = bool(event.data.get("quiet"))
        self._done = 0
        self._longest: dict[str, float] = {}
        self._bar: Any = None
        self._task: Any = None
        if not self._quiet and sys.stderr.isatty():
            self._open_bar(color=bool(event.data.get("color")))

    def see(self, event: Event) -> None:
        """Take one event."""
        match event.kind:
            case EventKind.ITEM_DONE:
                self._item(event)
            case EventKind.STAGE_STARTED:
                self._skip(_number(event, "skipped"), _number(event, "skipped_bytes"))
            case EventKind.RETRY:
                self._retry(event)
            case EventKind.WARNING:
                self._line(f"Warning: {event.message}", always=True)
            case EventKind.SETTLING | EventKind.VERIFYING if event.message:
                self._line(event.message)

    def close(self) -> None:
        """Put the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _retry(self, event: Event) -> None:
        """Many workers meet one trouble many times: said once, and again when it lasts longer than before."""
        seconds = event.data.get("seconds")
        wait = float(seconds) if isinstance(seconds, int | float) else 0.0
        if wait > self._longest.get(event.message, -1.0):
            self._longest[event.message] = wait
            self._line(f"sending a batch again{f' in {wait} s' if wait else ''}: {event.message}")

    def _item(self, event: Event) -> None:
        if event.data.get("outcome") == _DELIVERED and self._longest:
            self._longest = {reason: wait for reason, wait in self._longest.items() if not wait}  # it was overcome
        if event.data.get("outcome") != _DELIVERED or event.data.get("again"):
            return
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=_number(event, "bytes"), files=self._done)
            if self._done == self._files:
                self._bar.update(self._task, completed=self._bytes)
        elif self._done % EVERY == 0 and self._done < self._files:
            self._line(f"{self._done} of {self._files} files sent")
        elif self._done == self._files:
            self._line(f"{self._files} of {self._files} files sent")

    def _skip(self, files: int, size: int) -> None:
        """Some of what was to be sent is there already."""
        self._files -= files
        self._bytes -= size
        if files and self._bar is not None:
            self._bar.update(self._task, total=self._bytes, all=self._files)

    def _line(self, text: str, *, always: bool = False) -> None:
        if self._quiet and not always:
            return
        text = printable(text).replace("\n", "\\x0a")  # a line break in a name says nothing of its own
        if self._bar is not None:
            self._bar.refresh()
            self._bar.console.print(text, markup=False, highlight=False)
            return
        try:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is where progress goes
        except (OSError, ValueError):
            self._quiet = True

    def _open_bar(self, *, color: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.fields[files]}/{task.fields[all]} files"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=not color),
            transient=True,
        )
        self._task = self._bar.add_task("", total=self._bytes, files=0, all=self._files)
        self._bar.start()


_current: list[Progress] = []
#: There are several for each file, and nothing is made of them here.
_UNSEEN = frozenset({EventKind.BATCH_STARTED, EventKind.BATCH_DONE, EventKind.BYTES_SENT})


def observe(event: Event) -> None:
    """Start with the run, end with it."""
    if event.kind in _UNSEEN:
        return
    if event.kind is EventKind.RUN_STARTED:
        _current[:] = [Progress(event)]
    elif _current:
        _current[0].see(event)
    if event.kind is EventKind.RUN_DONE and _current:
        _current.pop().close()


def _number(event: Event, key: str) -> int:
    value = event.data.get(key, 0)
    return value if isinstance(value, int) else 0
