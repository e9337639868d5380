"""One resource of a plan: finds existing files, sends and verifies. One worker runs it.

Before sending, identical files are skipped, different ones are refused unless they may be replaced, and the permission
to write is checked. Afterwards all files are compared with the server's listing (xnat-api 4.4: a 200 proves nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import compress

from xnatctl.api import (
    DeliveryIncomplete,
    Difference,
    Emit,
    Event,
    EventKind,
    Interrupted,
    Level,
    Outcome,
    Refused,
    ResourceRef,
    ResourceReport,
    RunContext,
    Stage,
    UploadItem,
    Verification,
    VerificationFailed,
    XnatctlError,
    counted,
)
from xnatctl.api.commands import remedy_for
from xnatctl.api.xnat import Finding, ResourceInfo
from xnatctl_resource.compare import Begins, Comparer, Match, stored_begins
from xnatctl_resource.parent import find_parent
from xnatctl_resource.rest import FileInfo, ResourceParent, ensure_resource, find_resource, resource_files
from xnatctl_resource.writer import CatalogWriter

_REPLACE = "To replace them, run the same command with {flag}."
#: Names in a message before "and n more".
_NAMED = 5
_WORDS = {
    Match.ABSENT: "not on the server",
    Match.SIZE: "has a different size on the server",
    Match.CHECKSUM: "has different content on the server",
    Match.ALIKE: "has the same size on the server, which lists no checksum to compare",
}
#: What a comparison proves.
_FINDINGS = {Match.SAME: Finding.SAME, Match.ALIKE: Finding.EQUAL}
_KINDS = {Match.ABSENT: "missing", Match.SIZE: "size", Match.CHECKSUM: "checksum"}


class ResourceRunner:
    """The stages of one resource. `error` is its error; `left` are the items that are still to be sent."""

    def __init__(self, context: RunContext, send: Stage) -> None:
        if send.resource is None:
            raise ValueError("the stage does not name a resource")
        self._context = context
        self._send = send
        self._ref: ResourceRef = send.resource
        self._verifies = bool(send.options.get("verify"))
        self._overwrite = bool(send.options.get("overwrite"))
        self._comparer = Comparer(context.journal, self._ref)
        self._held = ExitStack()
        self._parent: ResourceParent | None = None
        self._writer: CatalogWriter | None = None
        self._end_sending: Callable[[], None] | None = None
        self._proven = bytearray(len(send.items))
        #: Names of interrupted files of an earlier run, and those of which the server holds the beginning.
        self._ours: set[str] = set()
        self._halves: set[str] = set()
        self._announced = False
        self._listed: dict[str, FileInfo] = {}
        self.left: Sequence[UploadItem] = send.items
        self.error: XnatctlError | None = None
        self.report = ResourceReport(
            title=self._ref.title, label=self._ref.label, level=self._ref.level, scan=self._ref.scan
        )

    # before anything is sent

    def find_delivered(self, emit: Emit) -> None:
        """Compare existing files and check the permission. Raises Refused, PermissionDenied, NotFound."""
        context, client = self._context, self._context.client
        parent = self._parent = find_parent(client, context.plan.destination, self._ref, context.session)
        self._held.enter_context(context.exclusively(f"{client.server} {parent.path} {self._ref.label}"))
        found = find_resource(client, parent, self._ref.label)
        names = frozenset(item.name for item in self._send.items)
        self._listed = resource_files(client, parent, found, names) if found is not None else {}
        self._sort(self._listed, parent, found)
        resource = ensure_resource(client, parent, self._ref, found) if self.left else found
        if resource is None:
            return  # there is nothing to send, and nothing was sent before
        if self._ref.tags and found is not None:
            self._warn(f"Resource {self._ref.title} exists already, so its tags are not changed.", emit)
        self._writer = CatalogWriter(
            client,
            parent,
            resource,
            self._ref,
            self._comparer,
            version=lambda: context.version,
            replaces=self._overwrite,
            names=names,
            ours=self._ours,
            halves=self._halves,
        )
        self.report.id, self.report.uri = resource.id, self._writer.uri

    def _sort(self, listed: dict[str, FileInfo], parent: ResourceParent, found: ResourceInfo | None) -> None:
        """Divide the items into proven ones, those to be sent, and conflicts."""
        in_the_way: list[Difference] = []
        for number, item in enumerate(self._send.items):
            if self._context.stop.requested:
                raise Interrupted("Interrupted while files were compared.")
            file = listed.get(item.name)
            match = self._comparer.match(item, file)
            if not self._overwrite and self._comparer.left_before(item):
                self._ours.add(item.name)
                match = self._comparer.judge(item, file, ours=True, begins=self._begins(parent, found))
            if match is Match.SAME or (match is Match.ALIKE and self._comparer.delivered_before(item)):
                self._proven[number] = 1
            elif match is Match.HALF:
                self._halves.add(item.name)
            elif match is not Match.ABSENT and not self._overwrite:
                message = _WORDS[match]
                in_the_way.append(Difference(kind="exists", message=message, path=item.path))
        self.left = [item for item, proven in zip(self._send.items, self._proven, strict=True) if not proven]
        if in_the_way:
            self.report.verification = Verification(ok=False, differences=in_the_way)
            raise self._refused(in_the_way, parent)

    def _begins(self, parent: ResourceParent, found: ResourceInfo | None) -> Begins:
        """Reads a file of the resource back."""
        client = self._context.client
        return lambda item, file: found is not None and stored_begins(client, parent, found, item, file)

    def _refused(self, in_the_way: Sequence[Difference], parent: ResourceParent) -> Refused:
        first = ", ".join(f"{entry.path} ({entry.message})" for entry in in_the_way[:_NAMED])
        more = f" and {len(in_the_way) - _NAMED:,} more" if len(in_the_way) > _NAMED else ""
        held = f"{len(in_the_way):,} of {counted(len(self._send.items), 'file')}"
        return Refused(
            f"Resource {self._ref.label} of {parent.name} holds {held} with different content: {first}{more}. "
            "Nothing was sent to it.",
            hint=self._replace,
        )

    @property
    def _replace(self) -> str:
        exam = self._context.plan.command == "session upload-exam"
        return _REPLACE.format(flag="--overwrite delete" if exam else "--overwrite")

    def enter(self, *, announced: bool) -> None:
        """Enter the items into the journal; in the main thread. `announced`: the run was announced as sending all."""
        self._announced = announced
        for item in compress(self._send.items, self._proven):
            with suppress(XnatctlError):
                self._context.journal.digest(item, self._comparer.digest(item))
        self.left = self._context.journal.open(self._send.items, self._proven, self._ref)

    # sending and proving

    def deliver(self, emit: Emit) -> None:
        """Send the remaining items, compare, and conclude. Raises the error of the resource."""
        proven = list(compress(self._send.items, self._proven)) if self._announced else ()
        data = {
            "stage": self._send.name, "skipped": len(proven), "skipped_bytes": sum(item.size for item in proven)
        }  # fmt: skip
        emit(Event(kind=EventKind.STAGE_STARTED, data=data))
        self._send_apart(self.left, emit)
        differences: Sequence[Difference] = ()
        if self._verifies and not self._context.stop.requested and self._writer is not None:
            differences = self._verify(self._writer, emit)
        emit(Event(kind=EventKind.STAGE_DONE, data={"stage": self._send.name}))
        self._judge(differences)

    def give_up(self) -> None:
        """Stop the stage; called from another thread on an interrupt."""
        if self._end_sending is not None:
            self._end_sending()

    def close(self) -> None:
        """Release the lock of the resource."""
        self._held.close()

    def _send_apart(self, items: Sequence[UploadItem], emit: Emit) -> None:
        """Send; partial files of an interrupted request separately, because those requests overwrite."""
        halves = self._writer.halves if self._writer is not None and not self._overwrite else set[str]()
        for part in (
            [item for item in items if item.name not in halves],
            [item for item in items if item.name in halves],
        ):
            if part and not self._context.stop.requested:
                self._send_items(part, emit)

    def _send_items(self, items: Sequence[UploadItem], emit: Emit) -> None:
        context, writer = self._context, self._writer
        if writer is None:
            raise ValueError("find_delivered comes before sending")
        sender = context.sender(self._send, writer=writer, emit=emit, reconcile=writer.reconcile)
        self._end_sending = sender.give_up
        sender.deliver(items)

    def _verify(self, writer: CatalogWriter, emit: Emit) -> Sequence[Difference]:
        """Compare; differences are repaired once, by a catalog refresh or by sending again."""
        message = f"comparing resource {self._ref.title}"
        emit(Event(kind=EventKind.VERIFYING, message=message, data={"state": "comparing"}))
        # Nothing was sent, so the last listing is current.
        wrong = self._compare(writer.listing() if self.left else self._listed)
        if wrong:
            with suppress(XnatctlError):
                writer.repair()
            wrong = self._compare(listed := writer.listing())
            lost = [item for item in wrong if self._may_send(writer, item, listed.get(item.name))]
            if lost and not self._context.stop.requested:
                self._warn(
                    f"Resource {self._ref.title}: {counted(len(lost), 'file')} did not arrive; sending again.", emit
                )
                self._send_apart(lost, emit)
                wrong = self._compare(writer.listing())
        self._context.journal.doubt(wrong)
        return self.report.verification.differences

    def _may_send(self, writer: CatalogWriter, item: UploadItem, file: FileInfo | None) -> bool:
        """False for a file that another upload has replaced."""
        return writer.judge(item, file) in (Match.ABSENT, Match.HALF) or self._overwrite

    def _compare(self, listed: dict[str, FileInfo]) -> tuple[UploadItem, ...]:
        """The delivered items that differ from the disk; writes the verification."""
        verification = Verification(level=Level.CHECKSUM)
        wrong: list[UploadItem] = []
        items, findings = self._context.journal.states(self._ref).delivered.items, list[Finding]()
        for item in items:
            match = self._comparer.match(item, file := listed.get(item.name))
            findings.append(_FINDINGS.get(match, Finding.ABSENT))
            if match not in _FINDINGS:
                wrong.append(item)
                verification.differences.append(
                    Difference(
                        kind=_KINDS[match],
                        message=_WORDS[match],
                        path=item.path,
                        expected=item.size,
                        found=file.size if file is not None else None,
                    )
                )
            elif match is Match.ALIKE:
                verification.level = Level.SIZE
        self._context.journal.reached(items, findings)
        verification.ok = not wrong
        self.report.verification = verification
        return tuple(wrong)

    def _judge(self, differences: Sequence[Difference]) -> None:
        rerun = self._context.rerun
        states = self._context.journal.states(self._ref)
        error = self._context.incomplete(states, self._send.unreadable)
        taken = states.having(Outcome.REJECTED)
        if isinstance(error, DeliveryIncomplete) and len(taken) == len(states.undelivered) and taken:
            raise DeliveryIncomplete(error.message, hint=self._replace)
        if isinstance(error, DeliveryIncomplete):
            first = (
                "Run" if len(self._send.items) > self._delivered() else f"{remedy_for(self._send.unreadable)}, then run"
            )
            raise DeliveryIncomplete(error.message, hint=f"{first} the same command again: {rerun}")
        if error is not None:
            raise error
        if differences:
            wrong = f"{len(differences):,} of {counted(len(self._send.items), 'file')}"
            raise VerificationFailed(
                f"Resource {self._ref.label} differs from the disk in {wrong}, first "
                f"{differences[0].path} ({differences[0].message}).",
                hint=f"Run the same command again: {rerun}",
            )

    def _delivered(self) -> int:
        return len(self._context.journal.states(self._ref).delivered)

    @staticmethod
    def _warn(message: str, emit: Emit) -> None:
        emit(Event(kind=EventKind.WARNING, message=message))
