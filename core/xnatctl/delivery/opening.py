"""Opening the journal of a plan, with every other run to the same destination locked out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.lock import Lock
from xnatctl.delivery.journal.store import Store, journal_key, remove
from xnatctl.delivery.journal.summaries import summaries
from xnatctl.delivery.services import Services
from xnatctl.errors import Interrupted, JournalError, NotArchived, XnatctlError
from xnatctl.model.plan import UploadPlan, UploadRequest

#: The address that a receiver transport delivers to with its options, None where it names none.
Address = Callable[[str, Mapping[str, Any]], str | None]


@contextmanager
def open_journal(services: Services, plan: UploadPlan) -> Iterator[Journal]:
    """The journal of the destination of a plan. Raises Refused, JournalError."""
    receiver = _receiver(services.address, plan) if plan.hands_over else ()
    path = journal_path(plan, services.journals, services.address)
    with _lock(services, path.stem):
        if receiver and services.resume and not path.exists():
            _take_over(services, plan, path, receiver)
        try:
            with (
                closing(Store(path, fresh=not services.resume)) as store,
                closing(Journal(store, services.redactor)) as journal,
                _kept_if_touched(store),
            ):
                yield journal
        except _Untouched as nothing:
            remove(path)  # there is nothing to finish, and the report names the command to run again
            raise nothing.error from None


def journal_path(plan: UploadPlan, directory: Path, address: Address) -> Path:
    """The file of the journal of a plan. Raises what `address` raises."""
    resources = [stage.resource for stage in plan.stages if stage.resource] if plan.is_resources_only else []
    receiver = _receiver(address, plan) if plan.hands_over else ()
    return (
        directory
        / f"{journal_key(plan.destination, plan.root if plan.hands_over else None, resources, receiver)}.sqlite"
    )


def exclusively(services: Services, kind: str, key: str) -> closing[Lock]:
    """Keep other runs on this machine away from what a key names, whatever plan they come with. Raises Refused."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return _lock(services, f"{kind}-{digest}")


class _Untouched(Exception):
    """A run ended before anything was known of any file."""

    def __init__(self, error: XnatctlError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def _kept_if_touched(store: Store) -> Iterator[None]:
    """Raises _Untouched for a run that reached nobody; one that waits for something, or was interrupted, is kept."""
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
    """A transport that hands over, and the address that it delivers to: all its options, where it names none."""
    address = address_of(name, options)
    return name, address if address is not None else json.dumps(dict(options), sort_keys=True, default=str)


def _take_over(services: Services, plan: UploadPlan, new: Path, receiver: tuple[str, str]) -> None:
    """Go on with the journal of an earlier version, whose name did not tell receivers apart, if it is of this one."""
    for summary in summaries(new.parent):
        where = summary.destination
        names = (where.project.casefold(), where.session.casefold(), summary.root)
        if names != (plan.destination.project.casefold(), plan.destination.session.casefold(), plan.root):
            continue
        try:
            request = UploadRequest.from_document(summary.request["request"])
            same = (
                not request.settles and _receiver_of(services.address, request.transport, request.options) == receiver
            )
        except (KeyError, TypeError, ValueError, XnatctlError):
            continue  # it does not say where it went, so it is not of this address
        if same:
            with _lock(services, summary.id):
                Store(summary.path).close()  # so that no side file is left, and the rename moves all of it
                try:
                    summary.path.rename(new)
                except OSError as error:
                    hint = "Check the permissions there."
                    raise JournalError(f"Cannot rename {summary.path}: {error.strerror}.", hint=hint) from error
            return


def _lock(services: Services, name: str) -> closing[Lock]:
    """The lock of a name in the directory of the journals. Raises Refused, JournalError."""
    path = services.journals / f"{name}.lock"
    return closing(Lock(path, _sleep, limit=services.lock_wait, tell=services.say))


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)  # the main thread, with nothing else to do; Ctrl-C ends it
    return True
