"""The protocols of the targets of specs, and the objects that core passes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TextIO, runtime_checkable

from xnatctl.model.commands import PLAIN, Commands
from xnatctl.model.document import Document
from xnatctl.model.events import Emit
from xnatctl.model.outcome import BatchResult, ItemOutcome
from xnatctl.model.plan import Batch, UploadItem, UploadPlan, UploadRequest
from xnatctl.model.refs import Destination, ResourceRef
from xnatctl.model.report import Report


class Reader(Protocol):
    """The bytes of one item, in order. Raises `SourceChanged` if they are not as planned."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, `b""` at the end."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A request body that can be produced again. `chunks()` starts from the first byte each time.

    `length` is the exact number of bytes, known before the first one is read.
    """

    length: int
    chunks: Callable[[], Iterator[bytes]]


class Importer(Protocol):
    """The import service for one session, as core hands it to a REST transport.

    Adds destination, `rename`, `prevent_auto_commit` and the rest, reads the answer, and
    turns it, or its absence, into one outcome per item.
    """

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version, such as (1, 8, 11)."""
        ...

    def deliver(
        self, items: Sequence[UploadItem], *, handler: str, content_type: str, body: Body, emit: Emit
    ) -> BatchResult:
        """POST `body` to the import service. Never raises for something that one outcome per item can say."""
        ...

    def parameters(self, handler: str) -> dict[str, str]:
        """The query of an import into the session, for a transport that has the server import by `context.http`.

        Says nothing of a body: a request that brings one also needs `inbody=true`.
        """
        ...


class HttpResponse(Protocol):
    """A response with status 2xx."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name, without cookies."""
        ...

    @property
    def content(self) -> bytes:
        """The body."""
        ...

    @property
    def text(self) -> str:
        """The body as text."""
        ...

    def json(self) -> Any:
        """The body as JSON. Raises NotXnat for another body."""
        ...

    def lines(self) -> list[str]:
        """The lines of the body, such as those of a `text/uri-list`, without blank ones."""
        ...


