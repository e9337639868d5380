"""Events of a command: to the log, and to every observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from xnatctl.log import Log
from xnatctl.model.events import Event, EventKind

if TYPE_CHECKING:
    from xnatctl.plugin.registry import Registry
    from xnatctl.redaction import Redactor

#: Told too often for a log.
_UNLOGGED = frozenset({EventKind.BYTES_SENT, EventKind.PREPARING})


class Telling:
    """Tells events, in the main thread. The first is preceded by COMMAND_STARTED, which has `display` for its data."""

    def __init__(self, registry: Callable[[], Registry], display: Callable[[], Mapping[str, object]], log: Log) -> None:
        self._log = log
        self._registry = registry
        self._display = display
        self._begun = False

    def tell(self, event: Event) -> None:
        """What is about one file is detail in the log: file names may tell of people."""
        registry = self._registry()
        if not self._begun:
            self._begun = True
            registry.manager.load(2)
            registry.tell(Event(kind=EventKind.COMMAND_STARTED, data=self._display()))
        if event.kind not in _UNLOGGED and self._log.wanted:
            write = self._log.debug if event.kind is EventKind.ITEM_DONE else self._log.info
            write(str(event.kind), **({"message": event.message} if event.message else {}), data=event.data)
        registry.tell(_without_secrets(event, self._log.redactor))

    def preparing(self, message: str, **data: object) -> None:
        """What is done before a run, or instead of one."""
        self.tell(Event(kind=EventKind.PREPARING, message=message, data=data))

    def end(self) -> None:
        """Have observers leave the terminal to what follows; the next event starts anew."""
        if self._begun:
            self._begun = False
            self._registry().tell(Event(kind=EventKind.COMMAND_DONE))


def _without_secrets(event: Event, redactor: Redactor) -> Event:
    """An event whose words hold no secret; observers print and store them."""
    reason = event.data.get("reason")
    if not event.message and not isinstance(reason, str):
        return event
    data = {**event.data, "reason": redactor.redact(reason)} if isinstance(reason, str) else event.data
    return replace(event, message=redactor.redact(event.message or ""), data=data)
