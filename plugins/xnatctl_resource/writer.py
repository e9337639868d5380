"""Writes files to one resource and interprets the answers.

A 200 does not mean stored (xnat-api 4.4): duplicates are handled here, other files are verified by a listing later.
Requests have no `overwrite` unless the user allows it; the exception are partial files of an interrupted request, which
are sent separately.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress
from typing import Literal

from xnatctl.api import (
    BatchResult,
    Body,
    ByteCounter,
    Emit,
    FailureClass,
    ItemOutcome,
    Outcome,
    PluginUnavailable,
    ResourceRef,
    UploadItem,
    XnatctlError,
    failed_outcomes,
)
from xnatctl.api.xnat import ResourceInfo, XnatClient
from xnatctl_resource import rest
from xnatctl_resource.compare import Comparer, Match, stored_begins
from xnatctl_resource.rest import FileInfo, ResourceParent

_Put = Callable[[bool, ByteCounter], tuple[str, ...]]


class CatalogWriter:
    """The only writer of one resource.

    `replaces` allows replacing any file; `names` are those of the files that may be sent. `ours` are names of files
    that an earlier attempt may have left, `halves` those of which the server holds the beginning: they are replaced,
    because further attempts would always return `duplicates` (xnat-api 4.7).
    """

    def __init__(
        self,
        client: XnatClient,
        parent: ResourceParent,
        resource: ResourceInfo,
        ref: ResourceRef,
        comparer: Comparer,
        *,
        version: Callable[[], tuple[int, ...]],
        replaces: bool,
        names: Container[str],
        ours: Collection[str] = (),
        halves: Collection[str] = (),
    ) -> None:
        self._client = client
        self._parent = parent
        self._resource = resource
        self._ref = ref
        self._comparer = comparer
        self._version = version
        self._replaces = replaces
        self._names = names
        self._ours = set(ours)
        self.halves = set(halves)

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version."""
        return self._version()

    @property
    def uri(self) -> str:
        """The URI of the resource."""
        return f"{self._parent.path}/resources/{self._resource.id}"

    def listing(self) -> dict[str, FileInfo]:
        """The current catalog entries of the files that may be sent."""
        return rest.resource_files(self._client, self._parent, self._resource, self._names)

    def put_file(self, item: UploadItem, *, body: Body, emit: Emit) -> BatchResult:
        """PUT one file; one outcome, whatever happens."""
        if not item.goes_alone:
            raise PluginUnavailable(
                f"The transport sends {item.path} alone, and it would be stored under another name or not at all.",
                hint="This is a bug in the plugin: such a file goes in a bundle.",
            )

        def send(overwrite: bool, count: ByteCounter) -> tuple[str, ...]:  # noqa: FBT001 - called by _put alone
            return rest.put_file(
                self._client,
                self._parent,
                self._resource,
                item.name,
                body,
                overwrite=overwrite,
                ref=self._ref,
                on_bytes=count,
            )

        return self._put((item,), body, emit, send)

    def put_bundle(
        self, items: Sequence[UploadItem], *, form: Literal["zip", "tar", "tar.gz"], body: Body, emit: Emit
    ) -> BatchResult:
        """PUT an archive file to be unpacked; one outcome per item, whatever happens."""

        def send(overwrite: bool, count: ByteCounter) -> tuple[str, ...]:  # noqa: FBT001 - called by _put alone
            return rest.put_bundle(
                self._client,
                self._parent,
                self._resource,
                form,
                body,
                overwrite=overwrite,
                ref=self._ref,
                on_bytes=count,
            )

        return self._put(items, body, emit, send)

    def _put(self, items: Sequence[UploadItem], body: Body, emit: Emit, send: _Put) -> BatchResult:
        halves = not self._replaces and self.halves.issuperset(item.name for item in items)
        sent = ByteCounter(emit, items, body.length)
        try:
            if halves and (changed := self._changed(items)):
                return BatchResult(outcomes=changed)
            kept = send(self._replaces or halves, sent)
            outcomes = self._read(items, kept)
        except XnatctlError as error:
            outcomes = failed_outcomes(items, error, FailureClass.CONCURRENT if rest.is_conflict(error) else None)
            self._claim(items, outcomes)
            return BatchResult(outcomes=outcomes, bytes_sent=sent.bytes)
        finally:
            sent.end()
        self._claim(items, outcomes)
        return BatchResult(outcomes=outcomes, uris=(self.uri,), bytes_sent=sent.bytes)

    def _claim(self, items: Sequence[UploadItem], outcomes: Sequence[ItemOutcome]) -> None:
        """Record the sent files as possibly stored, except for refused ones."""
        away = {outcome.path for outcome in outcomes if outcome.outcome in (Outcome.FAILED, Outcome.REJECTED)}
        self._ours |= {item.name for item in items if item.path not in away}

    def _changed(self, items: Sequence[UploadItem]) -> tuple[ItemOutcome, ...]:
        """Check partial files again before replacing them; returns outcomes if one is no longer partial."""
        listed = self.listing()
        if all(self.judge(item, listed.get(item.name)) is Match.HALF for item in items):
            return ()
        return tuple(self._outcome(item, listed.get(item.name)) for item in items)

    def _read(self, items: Sequence[UploadItem], kept: Sequence[str]) -> tuple[ItemOutcome, ...]:
        """The outcomes of a 200 answer; `kept` are the names of existing files."""
        if not kept:
            return tuple(self._accepted(item) for item in items)
        doubtful = set(kept)
        if doubtful - {item.name for item in items}:  # names that are not as we wrote them: look at all
            doubtful = {item.name for item in items}
        listed = self.listing()
        if not doubtful <= listed.keys():
            with suppress(XnatctlError):
                self.repair()
            listed = self.listing()
        return tuple(
            self._outcome(item, listed.get(item.name)) if item.name in doubtful else self._accepted(item)
            for item in items
        )

    def judge(self, item: UploadItem, file: FileInfo | None) -> Match:
        """Compare a file with the server, and record partial files of ours."""
        match = self._comparer.judge(item, file, ours=item.name in self._ours, begins=self._begins)
        if match is Match.HALF:
            self.halves.add(item.name)
        else:
            self.halves.discard(item.name)
        return match

    def _begins(self, item: UploadItem, file: FileInfo) -> bool:
        return stored_begins(self._client, self._parent, self._resource, item, file)

    def _outcome(self, item: UploadItem, file: FileInfo | None) -> ItemOutcome:
        """The outcome of an item that was not stored, because a file of its name exists."""
        match self.judge(item, file):
            case Match.SAME:
                return self._accepted(item)
            case Match.HALF:
                reason = "the server holds the beginning of the file from an interrupted request; replacing it"
            case Match.ABSENT:
                reason = "the server holds a file of that name that its catalog does not list; --overwrite replaces it"
            case _:
                return self._rejected(item)
        return ItemOutcome(path=item.path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.CONCURRENT, reason=reason)

    def _accepted(self, item: UploadItem) -> ItemOutcome:
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=self.uri)

    def _rejected(self, item: UploadItem) -> ItemOutcome:
        return ItemOutcome(
            path=item.path,
            outcome=Outcome.REJECTED,
            reason="the server holds another file of that name, which this upload did not write; --overwrite "
            "replaces it",
        )

    def repair(self) -> None:
        """Make the server refresh the catalog from its disk."""
        rest.refresh_catalog(self._client, self._parent, self._ref)

    def reconcile(self, items: Sequence[UploadItem], failure: FailureClass) -> tuple[ItemOutcome, ...]:
        """Outcomes of items whose request failed and that need not or must not be sent again.

        They are stored (xnat-api 7, 4.7), or another file has their name. After a conflict, files are on the server's
        disk but not in its catalog, so the catalog is refreshed first.
        """
        if failure is FailureClass.CONCURRENT:
            self.repair()
        listed = self.listing()
        outcomes: list[ItemOutcome] = []
        for item in items:
            match = self.judge(item, listed.get(item.name))
            if match is Match.SAME:
                outcomes.append(self._accepted(item))
            elif match not in (Match.ABSENT, Match.HALF) and not self._replaces:
                outcomes.append(self._rejected(item))
        return tuple(outcomes)
