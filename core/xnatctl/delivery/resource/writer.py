"""One resource's way onto the server: what a transport calls, and what the answers mean.

A 200 does not mean stored (contract xnat-api 4.4): a list of duplicates is looked into here, everything else is proven
by a listing afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from xnatctl.delivery.outcomes import Counted, failed_outcomes
from xnatctl.delivery.resource.compare import Comparer, Match
from xnatctl.delivery.retry import classify
from xnatctl.errors import PluginUnavailable, XnatctlError
from xnatctl.model.events import Emit
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import ResourceRef, is_plain_path
from xnatctl.plugin.protocols import Body
from xnatctl.xnat import resources
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import FileInfo, ResourceInfo
from xnatctl.xnat.resources import ResourceHome

_Put = Callable[[bool, Counted], tuple[str, ...]]


def goes_alone(item: UploadItem) -> bool:
    """True for a file that arrives unchanged by `put_file`: not empty, and with a name that a URL can carry.

    Empty bodies are refused (contract xnat-api 4.3), other names are stored as they are encoded (4.5).
    """
    return item.size > 0 and is_plain_path(item.name)


class CatalogWriter:
    """The only writer of one resource.

    `replaces` allows to replace any file, `ours` names those that may be replaced because an earlier attempt of ours
    left them: without it a second attempt would be answered by `duplicates` for ever (contract xnat-api 4.7).
    """

    def __init__(
        self,
        client: XnatClient,
        home: ResourceHome,
        resource: ResourceInfo,
        ref: ResourceRef,
        comparer: Comparer,
        *,
        version: Callable[[], tuple[int, ...]],
        replaces: bool,
        ours: Collection[str] = (),
    ) -> None:
        self._client = client
        self._home = home
        self._resource = resource
        self._ref = ref
        self._comparer = comparer
        self._version = version
        self._replaces = replaces
        self._ours = set(ours)

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version."""
        return self._version()

    @property
    def uri(self) -> str:
        """Where the resource is."""
        return f"{self._home.path}/resources/{self._resource.id}"

    def listing(self) -> dict[str, FileInfo]:
        """What the server's catalog holds now."""
        return resources.resource_files(self._client, self._home, self._resource)

    def put_file(self, item: UploadItem, *, body: Body, emit: Emit) -> BatchResult:
        """PUT one file; one outcome, whatever happens."""
        if not goes_alone(item):
            raise PluginUnavailable(
                f"The transport sends {item.path} alone, and it would be stored under another name or not at all.",
                hint="This is a fault of the plugin: such a file goes in a bundle.",
            )

        def send(overwrite: bool, count: Counted) -> tuple[str, ...]:  # noqa: FBT001 - called by _put alone
            return resources.put_file(
                self._client,
                self._home,
                self._resource,
                item.name,
                body,
                overwrite=overwrite,
                ref=self._ref,
                on_bytes=count,
            )

        return self._put((item,), emit, send)

    def put_bundle(
        self, items: Sequence[UploadItem], *, form: Literal["zip", "tar", "tar.gz"], body: Body, emit: Emit
    ) -> BatchResult:
        """PUT an archive file to be unpacked; one outcome per item, whatever happens."""

        def send(overwrite: bool, count: Counted) -> tuple[str, ...]:  # noqa: FBT001 - called by _put alone
            return resources.put_bundle(
                self._client, self._home, self._resource, form, body, overwrite=overwrite, ref=self._ref, on_bytes=count
            )

        return self._put(items, emit, send)

    def _put(self, items: Sequence[UploadItem], emit: Emit, send: _Put) -> BatchResult:
        names = {item.name for item in items}
        overwrite = self._replaces or not names.isdisjoint(self._ours)
        self._ours |= names
        sent = Counted(emit)
        try:
            kept = send(overwrite, sent)
            outcomes = self._read(items, kept)
        except XnatctlError as error:
            return BatchResult(outcomes=failed_outcomes(items, error, _classed), bytes_sent=sent.bytes)
        finally:
            sent.say()
        return BatchResult(outcomes=outcomes, uris=(self.uri,), bytes_sent=sent.bytes)

    def _read(self, items: Sequence[UploadItem], kept: Sequence[str]) -> tuple[ItemOutcome, ...]:
        """What a 200 says of each item; `kept` are names under which something was there already."""
        if not kept:
            return tuple(self._accepted(item) for item in items)
        doubtful = set(kept)
        if doubtful - {item.name for item in items}:  # names that are not as we wrote them: look at all
            doubtful = {item.name for item in items}
        listed = self.listing()
        return tuple(
            self._look(item, listed.get(item.name)) if item.name in doubtful else self._accepted(item) for item in items
        )

    def _look(self, item: UploadItem, file: FileInfo | None) -> ItemOutcome:
        match self._comparer.match(item, file):
            case Match.SAME:
                return self._accepted(item)
            case Match.ABSENT:
                return ItemOutcome(
                    path=item.path,
                    outcome=Outcome.AMBIGUOUS,
                    failure=FailureClass.CONCURRENT,
                    reason="the server holds a file of that name that its catalog does not list; replacing it",
                )
            case _:
                return ItemOutcome(
                    path=item.path,
                    outcome=Outcome.REJECTED,
                    reason="another file of that name appeared on the server meanwhile; --overwrite replaces it",
                )

    def _accepted(self, item: UploadItem) -> ItemOutcome:
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=self.uri)

    def repair(self) -> None:
        """Have the server enter into the catalog what lies beside it on its disk."""
        resources.refresh_catalog(self._client, self._home, self._ref)

    def reconcile(self, items: Sequence[UploadItem], failure: FailureClass) -> tuple[ItemOutcome, ...]:
        """Outcomes of those items that are on the server although their request failed (contract xnat-api 7, 4.7).

        After a conflict the files lie on the disk of the server without being in its catalog, so that is repaired
        first. Only a checksum proves that a file is there.
        """
        if failure is FailureClass.CONCURRENT:
            self.repair()
        listed = self.listing()
        return tuple(
            self._accepted(item) for item in items if self._comparer.match(item, listed.get(item.name)) is Match.SAME
        )


def _classed(error: XnatctlError) -> FailureClass:
    return FailureClass.CONCURRENT if resources.is_conflict(error) else classify(error)
