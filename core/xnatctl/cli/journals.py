"""Opening the journal of an upload, with every other run locked out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xnatctl.errors import Interrupted, JournalError, NotArchived, PluginUnavailable, XnatctlError
from xnatctl.model.plan import Stage, StageKind, UploadPlan, UploadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from xnatctl.cli.app import App
    from xnatctl.delivery.journal.journal import Journal
    from xnatctl.delivery.journal.lock import Lock
    from xnatctl.delivery.journal.store import Store


@contextmanager
def open_journal(
    app: App, request: UploadRequest, plan: UploadPlan, *, resume: bool, lock_wait: float
) -> Iterator[Journal]:
    """The journal of the destination of a plan. Raises Refused, JournalError."""
    from xnatctl.delivery.journal.journal import Journal
    from xnatctl.delivery.journal.store import Store, journal_key, remove
    from xnatctl.delivery.resource.parent import is_resources_only
    from xnatctl.settings.paths import journal_directory, private_directory

    directory = private_directory(journal_directory())
    resources = [stage.resource for stage in plan.stages if stage.resource] if is_resources_only(plan) else []
    root = None if request.settles else plan.root
    receiver = () if request.settles else _receiver(app, _send_stage(plan))
    key = journal_key(plan.destination, root, resources, receiver)
    path = directory / f"{key}.sqlite"
    with _lock(app, key, lock_wait):
        if receiver and resume and not path.exists():
            _take_over(app, plan, path, receiver, lock_wait)
        try:
            with (
                closing(Store(path, fresh=not resume)) as store,
                closing(Journal(store, app.redactor)) as journal,
                _kept_if_touched(store),
            ):
                yield journal
        except _Untouched as nothing:
            remove(path)  # there is nothing to finish, and the report names the command to run again
            raise nothing.error from None


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


# where a transport delivers to


def with_address(app: App, request: UploadRequest, plan: UploadPlan) -> UploadPlan:
    """The plan with the address of its receiver as the server, where its transport hands over and names one."""
    if request.settles or app.registry.transport(_send_stage(plan).transport or "").spec.destination is None:
        return plan
    _, address = _receiver(app, _send_stage(plan))
    return replace(plan, destination=replace(plan.destination, server=address))


def _receiver(app: App, send: Stage) -> tuple[str, str]:
    return _receiver_of(app, send.transport or "", send.options)


def _receiver_of(app: App, name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """A transport that hands over, and the address that it delivers to: all its options, where it names none."""
    provided = app.registry.transport(name)
    if provided.spec.destination is None:
        return name, json.dumps(dict(options), sort_keys=True, default=str)
    address_of = app.registry.load(provided, target=provided.spec.destination)
    with app.registry.blaming(provided):
        address = address_of(dict(options))
    if not isinstance(address, str) or not address:
        raise PluginUnavailable(
            f"The transport {name} names no address that it delivers to.", hint="This is a fault of the plugin."
        )
    return name, address


def _send_stage(plan: UploadPlan) -> Stage:
    return next(stage for stage in plan.stages if stage.kind is StageKind.SEND)


def _take_over(app: App, plan: UploadPlan, new: Path, receiver: tuple[str, str], lock_wait: float) -> None:
    """Go on with the journal of an earlier version, whose name did not tell receivers apart, if it is of this one."""
    from xnatctl.delivery.journal.store import Store
    from xnatctl.delivery.journal.summaries import summaries

    for summary in summaries(new.parent):
        where = summary.destination
        names = (where.project.casefold(), where.session.casefold(), summary.root)
        if names != (plan.destination.project.casefold(), plan.destination.session.casefold(), plan.root):
            continue
        try:
            request = UploadRequest.from_document(summary.request["request"])
            same = not request.settles and _receiver_of(app, request.transport, request.options) == receiver
        except (KeyError, TypeError, ValueError, XnatctlError):
            continue  # it does not say where it went, so it is not of this address
        if same:
            with _lock(app, summary.id, lock_wait):
                Store(summary.path).close()  # so that no side file is left, and the rename moves all of it
                try:
                    summary.path.rename(new)
                except OSError as error:
                    hint = "Check the permissions there."
                    raise JournalError(f"Cannot rename {summary.path}: {error.strerror}.", hint=hint) from error
            return


# locks


def exclusively(app: App, kind: str, key: str, *, lock_wait: float) -> closing[Lock]:
    """Keep other runs on this machine away from what a key names, whatever plan they come with. Raises Refused."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return _lock(app, f"{kind}-{digest}", lock_wait)


def _lock(app: App, name: str, lock_wait: float) -> closing[Lock]:
    """The lock of a name in the directory of the journals. Raises Refused, JournalError."""
    from xnatctl.delivery.journal.lock import Lock
    from xnatctl.settings.paths import journal_directory, private_directory

    path = private_directory(journal_directory()) / f"{name}.lock"
    return closing(Lock(path, _sleep, limit=lock_wait, tell=app.info))


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)  # the main thread, with nothing else to do; Ctrl-C ends it
    return True
