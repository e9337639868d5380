"""What a run needs beside its plan. Nothing of it comes from the process: no arguments, no module-level state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnatctl.delivery.engine.batch_sender import TransportFactory
from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.schedule import WAIT
from xnatctl.model.commands import PLAIN, Commands
from xnatctl.model.events import Event
from xnatctl.plugin.specs import StageSpec
from xnatctl.redaction import Redactor
from xnatctl.xnat.client import XnatClient


@dataclass(frozen=True, kw_only=True, slots=True)
class StageKind:
    """A kind of stage that can be carried out.

    `load(target)` imports a target of the spec, the one that makes runners by default. What a runner raises is said to
    be of its plugin inside `blaming()`.
    """

    spec: StageSpec
    load: Callable[[str], Callable[..., Any]]
    blaming: Callable[[], AbstractContextManager[None]] = nullcontext


def _no_client() -> XnatClient:
    raise ValueError("this plan needs a server, and the services have no client")


def _no_address(transport: str, options: Mapping[str, Any]) -> str | None:
    return None


def _unsaid(text: str) -> None:
    """For callers who show nothing to people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """What carries plans out.

    `transport` finds the factory of a transport, `stage` a kind of stage, by name; both raise PluginUnavailable or
    UsageError. `address` is where a receiver transport delivers to with these options, None where it does not say.
    `connect` returns a client that is logged in. `journals` is the directory of the journals and their locks. `tell`
    hears every event, `say` lines for people; both in the main thread.

    `commands` makes the commands of hints, among them the one that finishes the job. `redactor` masks
    secrets in what the journal keeps. `resume` = go on from the journal.
    `wait` bounds settling in seconds, `lock_wait` how long another run to the same destination is waited for. `policy`
    says how often a request is repeated.
    """

    transport: Callable[[str], TransportFactory]
    stage: Callable[[str], StageKind]
    journals: Path
    connect: Callable[[], XnatClient] = _no_client
    address: Callable[[str, Mapping[str, Any]], str | None] = _no_address
    tell: Callable[[Event], None]
    say: Callable[[str], None] = _unsaid
    commands: Commands = PLAIN
    redactor: Redactor = field(default_factory=Redactor)
    resume: bool = True
    wait: float = WAIT
    lock_wait: float = 60.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)
