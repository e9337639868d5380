"""Sends the events of a command to the log and to every observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from xnatctl.log import Log
from xnatctl.model.events import Event, EventKind

if TYPE_CHECKING:
    from xnatctl.plugin.registry import Registry
    from xnatctl.redaction import Redactor

#: Too frequent for a log.
_UNLOGGED = frozenset({EventKind.BYTES_SENT, EventKind.PREPARING})


class EventPublisher:
    """Publishes events in the main thread. COMMAND_STARTED precedes the first; `display` gives its data."""

    def __init__(self, registry: Callable[[], Registry], display: Callable[[], Mapping[str, object]], log: Log) -> None:
        self._log = log
        self._registry = registry
        self._display = display
        self._begun = False

    def publish(self, event: Event) -> None:
        """Publish an event. Events about one file are logged at debug level, because file names may identify people."""
        registry = self._registry()
        if not self._begun:
            self._begun = True
            registry.load_all()
            registry.tell(Event(kind=EventKind.COMMAND_STARTED, data=self._display()))
        if event.kind not in _UNLOGGED and self._log.wanted:
            write = self._log.debug if event.kind is EventKind.ITEM_DONE else self._log.info
            write(str(event.kind), **({"message": event.message} if event.message else {}), data=event.data)
        registry.tell(_without_secrets(event, self._log.redactor))

    def publish_preparing(self, message: str, **data: object) -> None:
        """Publish a PREPARING event: an activity outside a run."""
        self.publish(Event(kind=EventKind.PREPARING, message=message, data=data))

    def end(self) -> None:
        """Publish COMMAND_DONE, so that observers release the terminal; the next event starts again."""
        if self._begun:
            self._begun = False
            self._registry().tell(Event(kind=EventKind.COMMAND_DONE))


def _without_secrets(event: Event, redactor: Redactor) -> Event:
    """The event with secrets masked in its texts, because observers print and store them."""
    texts = {key: value for key, value in event.data.items() if isinstance(value, str)}
    whole = "\n".join((event.message or "", *texts.values()))
    if redactor.redact(whole) == whole:  # as in nearly all events; `redact` masks all that `redact_output` does
        return event
    masked = {
        key: redactor.redact(value) if key == "reason" else redactor.redact_output(value)
        for key, value in texts.items()
    }
    return replace(event, message=redactor.redact(event.message or ""), data={**event.data, **masked})
