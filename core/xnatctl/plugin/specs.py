"""What plugins declare: frozen, keyword-only records whose targets are strings `"module:attribute"`.

Nothing here is imported to be declared, so a page of declarations costs nothing. Fields may be added with
defaults, never renamed. Fields of a later version are ignored with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, Literal, TypeVar

from xnatctl.model.plan import Payload

#: Names of options.
_OPTION = re.compile(r"[a-z][a-z0-9_]*")
#: Verbs of credential sources.
_VERBS = frozenset({"get", "renew", "check", "store", "erase"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    """What all specs have: `unknown` names the fields that a plugin set and that only a later version has."""

    unknown: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)


R = TypeVar("R", bound=_Record)


def _texts(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(entry, str) for entry in value)


#: What a field of a spec may hold, by its type; of the other types every value is taken.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "int": lambda value: type(value) is int,
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": _texts,
    "tuple[Option, ...]": lambda value: (
        isinstance(value, tuple | list) and all(isinstance(entry, Option) for entry in value)
    ),
    "type | tuple[str, ...]": lambda value: isinstance(value, type) or (bool(value) and _texts(value)),
}


def _lenient(record: type[R]) -> type[R]:
    """Let a record be made with fields of a later version, which are kept by name and ignored.

    Core relies on the types of the others, so a value of another type is a TypeError where it is declared.
    """
    make: Callable[..., None] = record.__init__
    known = frozenset(entry.name for entry in fields(record) if entry.init)
    checked = [(entry.name, str(entry.type)) for entry in fields(record) if entry.type in _CHECKS]

    @wraps(make)
    def init(self: R, /, *arguments: Any, **values: Any) -> None:
        make(self, *arguments, **{name: value for name, value in values.items() if name in known})
        for name, kind in checked:
            if not _CHECKS[kind](value := getattr(self, name)):
                raise TypeError(f"{name} of {record.__name__} must be {kind}, not {value!r}")
        if len(values) > len(known.intersection(values)):
            object.__setattr__(self, "unknown", (*self.unknown, *sorted(values.keys() - known)))

    record.__init__ = init  # type: ignore[method-assign, assignment]
    return record


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class Option(_Record):
    """One setting of a plugin: a flag (`--NAME`), a variable, and a key below `options:` of a profile.

    `type` is `str`, `int`, `float`, `bool` or a tuple of the allowed texts. The value of a `secret` option is masked in
    every output and record. A secret option is of type `str` and has no default. A name has lower-case letters, digits
    and `_`. Raises ValueError otherwise.
    """

    name: str  # the flag is --NAME, with - for _
    help: str  # one sentence, for the help of the command
    type: type | tuple[str, ...] = str
    default: Any = None  # where neither flag nor variable nor profile has a value
    envvar: str | None = None  # a variable
    required: bool = False  # whether a command that needs the option stops without a value
    secret: bool = False  # a password, token or key
    metavar: str = ""  # what the help shows for the value, such as FILE; by default its type

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _OPTION.fullmatch(self.name):
            raise ValueError(f"an option is named by lower-case letters, digits and _, not {self.name!r}")
        if self.secret and (self.type is not str or self.default is not None):
            raise ValueError(f"the secret option {self.name} must be of type str, without a default")


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class TransportSpec(_Record):
    """A way to move bytes. `target(context)` makes one transport per worker.

    `settle` says what core does with delivered items. `session`: a `Transport` puts them into an import session on the
    server, which core settles and verifies (xnat-import 4 to 6). `none`: a `ReceiverTransport` hands them to a receiver
    that accepts each one, and core asks nothing more. Files of a resource have a `Transport`, too.
    `modules` are looked for without importing them. When one is missing, the transport is `unmet`, and the message
    names `extra`, the extra of the distribution that installs it. `command` names the command that the transport
    belongs to when that is not `session upload`; its options are flags of that command only. Without `--workers`,
    `default_workers` batches are in flight at once. Where `most_workers` is larger, core adapts the number between the
    two.

    `destination` is a target of its own, for `settle="none"` alone. It is called with the options and returns the
    address that the transport delivers to, without any secret. Journal, dry run, report and `upload status` use it: two
    addresses are two uploads. Without it every option but secret ones counts as part of the address, and no address is
    shown. A session is on its XNAT server whatever way the bytes take, so the session is its address. Raises ValueError
    for another `settle`, and for a `destination` that nothing would use.
    """

    name: str  # the value of --mode
    summary: str  # one line of `plugins list`
    target: str  # "module:attribute"
    payload: Payload = Payload.DICOM  # DICOM, or the files of a resource
    options: tuple[Option, ...] = ()  # what `TransportContext.options` holds
    modules: tuple[str, ...] = ()
    extra: str | None = None
    default_workers: int = 4
    most_workers: int = 0
    settle: Literal["session", "none"] = "session"
    command: str | None = None
    destination: str | None = None

    def __post_init__(self) -> None:
        if self.settle not in ("session", "none"):
            raise ValueError(f"settle of transport {self.name} is {self.settle!r}, and neither 'session' nor 'none'")
        if self.destination is not None and self.settle != "none":
            raise ValueError(f"transport {self.name} has a destination, which is for settle='none' alone")


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialSourceSpec(_Record):
    """A source of credentials. Sources are asked by `order`, lowest first.

    `target()` makes a `CredentialSource`. `verbs` says which of get, renew, check, store and erase it offers; an
    `interactive` source is asked only on a terminal. Each of `options` is a variable, or a key below
    `credentials: NAME:` of a profile; it is no flag. A source whose required options have no value is passed over when
    none of its options is set, else that is an error. Raises ValueError for verbs without `get`.
    """

    name: str  # its name in `credential_sources`
    summary: str  # one line of `plugins list`
    target: str
    order: int = 60
    verbs: frozenset[str] = frozenset({"get"})
    interactive: bool = False
    options: tuple[Option, ...] = ()  # what `CredentialRequest.options` holds
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then

    def __post_init__(self) -> None:
        verbs = frozenset(self.verbs)
        if "get" not in verbs:
            raise ValueError(f"the verbs of the credential source {self.name} must contain get")
        object.__setattr__(self, "verbs", verbs)
        if others := sorted(verbs - _VERBS):
            object.__setattr__(self, "unknown", (f"verbs ({', '.join(others)})",))


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class FormatterSpec(_Record):
    """A way to print a document; its name is a value of `-o`. `streams` = writes rows as they come."""

    name: str  # the value of -o
    summary: str  # one line of `plugins list`
    target: str  # makes a `Formatter`
    streams: bool = False
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class CommandSpec(_Record):
    """A command: `path` such as "session list", `target` a click command, imported only to run.

    `examples` are lines as of a shell script: comments that begin with `# `, and commands that work as they stand. The
    help shows them, and an error about missing options shows the first command. `page` is the address of the page that
    the help names; ours are paths in `docs`.
    """

    path: str
    summary: str  # one line of the help of the group
    target: str
    examples: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then
    page: str = ""  # by default the first page of our documentation


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpec(_Record):
    """A kind of stage. `target(context, stage)` makes a `StageRunner`.

    `name` is the value of `Stage.kind`. `server`: the stage needs an XNAT server, and gets a client that is logged in.
    `grouped`: one runner carries out all stages of this kind that follow each other; the target is then called with a
    sequence of stages, `target(context, stages)`. `goes_on`: the stages after it run even when it fails. `locate` is a
    target of its own, for plans that begin with this kind. `locate(client, plan)` returns the plan with the destination
    as the server names it, and the session of it or None. Nothing else of that plan is used.
    """

    name: str
    summary: str  # one line of `plugins list`
    target: str
    server: bool = True
    grouped: bool = False
    goes_on: bool = False
    locate: str | None = None
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorSpec(_Record):
    """A way to run the rows of a campaign, such as by threads or on a cluster. `target(context)` makes an `Executor`.

    `options` are flags of the command that runs the rows. They share their names with the options of transports.
    `elsewhere`: its workers run where the login of the command cannot be handed to them, as on other machines. Each
    logs in by itself, and the command does not log in.
    """

    name: str  # by which a campaign chooses it
    summary: str  # one line of `plugins list`
    target: str
    options: tuple[Option, ...] = ()  # what `ExecutorContext.options` holds
    elsewhere: bool = False
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class ReportWriterSpec(_Record):
    """Something that keeps the report of an upload, such as in a file. `target(context)` makes a `ReportWriter`.

    `options` are flags of every command that uploads. They share their names with the options of transports. A writer
    is used when one of its options has another value than its default, and always if it has no options. `digests`:
    SHA-256 is computed while files are sent, so that the writer need not read them.
    """

    name: str  # stands before what it wrote, in the output for people
    summary: str  # one line of `plugins list`
    target: str
    options: tuple[Option, ...] = ()  # what `ReportWriterContext.options` holds
    digests: bool = False
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then


@_lenient
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSpec(_Record):
    """A line of `xnatctl doctor`. `target(app)` returns a `CheckResult`."""

    name: str  # the name of the line
    summary: str  # what is checked, in a few words
    target: str
    modules: tuple[str, ...] = ()  # without one of these it is unmet
    extra: str | None = None  # what to install then


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """The result of a check: `status` is ok, warning, failed or skipped; `hint` says what to do."""

    status: Literal["ok", "warning", "failed", "skipped"]
    message: str  # one sentence
    hint: str | None = None


#: Everything that a plugin can register.
Spec = (
    TransportSpec
    | CredentialSourceSpec
    | FormatterSpec
    | CommandSpec
    | CheckSpec
    | StageSpec
    | ExecutorSpec
    | ReportWriterSpec
)
