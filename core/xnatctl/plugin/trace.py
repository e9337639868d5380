"""Prints every call of a plugin's code, with its time: for authors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xnatctl.plugin.guard import Guard, Named, Report


class TracingGuard(Guard):
    """A guard that prints a line after each call. Arguments and results are not printed."""

    notes = True

    def __init__(self, report: Report, write: Callable[[str], None]) -> None:
        super().__init__(report)
        self._write = write

    @contextmanager
    def noted(self, what: str, plugin: Named) -> Iterator[None]:
        """See `Guard.noted`."""
        name = f"{what} (plugin {plugin.name}, {plugin.origin})"
        begun = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self._write(f"{name}: {type(error).__name__} after {_milliseconds(begun)}")
            raise
        self._write(f"{name}: {_milliseconds(begun)}")

    @contextmanager
    def around(self, what: str, plugin: Named, *, quote: bool = True, limit: float | None = None) -> Iterator[None]:
        """See `Guard.around`."""
        with super().around(what, plugin, quote=quote, limit=limit), self.noted(what, plugin):
            yield


def _milliseconds(begun: float) -> str:
    return f"{(time.perf_counter() - begun) * 1000:.1f} ms"
