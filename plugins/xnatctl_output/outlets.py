"""Outlets of progress: redrawn lines on a terminal, or occasional plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from xnatctl.api import with_label, wrapped
from xnatctl.api.system import obeys_escapes
from xnatctl_output.state import State, one_line
from xnatctl_output.wording import arrived, plain, screen

if TYPE_CHECKING:
    from rich.console import Console

#: Elsewhere than on a terminal, a line after so many files, but not more often than for each tenth of them; and a line
#: after so many seconds without one.
_FILES, _TENTHS, _SECONDS = 100, 10, 30.0
#: Shorter activities are not shown on a terminal (seconds).
_AT_ONCE = 0.4
#: Columns on the right that stay free: with the ^C that a terminal writes there, the line would go on in the next one.
_MARGIN = 3


class Outlet(Protocol):
    """`period` is the time between two drawings, in seconds."""

    period: float

    def draw(self, state: State) -> None:
        """Show the state as it is now."""

    def passed(self, state: State) -> None:
        """Report that a file arrived, if due."""

    def began(self, message: str) -> None:
        """Report a new activity."""

    def line(self, text: str) -> None:
        """Print a permanent line."""

    def warn(self, text: str) -> None:
        """Print a warning, also with `-q`."""

    def close(self) -> None:
        """Restore the terminal."""


class Lines:
    """Plain lines on stderr, without a control character."""

    period = 1.0

    def __init__(self, clock: Callable[[], float], *, color: bool = False) -> None:
        self._clock, self._color = clock, color
        self._last = clock()
        self._said = 0

    def draw(self, state: State) -> None:
        if state.busy and self._clock() >= self._last + _SECONDS:
            self.line(plain(state))

    def passed(self, state: State) -> None:
        tally = state.tally
        step = _FILES * max(1, -(-tally.files // (_TENTHS * _FILES)))
        if tally.done_files < self._said:
            self._said = 0  # another run began
        if tally.done_files >= min(tally.files, self._said + step):
            self._said = tally.done_files
            self.line(arrived(state))

    def began(self, message: str) -> None:
        self.line(message)

    def line(self, text: str) -> None:
        self._last = self._clock()
        self.warn(text)

    def warn(self, text: str) -> None:
        _print(text, color=self._color)

    def close(self) -> None:
        """Nothing to restore."""


class Terminal:
    """One or two lines at the bottom, erased at the end; other lines are printed above them."""

    period = 0.2

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._live: Any = None
        self._turn = 0

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, no_color=not self._color, highlight=False, markup=False, emoji=False)

    def draw(self, state: State) -> None:
        if not state.busy:
            self.close()
            return
        if self._live is None and state.seconds < _AT_ONCE:
            return
        from rich.cells import cell_len
        from rich.live import Live
        from rich.text import Text

        self._turn += 1
        width = max(1, self._console.width - _MARGIN)
        unicode = (self._console.encoding or "").lower().startswith("utf")
        lines = screen(state, width, turn=self._turn, unicode=unicode, cells=cell_len)
        text = Text("\n".join(lines), no_wrap=True, overflow="crop")
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._live.update(text, refresh=True)

    def passed(self, state: State) -> None:
        """The next drawing shows it."""

    def began(self, message: str) -> None:
        """The next drawing shows it."""

    def line(self, text: str) -> None:
        from rich.text import Text

        line = wrapped(one_line(text), sys.stderr)
        self._console.print(Text.from_ansi(with_label(line)) if self._color else line, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.line(text)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class Warnings:
    """For `-q`: only warnings."""

    period = 0.0

    def __init__(self, *, color: bool) -> None:
        self._color = color

    def draw(self, state: State) -> None:
        """Nothing."""

    def passed(self, state: State) -> None:
        """Nothing."""

    def began(self, message: str) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        _print(text, color=self._color)

    def close(self) -> None:
        """Nothing to restore."""


def outlet_for(*, quiet: bool, color: bool, clock: Callable[[], float]) -> Outlet:
    """The outlet for this process."""
    if quiet:
        return Warnings(color=color)
    if obeys_escapes(sys.stderr):
        return Terminal(color=color)
    return Lines(clock, color=color)


def _print(text: str, *, color: bool) -> None:
    line = one_line(text)
    print(with_label(line) if color else line, file=sys.stderr, flush=True)  # noqa: T201 - stderr is where progress goes
