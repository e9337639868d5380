"""Checks the events that transports of plugins emit: observers and progress rely on their form."""

from __future__ import annotations

from collections.abc import Mapping

from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.plugin.guard import Named


class CheckedEmit:
    """Passes on what a transport may say, and leaves out the rest with one warning that names the plugin."""

    def __init__(self, plugin: Named) -> None:
        self._plugin = plugin
        self._told = False

    def around(self, emit: Emit) -> Emit:
        """The `emit` that the plugin gets."""

        def checked(event: Event) -> None:
            problem, clean = _checked(event)
            if clean is not None:
                emit(clean)
            elif not self._told:
                self._told = True
                origin = f"plugin {self._plugin.name} ({self._plugin.origin})"
                emit(Event(kind=EventKind.WARNING, message=f"Events of {origin} are left out: {problem}."))

        return checked


def _checked(event: object) -> tuple[str, Event | None]:
    """Why an event cannot be used, or the part of it that a transport may say."""
    if not isinstance(event, Event):
        return f"{type(event).__name__} is not an Event", None
    if event.kind is EventKind.BYTES_SENT:
        number = event.data.get("bytes") if isinstance(event.data, Mapping) else None
        if type(number) is not int or not 0 <= number < 1 << 63:
            return "the number of bytes of bytes-sent is not a whole number from 0 up", None
        return "", Event(kind=EventKind.BYTES_SENT, data={"bytes": number})
    if event.kind is EventKind.WARNING:
        if not isinstance(event.message, str) or not event.message.strip():
            return "the message of a warning is not text", None
        return "", Event(kind=EventKind.WARNING, message=event.message)
    known = isinstance(event.kind, EventKind)
    return f"{event.kind} is for core to say" if known else "the kind is unknown", None