class Http(Protocol):
    """Requests to the XNAT server of the run, logged in; shared by all workers.

    A path begins with `/data/` or `/xapi/` and is below the base URL; `url_path` of `xnatctl.api.xnat` makes one of
    names. Absolute URLs, other hosts, `..`, queries in the path, and the login raise ValueError. Limits of time, a new
    login when the session has ended, and interrupts are core's. What is not 2xx raises the XnatctlError that it means:
    let it pass from `send`, and core decides from it what is sent again.
    """

    def get(self, path: str, *, params: Mapping[str, str] | None = None) -> HttpResponse:
        """Repeated without asking while the server does not answer."""
        ...

    def put(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> HttpResponse:
        """Sent once. `on_bytes` gets the number of bytes that were sent, each time; a `ByteCounter` makes progress."""
        ...

    def post(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> HttpResponse:
        """Like `put`."""
        ...

    def delete(self, path: str, *, params: Mapping[str, str] | None = None) -> HttpResponse:
        """Sent once."""
        ...


class _NotSending:
    """Stands where a context has no way to send, because its transport only describes itself or uses another way."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"this context has no {name}: nothing is sent, or not in this way")


_NOT_SENDING: Final[Any] = _NotSending()


def _unheard(outcome: ItemOutcome) -> None:
    """The default `report`: records nothing."""


def _as_said(item: UploadItem, text: str) -> str:
    """The default `discreet`: changes nothing."""
    return text


class ResourceWriter(Protocol):
    """One resource on the server, as core hands it to a transport whose payload is RESOURCE.

    The resource exists and may be written to. Core says whether files that are there may be replaced, reads the answer,
    and turns it, or its absence, into one outcome per item (xnat-api 4.3 to 4.7). One request at a time goes
    to a resource, so a transport is never asked to send two batches at once.
    """

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version, such as (1, 8, 11)."""
        ...

    def put_file(self, item: UploadItem, *, body: Body, emit: Emit) -> BatchResult:
        """PUT one file under its own name; only names and sizes for which `item.goes_alone` holds arrive unchanged.

        Never raises for something that one outcome per item can say.
        """
        ...

    def put_bundle(
        self, items: Sequence[UploadItem], *, form: Literal["zip", "tar", "tar.gz"], body: Body, emit: Emit
    ) -> BatchResult:
        """PUT an archive file that the server unpacks into the resource; members are called `item.name`, in UTF-8.

        A zip is read as a stream: no member may be stored with its size behind the data (xnat-api 4.6).
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportContext:
    """What a transport gets from core.

    `options` holds a value for every `Option` of the transport. A transport for sessions sends by `importer`, or by
    `http` and names the place of each item by `ItemOutcome.uri`; one with payload RESOURCE sends by `writer`, and
    `resource` says what it writes to. Using them while `describe` or `batches` runs raises RuntimeError. `open_item`
    opens the bytes of an item (a file, or a member of an archive file) and checks that they are what was planned.
    `items` is all that the stage is going to send, for those who agree on something beforehand. `report` is for batches
    whose items are answered one by one: it records an outcome at once, so that a killed process leaves at most one item
    per worker in doubt; the batch's result contains it as well. `discreet` masks patient data of an item in a text of
    the server; use it for all texts from outside. `commands` makes command lines for messages.

    `shared` is one mapping for all transports of a stage run, empty at first. Put an object there by
    `context.shared.setdefault(NAME, made)`, which is atomic, and give the object a lock of its own.
    """

    destination: Destination  # as the server names it
    workers: int  # number of workers of the stage
    options: Mapping[str, Any]
    open_item: Callable[[UploadItem], AbstractContextManager[Reader]]
    importer: Importer = _NOT_SENDING
    http: Http = _NOT_SENDING
    stop_requested: Callable[[], bool] = lambda: False  # True after an interrupt: begin nothing new
    items: Sequence[UploadItem] = ()
    report: Callable[[ItemOutcome], None] = _unheard
    writer: ResourceWriter = _NOT_SENDING
    resource: ResourceRef | None = None
    commands: Commands = PLAIN
    discreet: Callable[[UploadItem, str], str] = _as_said
    shared: MutableMapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverContext:
    """What a receiver transport gets from core.

    `address` is what `TransportSpec.destination` returned; empty without it. `open_item` and `shared` are those of
    `TransportContext`.
    """

    address: str
    workers: int  # number of workers of the stage
    options: Mapping[str, Any]  # a value for every `Option` of the transport
    open_item: Callable[[UploadItem], AbstractContextManager[Reader]]
    items: Sequence[UploadItem] = ()  # all that the stage is going to send
    stop_requested: Callable[[], bool] = lambda: False  # True after an interrupt: begin nothing new
    commands: Commands = PLAIN  # makes command lines for messages
    discreet: Callable[[UploadItem, str], str] = _as_said  # masks patient data in a text of the receiver
    shared: MutableMapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


class Transport(Protocol):
    """Packs, sends and reports outcomes; core owns pool, journal, retry, settling and verification.

    For `settle="session"`, and for the files of a resource; a transport to a receiver is a `ReceiverTransport`.

    Made once per worker by `target(context)` and used as a context manager.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def describe(self) -> Mapping[str, str]:
        """The description for `--dry-run`: uses no network and contains no secrets."""
        ...

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        """Cut `items` into the units of failure; every item exactly once."""
        ...

    def send(self, batch: Batch, emit: Emit) -> BatchResult:
        """Send one batch: one outcome per item.

        Never raises for one bad file. `TransportError`: the answer was lost, so every item is ambiguous.
        """
        ...

    def close(self) -> None:
        """Abort requests in flight; called from another thread on an interrupt, and once at the end."""
        ...


class ReceiverTransport(Protocol):
    """Sends files to a receiver that acknowledges each one; for `settle="none"`.

    Made once per worker by `target(context)` with a `ReceiverContext`. May also be a `BatchingReceiver` and a
    `ConnectedTransport`.
    """

    def describe(self) -> Mapping[str, str]:
        """The description for `--dry-run`: uses no network and contains no secrets."""
        ...

    def send(self, batch: Batch, emit: Emit) -> Iterable[ItemOutcome]:
        """Send the items of a batch; yield the outcome of each one as soon as the receiver has answered.

        Core records each outcome before it asks for the next one, so that a killed process leaves at most one item per
        worker in doubt. It may end early when `stop_requested` of the context is true. Never raises for one bad file.
        An XnatctlError concerns the items without an outcome: `TransportError` (the answer was lost) makes them
        ambiguous, `ConnectionFailed` failed; they are sent again.
        """
        ...

    def close(self) -> None:
        """Cut the connection; called from another thread on an interrupt, and once at the end."""
        ...


@runtime_checkable
class BatchingReceiver(Protocol):
    """A receiver transport that decides which items travel together; core cuts the batches of others."""

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterable[Batch]:
        """Cut `items` into batches; every item exactly once."""
        ...


@runtime_checkable
class ConnectedTransport(Protocol):
    """A transport of either kind that also keeps a connection from batch to batch."""

    def probe(self) -> None:
        """Check before sending whether sending is possible. Raises XnatctlError, which ends the stage."""
        ...

    def rest(self) -> None:
        """Release the connection: there is nothing to send now, or no more. `send` may follow."""
        ...


class StageRunner(Protocol):
    """Runs a stage of a plan; made by `StageSpec.target`."""

    def check(self) -> None:
        """Check whether the stage can run, before the first byte of the run. Raises XnatctlError."""
        ...

    def run(self) -> None:
        """Run the stage. Raises XnatctlError, including Interrupted."""
        ...

    def give_up(self) -> None:
        """End what is going on. Called on an interrupt: by whatever runs its tasks, and after `run` was left."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RowResult:
    """How the work on one row of a campaign ended. The campaign's own records decide; this is for progress.

    A row that is `held` was left to another worker, which lives.
    """

    row: int  # its number
    state: str  # "proven", "failed", "interrupted" or "held"
    exit_code: int = 0  # that of an upload of the row alone
    code: str = ""  # code of the error, such as `refused`
    reason: str = ""  # its message

    def as_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `as_document`. Raises TypeError for other data."""
        return cls(**document)


class RowWorker(Protocol):
    """Works on rows of a campaign, one at a time. It is closed when its `with` ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def run(self, row: int) -> RowResult:
        """Work on a row until it has ended. Raises XnatctlError if this worker can work on no row at all."""
        ...

    def interrupt(self) -> None:
        """End the row in work soon: its result is `interrupted`. May be called from another thread."""
        ...


class RowWork(Protocol):
    """The work of a campaign: plain data that can be pickled, without secrets, for another process or machine."""

    @property
    def directory(self) -> str:
        """The absolute path of the campaign folder, which every worker must see."""
        ...

    def open(self) -> RowWorker:
        """A worker in this process. Raises XnatctlError."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorContext:
    """What an executor gets: `workers` is how many rows may be in work at once."""

    workers: int
    options: Mapping[str, Any]  # a value for every option of the spec
    stop_requested: Callable[[], bool] = lambda: False  # True after a soft stop: begin no row
    emit: Emit = lambda _: None  # for warnings, from any thread


class Executor(Protocol):
    """Runs the rows of a campaign, each by one worker. Made by `ExecutorSpec.target`."""

    def run(self, rows: Iterable[int], work: RowWork) -> Iterator[RowResult]:
        """Run rows; yield the result of each one when it ends, in any order.

        A number is taken from `rows` only when a worker is free for it: there may be very many, and each one that is
        taken is run. When the iterator is closed early, as on Ctrl-C, interrupt the rows in work and close the workers.
        Raises XnatctlError when no worker can work.
        """
        ...

    def stop(self) -> None:
        """Begin no other row; `run` ends with the rows in work. May be called from another thread, and twice."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportWriterContext:
    """What a report writer gets before anything is read or sent."""

    request: UploadRequest  # what is asked for
    options: Mapping[str, Any]  # a value for every option of the spec
    commands: Commands = PLAIN  # makes commands for hints


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedUpload:
    """What a report writer keeps.

    `digest_of` returns the SHA-256 (hex) of the content that an item of a plan was sent with, or that it has on disk
    if an earlier run sent it, or None if it is not known. It may read the file, which takes time, but reads nothing
    after an interrupt.
    """

    report: Report  # what happened
    plans: Sequence[UploadPlan]  # one per session; empty if planning failed
    user: str  # the login name as the server gives it; empty without a login
    started: float  # seconds since the epoch
    ended: float  # likewise
    code: int  # the exit code that the upload ends with
    plugins: Sequence[tuple[str, str, str]]  # name, distribution and version of each plugin that was active
    digest_of: Callable[[UploadItem], str | None]


class ReportWriter(Protocol):
    """Keeps the report of one upload. Made by `ReportWriterSpec.target`."""

    def check(self) -> None:
        """Called before anything is read or sent. Raises XnatctlError if the report cannot be kept."""
        ...

    def write(self, upload: FinishedUpload) -> str:
        """Keep the report, also of an upload that failed; returns where, such as a path, for the output.

        It is not called for a dry run, nor for an upload that was refused before anything was sent. Exit code 0 is
        given only after it returned. Raises XnatctlError.
        """
        ...


class Formatter(Protocol):
    """Writes a document to a text stream. Made by `target()`."""

    def render(self, document: Document, out: TextIO) -> None:
        """Write the whole document."""
        ...
