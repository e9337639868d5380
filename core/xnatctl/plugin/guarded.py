"""Wraps objects of plugins, so that every method is called through the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self, TextIO

from xnatctl.errors import OutOfMemory, is_out_of_memory
from xnatctl.model.batches import cut_batches
from xnatctl.model.document import Document
from xnatctl.model.events import Emit
from xnatctl.model.outcome import BatchResult, ItemOutcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.credentials import Credential, CredentialRequest, SessionToken
from xnatctl.plugin.emitted import CheckedEmit
from xnatctl.plugin.guard import PATIENT, QUICK, Guard, Named, is_explained, unlimited
from xnatctl.plugin.protocols import (
    BatchingReceiver,
    ConnectedTransport,
    Executor,
    FinishedUpload,
    Formatter,
    ReceiverContext,
    ReceiverTransport,
    ReportWriter,
    RowResult,
    RowWork,
    Transport,
    TransportContext,
)
from xnatctl.plugin.specs import CredentialSourceSpec

#: Limits of the batches that core cuts for a receiver transport.
_RECEIVER_BYTES = 64 * 2**20
_RECEIVER_FILES = 100

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


class _Sending:
    """What the guards of both kinds of transports share."""

    def __init__(self, guard: Guard, what: str, plugin: Named, transport: object) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._connection = transport if isinstance(transport, ConnectedTransport) else None
        self._events = None if plugin.ours else CheckedEmit(plugin)

    def __str__(self) -> str:
        return f"{self._what} (plugin {self._plugin.name}, {self._plugin.origin})"

    def _emit(self, emit: Emit) -> Emit:
        return emit if self._events is None else self._events.around(emit)

    def probe(self) -> None:
        """See `ConnectedTransport`; nothing for a transport that is none."""
        if self._connection is not None:
            with self._guard.around(self._what, self._plugin):
                self._connection.probe()

    def rest(self) -> None:
        """See `ConnectedTransport`; nothing for a transport that is none."""
        if self._connection is not None:
            with self._around():
                self._connection.rest()

    @contextmanager
    def _around(self) -> Iterator[None]:
        """Like `Guard.around`, without redirecting standard output: the run around it does that once."""
        try:
            with self._guard.noted(self._what, self._plugin):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_explained(error):
                raise
            if is_out_of_memory(error):
                raise OutOfMemory("send") from error
            raise self._guard.failure(error, self._what, self._plugin, hint=_TRANSPORT_HINT) from error

    def _steps(
        self, cut: Callable[[Sequence[UploadItem], int], Iterable[Batch]], items: Sequence[UploadItem], workers: int
    ) -> Iterator[Batch]:
        """The batches that a method of a transport cuts; each step of an iterator is guarded."""
        with self._guard.around(self._what, self._plugin, limit=PATIENT):
            steps = iter(cut(items, workers))
        while True:
            with self._guard.around(self._what, self._plugin, limit=PATIENT):
                try:
                    batch = next(steps)
                except StopIteration:
                    return
            yield batch


class GuardedTransport(_Sending):
    """A transport."""

    def __init__(self, guard: Guard, what: str, plugin: Named, transport: Transport) -> None:
        super().__init__(guard, what, plugin, transport)
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
        """See `Transport`."""
        return self._steps(self._transport.batches, items, workers)

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """See `Transport`."""
        with self._around():
            result: object = self._transport.send(batch, self._emit(emit))
            if not isinstance(result, BatchResult):
                raise TypeError(f"send returned {type(result).__name__} instead of BatchResult")
            return result

    def close(self) -> None:
        """See `Transport`."""
        with self._guard.around(self._what, self._plugin):
            self._transport.close()


class GuardedReceiver(_Sending):
    """A receiver transport as the engine uses it: like a transport whose outcomes are reported one by one."""

    def __init__(
        self,
        guard: Guard,
        what: str,
        plugin: Named,
        receiver: ReceiverTransport,
        report: Callable[[ItemOutcome], None],
    ) -> None:
        super().__init__(guard, what, plugin, receiver)
        self._receiver = receiver
        self._report = report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            self.rest()
        finally:
            self.close()

    def describe(self) -> Mapping[str, str]:
        """See `ReceiverTransport`."""
        with self._guard.around(self._what, self._plugin, limit=QUICK):
            return dict(self._receiver.describe())

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        """See `BatchingReceiver`; small batches for a transport that is none, because each item is answered alone."""
        receiver = self._receiver
        if isinstance(receiver, BatchingReceiver):
            return self._steps(receiver.batches, items, workers)
        return cut_batches(items, workers, max_bytes=_RECEIVER_BYTES, max_files=_RECEIVER_FILES)

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """See `ReceiverTransport`; each outcome is reported before the next one is asked for."""
        outcomes: list[ItemOutcome] = []
        with self._around():
            answers: object = self._receiver.send(batch, self._emit(emit))
            if not isinstance(answers, Iterable):
                raise TypeError(f"send returned {type(answers).__name__} instead of outcomes")
            for outcome in answers:
                if not isinstance(outcome, ItemOutcome):
                    raise TypeError(f"send returned {type(outcome).__name__} instead of ItemOutcome")
                if len(outcomes) == 2 * len(batch.items):  # it may never end
                    raise TypeError("send returned more outcomes than the batch has items")
                self._report(outcome)
                outcomes.append(outcome)
        return BatchResult(outcomes=tuple(outcomes))

    def close(self) -> None:
        """See `ReceiverTransport`."""
        with self._guard.around(self._what, self._plugin):
            self._receiver.close()


def guarded_transport(guard: Guard, what: str, plugin: Named, transport: Transport) -> GuardedTransport:
    """A transport of a plugin. Raises PluginUnavailable for an object that is none."""
    _require(guard, what, plugin, transport, ("describe", "batches", "send", "close"))
    return GuardedTransport(guard, what, plugin, transport)


def guarded_receiver(
    guard: Guard,
    what: str,
    plugin: Named,
    make: Callable[[ReceiverContext], ReceiverTransport],
    run: TransportContext,
    address: str,
) -> GuardedReceiver:
    """A receiver transport of a plugin, to an address. Raises PluginUnavailable for an object that is none."""
    receiver = make(
        ReceiverContext(
            address=address,
            workers=run.workers,
            options=run.options,
            open_item=run.open_item,
            items=run.items,
            stop_requested=run.stop_requested,
            commands=run.commands,
            discreet=run.discreet,
            shared=run.shared,
        )
    )
    _require(guard, what, plugin, receiver, ("describe", "send", "close"))
    return GuardedReceiver(guard, what, plugin, receiver, run.report)


def _require(guard: Guard, what: str, plugin: Named, made: object, names: Sequence[str]) -> None:
    with guard.around(what, plugin):
        if missing := [name for name in names if not callable(getattr(made, name, None))]:
            raise TypeError(f"{type(made).__name__} has no method {' and no method '.join(missing)}")


class GuardedSource:
    """A credential source. No text of its exceptions is quoted: it may hold a secret.

    One whose spec is `interactive` may wait for a person.
    """

    def __init__(self, guard: Guard, what: str, plugin: Named, source: Any, spec: CredentialSourceSpec) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._source = source
        self._verbs = spec.verbs
        self._interactive = spec.interactive
        self.renews = "renew" in spec.verbs

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

    def renew(self, request: CredentialRequest, rejected: Credential) -> object:
        """See `RenewingCredentialSource`; the result is not checked."""
        with self._around():
            found: object = self._source.renew(request, rejected)
        return found

    def check(self, request: CredentialRequest) -> None:
        """Check whether `store` can work, if the source has the verb. Raises XnatctlError."""
        if "check" not in self._verbs:
            return
        with self._around():
            self._source.check(request)

    def store(self, request: CredentialRequest, credential: SessionToken) -> None:
        """See `StoringCredentialSource`."""
        with self._around():
            self._source.store(request, credential)

    def erase(self, request: CredentialRequest) -> bool:
        """See `StoringCredentialSource`."""
        with self._around():
            return bool(self._source.erase(request))


class GuardedExecutor:
    """An executor. Waiting for rows has no time limit."""

    def __init__(self, guard: Guard, what: str, plugin: Named, executor: Executor) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._executor = executor

    def run(self, rows: Iterable[int], work: RowWork) -> Iterator[RowResult]:
        """See `Executor`; each step of the iterator is guarded."""
        with self._guard.around(self._what, self._plugin):
            results = iter(self._executor.run(rows, work))
        try:
            while True:
                with self._guard.around(self._what, self._plugin):
                    try:
                        result: object = next(results)
                    except StopIteration:
                        return
                    if not isinstance(result, RowResult):
                        raise TypeError(f"run yielded {type(result).__name__} instead of RowResult")
                yield result
        finally:
            if (close := getattr(results, "close", None)) is not None:
                with self._guard.around(self._what, self._plugin):
                    close()

    def stop(self) -> None:
        """See `Executor`."""
        with self._guard.around(self._what, self._plugin):
            self._executor.stop()


def guarded_executor(guard: Guard, what: str, plugin: Named, executor: Executor) -> GuardedExecutor:
    """An executor of a plugin. Raises PluginUnavailable for an object that is none."""
    _require(guard, what, plugin, executor, ("run", "stop"))
    return GuardedExecutor(guard, what, plugin, executor)


class GuardedReportWriter:
    """A report writer. It may ask a person for a passphrase, so it has no time limit."""

    def __init__(self, guard: Guard, what: str, plugin: Named, writer: ReportWriter) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._writer = writer

    def check(self) -> None:
        """See `ReportWriter`."""
        with self._guard.around(self._what, self._plugin):
            self._writer.check()

    def write(self, upload: FinishedUpload) -> str:
        """See `ReportWriter`."""
        with self._guard.around(self._what, self._plugin):
            place: object = self._writer.write(upload)
            if not isinstance(place, str) or not place.strip():
                raise TypeError(f"write returned {type(place).__name__} instead of a text")
        return place


def guarded_report_writer(guard: Guard, what: str, plugin: Named, writer: ReportWriter) -> GuardedReportWriter:
    """A report writer of a plugin. Raises PluginUnavailable for an object that is none."""
    _require(guard, what, plugin, writer, ("check", "write"))
    return GuardedReportWriter(guard, what, plugin, writer)


class GuardedFormatter:
    """A formatter. Rendering has no time limit."""

    def __init__(self, guard: Guard, what: str, plugin: Named, formatter: Formatter) -> None:
        self._guard, self._what, self._plugin = guard, what, plugin
        self._formatter = formatter

    def render(self, document: Document, out: TextIO) -> None:
        """See `Formatter`."""
        with self._guard.around(self._what, self._plugin):
            self._formatter.render(document, out)
