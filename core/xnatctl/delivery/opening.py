"""Opens the journal of a plan and locks its destination."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.lock import Lock
from xnatctl.delivery.journal.store import Store, journal_key, remove
from xnatctl.delivery.journal.summaries import items_of, summaries
from xnatctl.delivery.services import Services
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import Interrupted, JournalError, NotArchived, XnatctlError
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.secret import public

#: The address that a receiver transport delivers to with its options; None if it defines none.
Address = Callable[[str, Mapping[str, Any]], str | None]


@contextmanager
def open_journal(services: Services, plan: UploadPlan) -> Iterator[Journal]:
    """Open the journal of a plan's destination. Raises Refused, JournalError."""
    receiver = _receiver(services.address, plan) if plan.hands_over else ()
    path = journal_path(plan, services.journals, services.address)
    with _lock(services, path.stem):
        if receiver and services.resume and not plan.sources and not path.exists():
            _take_over(services, plan, path, receiver)
        try:
            with (
                closing(Store(path, fresh=not services.resume, private=services.private_journals)) as store,
                closing(Journal(store, services.redactor)) as journal,
                _kept_if_touched(store),
            ):
                yield journal
        except _Untouched as nothing:
            remove(path)  # there is nothing to finish; the report names the command to run again
            raise nothing.error from None


def journal_path(plan: UploadPlan, directory: Path, address: Address) -> Path:
    """The path of the journal of a plan. Raises the errors of `address`."""
    resources = [stage.resource for stage in plan.stages if stage.resource] if plan.is_resources_only else []
    receiver = _receiver(address, plan) if plan.hands_over else ()
    return (
        directory
        / f"{journal_key(plan.destination, _what(plan) if plan.hands_over else None, resources, receiver)}.sqlite"
    )


def sent_digests(services: Services, plan: UploadPlan) -> dict[str, str]:
    """The digests of the bytes that the journal of a plan has sent, by path; without the files whose digest is unknown.

    `plan.destination` is as the server names it, as in the report. Raises JournalError.
    """
    path = journal_path(plan, services.journals, services.address)
    return {entry.path: entry.digest for entry in items_of(path) if entry.digest is not None}


def exclusively(services: Services, kind: str, key: str) -> AbstractContextManager[object]:
    """Hold an exclusive lock on a key on this machine. Raises Refused."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return _lock(services, f"{kind}-{digest}")


class _Untouched(Exception):
    """A run ended before anything was recorded about a file."""

    def __init__(self, error: XnatctlError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def _kept_if_touched(store: Store) -> Iterator[None]:
    """Raise _Untouched for a run that recorded nothing; an interrupted or waiting run is kept."""
    try:
        yield
    except (NotArchived, Interrupted, JournalError):
        raise
    except XnatctlError as error:
        if store.untouched():
            raise _Untouched(error) from error
        raise


def _receiver(address: Address, plan: UploadPlan) -> tuple[str, str]:
    stage = plan.sending[0]
    return _receiver_of(address, stage.transport or "", stage.transport_options)


def _receiver_of(address_of: Address, name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the address of a receiver transport; its public options if it defines no address."""
    address = address_of(name, options)
    return name, address if address is not None else json.dumps(public(options), sort_keys=True, default=str)


def _what(plan: UploadPlan) -> str:
    """What is uploaded, which tells apart the uploads to one receiver."""
    return json.dumps(plan.sources) if plan.sources else plan.root


def _take_over(services: Services, plan: UploadPlan, new: Path, receiver: tuple[str, str]) -> None:
    """Rename a matching journal of an earlier version, whose name did not distinguish receivers."""
    for summary in summaries(new.parent):
        where = summary.destination
        names = (where.project.casefold(), where.session.casefold())
        asked = (plan.destination.project.casefold(), plan.destination.session.casefold())
        if summary.root != plan.root or (any(asked) and names != asked):
            continue  # a request for a receiver used to name labels
        if plan.destination.server and where.server and where.server != plan.destination.server:
            continue  # its options may name this address only from here: they may be relative paths
        try:
            request = UploadRequest.from_document(summary.request["request"])
            same = (
                not request.settles and _receiver_of(services.address, request.transport, request.options) == receiver
            )
        except (KeyError, TypeError, ValueError, XnatctlError):
            continue  # it does not record its address, so it may belong to another receiver
        if same:
            with _lock(services, summary.id):
                Store(summary.path).close()  # closes the side files, so that the rename moves everything
                try:
                    summary.path.rename(new)
                except OSError as error:
                    hint = "Check the permissions there."
                    raise JournalError(f"Cannot rename {summary.path}: {error.strerror}.", hint=hint) from error
            return


def _lock(services: Services, name: str) -> AbstractContextManager[object]:
    """Acquire a lock in the directory of the journals, unless that is private. Raises Refused, JournalError."""
    if services.private_journals:
        return nullcontext()
    path = services.journals / f"{name}.lock"
    stop = services.stop or StopToken()

    def wait(seconds: float) -> bool:
        stop.wait(seconds)  # in the main thread, which Ctrl-C interrupts
        stop.check()
        return True

    return closing(Lock(path, wait, limit=services.lock_wait, tell=services.say))
