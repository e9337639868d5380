"""The progress of a run on stderr: some lines at the bottom of a terminal, or plain lines from time to time."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from xnatctl.api import RowResult, counted, human_size, printable
from xnatctl_campaign.pace import Pace, time_left
from xnatctl_campaign.tally import Tally
from xnatctl_campaign.worker_link import Progress

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two drawings on a terminal, and between two plain lines.
_DRAWN, _SAID = 0.25, 30.0
#: A plain line after each tenth of the rows as well, and at most one for so many seconds.
_TENTHS, _APART = 10, 5.0
#: Lines of the terminal that stay free of rows in work: the totals, and what was there before.
_FREE = 4
#: Columns on the right that stay free for the ^C that a terminal writes.
_MARGIN = 3


class Display:
    """Shows a run until it is closed. Any thread may report.

    `say` prints a line for people.
    """

    def __init__(self, tally: Tally, *, say: Callable[[str], None], quiet: bool, color: bool) -> None:
        self._tally = tally
        self._index = tally.index
        self._say = say
        self._quiet = quiet
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._over = threading.Event()
        self._places: dict[int, str] = {}
        self._begun = self._last = time.monotonic()
        self._tenth = 0
        self._pace = Pace()
        self._screen = _Screen(color=color) if _on_terminal() and not quiet else None
        self._thread = threading.Thread(target=self._go, name="campaign-progress", daemon=True)

    def __enter__(self) -> Self:
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._screen is not None:
            self._screen.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Draw nothing inside: a person may be asked for a password."""
        with self._drawing:
            if self._screen is not None:
                self._screen.close()
            yield

    # what a run reports

    def passed(self, row: int) -> None:
        """A row is proven already."""
        with self._lock:
            self._tally.passed(row)

    def works(self, progress: Progress) -> None:
        """A row in work goes on."""
        with self._lock:
            self._tally.works(progress)

    def ended(self, result: RowResult) -> None:
        """The delivery of a row has ended."""
        with self._lock:
            self._tally.ended(result)
            place = self._places.pop(result.row, None)
        if result.state == "failed":
            place = place or self._index[result.row].row.place
            self._say(f"Row {result.row} ({place}) failed: {result.reason}")
        self._say_tenth()

    def adopted(self, row: int) -> None:
        """A row that another process left is delivered, too."""
        with self._lock:
            self._tally.add(row)
        if not self._quiet:
            self._say(f"Row {row} is taken over: its worker died.")

    def waiting(self, rows: Sequence[int]) -> None:
        """Other workers hold these rows, and nothing else is left."""
        if not self._quiet:
            self._say(f"Waiting for {counted(len(rows), 'row')} that other workers hold.")

    def said(self, row: int, line: str) -> None:
        """A worker printed a line."""
        if line.strip():
            self._say(f"Row {row}: {printable(line)}")

    # drawing

    def _go(self) -> None:
        while not self._over.wait(_DRAWN):
            try:
                with self._drawing:
                    self._tick()
            except (OSError, ValueError):  # stderr was closed, which must not end a run
                return

    def _tick(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._pace.sample(now, self._tally.bytes_now)
            whole = self._whole(now)
            rows = [self._line(progress) for progress in self._tally.in_work.values()]
        if self._screen is not None:
            self._screen.draw(whole, rows)
        elif now >= self._last + _SAID:
            self._last = now
            self._say(whole)

    def _say_tenth(self) -> None:
        """A plain line for each tenth of the rows."""
        if self._screen is not None or self._quiet:
            return
        now = time.monotonic()
        with self._lock:
            tally = self._tally
            tenth = (tally.rows - tally.left) * _TENTHS // max(tally.rows, 1)
            if tenth <= self._tenth or now < self._last + _APART:
                return
            self._tenth, self._last = tenth, now
            whole = self._whole(now)
        self._say(whole)

    def _whole(self, now: float) -> str:
        """The totals in one line."""
        tally = self._tally
        parts = [f"{tally.before + tally.proven:,} of {counted(tally.rows, 'row')} proven"]
        if tally.failed:
            parts.append(f"{len(tally.failed):,} failed")
        done, size = tally.bytes_before + tally.bytes_now, tally.bytes
        parts.append(f"{tally.files_before + tally.files_now:,} of {counted(tally.files, 'file')}")
        parts.append(f"{human_size(done)} of {human_size(size)}")
        if speed := self._pace.per_second():
            parts.append(f"{human_size(int(speed))}/s")
        ended = tally.proven + len(tally.failed)
        by_rows = time_left(now - self._begun, ended, tally.left)
        by_size = time_left(now - self._begun, tally.bytes_now, size - done)
        if by_rows is not None and by_size is not None:
            parts.append(f"about {_duration(max(by_rows, by_size))} left")
        return ", ".join(parts)

    def _line(self, progress: Progress) -> str:
        row = progress.row
        if row not in self._places:
            self._places[row] = self._index[row].row.place
        sent = (
            f", {progress.files:,} of {counted(self._index.files(row), 'file')}" if progress.phase == "sending" else ""
        )
        return f"  row {row}  {self._places[row]}  {progress.phase}{sent}"


class _Screen:
    """The lines at the bottom of a terminal; what is printed meanwhile appears above them."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._console: Console | None = None
        self._live: Any = None

    def draw(self, whole: str, rows: Sequence[str]) -> None:
        from rich.text import Text

        live = self._live or self._begin()
        height, width = live.console.height, max(1, live.console.width - _MARGIN)
        shown = list(rows[: max(0, height - _FREE)])
        if len(shown) < len(rows) and shown:
            shown[-1] = f"  and {len(rows) - len(shown) + 1:,} others"
        text = Text("\n".join(printable(line) for line in (whole, *shown)), no_wrap=True, overflow="ellipsis")
        for line in (lines := text.split("\n")):
            line.truncate(width, overflow="ellipsis")
        live.update(Text("\n").join(lines), refresh=True)

    def _begin(self) -> Any:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, no_color=not self._color, highlight=False, markup=False, emoji=False)
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._live.start()
        return self._live

    def close(self) -> None:
        """Erase the lines."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _duration(seconds: float) -> str:
    """A duration, rounded like an estimate."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"
