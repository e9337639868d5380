"""The services that a run needs besides its plan, independent of the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnatctl.delivery.engine.batch_sender import TransportFactory
from xnatctl.delivery.engine.retry import RetryPolicy
from xnatctl.delivery.schedule import WAIT
from xnatctl.delivery.stopping import StopToken
from xnatctl.model.commands import PLAIN, Commands
from xnatctl.model.events import Event
from xnatctl.model.plan import UploadItem
from xnatctl.plugin.specs import StageSpec
from xnatctl.redaction import Redactor
from xnatctl.xnat.client import XnatClient


@dataclass(frozen=True, kw_only=True, slots=True)
class StageKind:
    """A kind of stage that can be run.

    `load(target)` imports a target of the spec, by default the factory of runners. Errors of a runner inside
    `blaming()` name its plugin.
    """

    spec: StageSpec
    load: Callable[[str], Callable[..., Any]]
    blaming: Callable[[], AbstractContextManager[None]] = nullcontext


def _no_client() -> XnatClient:
    raise ValueError("this plan needs a server, and the services have no client")


def _no_address(transport: str, options: Mapping[str, Any]) -> str | None:
    return None


def _unsaid(text: str) -> None:
    """The default: print nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The services that deliver plans.

    `transport` finds the factory of a transport, `stage` a kind of stage, by name; both raise PluginUnavailable or
    UsageError. `address` returns the address of a receiver transport with these options; None if it defines none.
    `connect` returns a logged-in client. `journals` is the directory of the journals and their locks. `tell` gets every
    event, `say` prints lines; both run in the main thread.

    `commands` makes the commands of hints, such as the one that finishes the job. `redactor` masks secrets in the
    journal. `resume`: continue from the journal. `wait` is the time limit of settling in seconds, `lock_wait` that of
    waiting for another run to the same destination. `policy` decides on retries. `stop` stops the run from another
    thread, and fences its writes; it is for one plan, or for all plans of a command.
    `archiving` makes the permit that a run holds while the server archives its session. Waiting for the permit does not
    use up `wait`; it must end with Interrupted when `stop` is requested.
    `tell_digest` gets the SHA-256 (hex) of the content of each item, when it was read to be sent, from any thread, and
    of those items that earlier runs sent whose SHA-256 the journal holds. Without it other digests are computed, which
    cost less.
    `private_journals`: no other process uses the directory of the journals meanwhile. Then neither locks of the system
    nor shared memory are used, which network file systems may lack.
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
    stop: StopToken | None = None
    archiving: Callable[[], AbstractContextManager[object]] = nullcontext
    tell_digest: Callable[[UploadItem, str], None] | None = None
    private_journals: bool = False
