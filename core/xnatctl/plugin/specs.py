"""What plugins declare: frozen, keyword-only records whose targets are strings `"module:attribute"`.

Nothing here is imported to be declared, so a page of declarations costs nothing. Fields may be added with
defaults, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from xnatctl.model.plan import Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One setting of a plugin: a flag (`--NAME`), a variable, a key of the profile and a row of the documentation.

    `type` is `str`, `int`, `float`, `bool` or a tuple of the allowed texts; `envvar` defaults to none.
    """

    name: str
    help: str
    type: type | tuple[str, ...] = str
    default: Any = None
    envvar: str | None = None
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportSpec:
    """A way to move bytes. `target(context)` makes one `Transport` per worker.

    `settle` says where a delivered item is: `session` = in an import session on the server that core settles and
    verifies (xnat-import 4 to 6); `none` = the receiver took it, and that is all that can be said.
    `modules` are looked for without importing them; one that is absent makes the transport `unmet`, and the
    message names `extra`. `command` is the one command that a transport is for when `session upload` is not (its
    options are flags there and nowhere else). `default_workers` batches are in flight at once when nobody names a
    number, and where `most_workers` is more, up to that many, as the server bears it.

    `destination` is a target of its own, with `settle="none"`: called with the options, it returns the address that the
    transport delivers to, without any secret. Journal, dry run, report and `upload status` use it: two addresses are
    two uploads. Without it every option counts as part of the address, and none is shown.
    """

    name: str
    summary: str
    target: str
    payload: Payload = Payload.DICOM
    options: tuple[Option, ...] = ()
    modules: tuple[str, ...] = ()
    extra: str | None = None
    default_workers: int = 4
    most_workers: int = 0
    settle: Literal["session", "none"] = "session"
    command: str | None = None
    destination: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialSourceSpec:
    """A place where credentials may be found. Sources are asked by `order`, lowest first.

    `target()` makes a `CredentialSource`. `verbs` says which of get, check, store and erase it offers; an
    `interactive` source is asked only on a terminal.
    """

    name: str
    summary: str
    target: str
    order: int = 60
    verbs: frozenset[str] = frozenset({"get"})
    interactive: bool = False
    modules: tuple[str, ...] = ()
    extra: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatterSpec:
    """A way to print a document; its name is a value of `-o`. `streams` = writes rows as they come."""

    name: str
    summary: str
    target: str
    streams: bool = False
    modules: tuple[str, ...] = ()
    extra: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandSpec:
    """A command: `path` such as "session list", `target` a click command, imported only to run."""

    path: str
    summary: str
    target: str
    modules: tuple[str, ...] = ()
    extra: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpec:
    """A kind of stage: what a step of a plan does. `target(context, stage)` makes a `StageRunner`.

    `name` is what `Stage.kind` says. `server` = it needs an XNAT, and gets a client that is logged in. `grouped`
    = stages of this kind that follow each other go to one runner: `target(context, stages)`. `goes_on` = the stages
    after it run even when it fails. `locate` is a target of its own, for a plan that begins with this kind: called as
    `locate(client, plan)`, it returns the plan with the destination as the server names it, and the session of it or
    None.
    """

    name: str
    summary: str
    target: str
    server: bool = True
    grouped: bool = False
    goes_on: bool = False
    locate: str | None = None
    modules: tuple[str, ...] = ()
    extra: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSpec:
    """A line of `xnatctl doctor`. `target(app)` returns a `CheckResult`."""

    name: str
    summary: str
    target: str
    modules: tuple[str, ...] = ()
    extra: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What a check found: `status` is ok, warning or failed; `hint` says what to do."""

    status: Literal["ok", "warning", "failed"]
    message: str
    hint: str | None = None


#: Everything that a plugin can register.
Spec = TransportSpec | CredentialSourceSpec | FormatterSpec | CommandSpec | CheckSpec | StageSpec
