"""Wraps objects of plugins, so that every method is called through the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self, TextIO

from xnatctl.errors import OutOfMemory, is_out_of_memory
from xnatctl.model.document import Document
from xnatctl.model.events import Emit
from xnatctl.model.outcome import BatchResult
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.guard import PATIENT, QUICK, Guard, Named, is_explained, unlimited
from xnatctl.plugin.protocols import (
    ConnectedTransport,
    Credential,
    CredentialRequest,
    Formatter,
    Transport,
)
from xnatctl.plugin.specs import CredentialSourceSpec

_TRANSPORT_HINT = (
    "This is a bug in the plugin. Use another --mode and report the bug to its author. Delivered files are not "
    "affected."
)


class Guarded:
    """A target, or a method: calling it calls the code of the plugin through the guard.

    `what` names it in messages. `quote` and `limit` as in `Guard.around`.
    """

    def __init__(
        self,
        guard: Guard,
        what: str,
        plugin: Named,
        function: Callable[..., Any],
        *,
        quote: bool = True,
        limit: float | None = None,
    ) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._function, self._quote, self._limit = function, quote, limit

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with self._guard.around(self._what, self._plugin, quote=self._quote, limit=self._limit):
            return self._function(*arguments, **named)


class GuardedTransport:
    """A transport. `send` and `rest` do without redirecting standard output: the run around them does it once."""

    def __init__(self, guard: Guard, what: str, plugin: Named, transport: Transport) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._transport = transport

    def __enter__(self) -> Self:
        with self._guard.around(self._what, self._plugin):
            self._transport = self._transport.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        # The return value is ignored, so that a transport cannot suppress an error of the run.
        with self._guard.around(self._what, self._plugin):
            self._transport.__exit__(kind, error, trace)

    def describe(self) -> Mapping[str, str]:
        """See `Transport`."""
        with self._guard.around(self._what, self._plugin, limit=QUICK):
            return dict(self._transport.describe())

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        """See `Transport`; each step of an iterator is guarded."""
        with self._guard.around(self._what, self._plugin):
            steps = iter(self._transport.batches(items, workers))
        while True:
            with self._guard.around(self._what, self._plugin):
                try:
                    batch = next(steps)
                except StopIteration:
                    return
            yield batch

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """See `Transport`. Called once for each batch, so it costs a `try` and nothing else."""
        try:
            return self._transport.send(batch, emit)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_explained(error):
                raise
            if is_out_of_memory(error):
                raise OutOfMemory("send") from error
            raise self._guard.failure(error, self._what, self._plugin, hint=_TRANSPORT_HINT) from error

    def close(self) -> None:
        """See `Transport`."""
        with self._guard.around(self._what, self._plugin):
            self._transport.close()


class GuardedConnectedTransport(GuardedTransport):
    """A transport that keeps a connection from batch to batch."""

    _transport: ConnectedTransport

    def probe(self) -> None:
        """See `ConnectedTransport`."""
        with self._guard.around(self._what, self._plugin):
            self._transport.probe()

    def rest(self) -> None:
        """See `ConnectedTransport`."""
        try:
            self._transport.rest()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_explained(error):
                raise
            raise self._guard.failure(error, self._what, self._plugin, hint=_TRANSPORT_HINT) from error


def guarded_transport(guard: Guard, what: str, plugin: Named, transport: Transport) -> Transport:
    """A transport of a plugin."""
    kind = GuardedConnectedTransport if isinstance(transport, ConnectedTransport) else GuardedTransport
    return kind(guard, what, plugin, transport)


class GuardedSource:
    """A credential source. No text of its exceptions is quoted: it may hold a secret.

    One whose spec is `interactive` may wait for a person.
    """

    def __init__(self, guard: Guard, what: str, plugin: Named, source: Any, spec: CredentialSourceSpec) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._source = source
        self._verbs = spec.verbs
        self._interactive = spec.interactive

    def __str__(self) -> str:
        return f"{self._what} (plugin {self._plugin.name}, {self._plugin.origin})"

    @contextmanager
    def _around(self) -> Iterator[None]:
        with unlimited() if self._interactive else nullcontext():
            limit = None if self._interactive else PATIENT
            with self._guard.around(self._what, self._plugin, quote=False, limit=limit):
                yield

    def get(self, request: CredentialRequest) -> object:
        """See `CredentialSource`; the result is not checked."""
        with self._around():
            found: object = self._source.get(request)
        return found

    def check(self, request: CredentialRequest) -> None:
        """Check whether `store` can work, if the source has the verb. Raises XnatctlError."""
        if "check" not in self._verbs:
            return
        with self._around():
            self._source.check(request)

    def store(self, request: CredentialRequest, credential: Credential) -> None:
        """See `StoringCredentialSource`."""
        with self._around():
            self._source.store(request, credential)

    def erase(self, request: CredentialRequest) -> bool:
        """See `StoringCredentialSource`."""
        with self._around():
            return bool(self._source.erase(request))


class GuardedFormatter:
    """A formatter. Rendering has no time limit."""

    def __init__(self, guard: Guard, what: str, plugin: Named, formatter: Formatter) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._formatter = formatter

    def render(self, document: Document, out: TextIO) -> None:
        """See `Formatter`."""
        with self._guard.around(self._what, self._plugin):
            self._formatter.render(document, out)
