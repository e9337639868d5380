"""Lists the disk again at the end of a run: files that appeared or changed were not sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xnatctl.delivery.context import RunContext
from xnatctl.errors import DeliveryIncomplete
from xnatctl.inventory.relisting import changes_since
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Exclusion, FileStatus, UploadItem, UploadPlan
from xnatctl.model.words import counted

_APPEARED = "it appeared while the upload ran"
#: The reason of an item whose file changed after the inventory.
CHANGED = "it changed while the upload ran"


class Meanwhile:
    """The files of a plan's paths that appeared or changed since its listing, for an upload of `items`.

    `changed` are items, `others` are files that were not sent. `everything`: the upload also sends non-DICOM files.
    """

    def __init__(self, plan: UploadPlan, items: Iterable[UploadItem], *, everything: bool) -> None:
        self._root = plan.root
        self.changed: Sequence[str] = ()
        self.others: Sequence[Exclusion] = ()
        if not plan.listing:
            return
        changes = changes_since(plan.listing, plan.root, follow_symlinks=plan.follow_symlinks, sources=plan.sources)
        if not changes.appeared and not changes.changed:
            return
        sent = [item.path for item in items if item.path in changes.changed] if changes.changed else []
        appeared, changed = changes.that_matter(sent=sent, everything=everything)
        self.changed = sent
        self.others = [Exclusion(path=path, reason=_APPEARED) for path in appeared]
        self.others += [Exclusion(path=path, reason=CHANGED) for path in changed if path not in sent]

    def error(self, rerun: str, *, complete: bool = True) -> DeliveryIncomplete | None:
        """The error of an otherwise `complete` upload; None if nothing appeared or changed."""
        return changes_error(self._root, self.others, self.changed, rerun, complete=complete)


def changes_error(
    root: str, others: Sequence[Exclusion], changed: Sequence[str], rerun: str, *, complete: bool = True
) -> DeliveryIncomplete | None:
    """The error for files that were not sent and items that changed; None if there are none."""
    count = len(others) + len(changed)
    if not count:
        return None
    first = f"{others[0].path} ({others[0].reason})" if others else f"{changed[0]} ({CHANGED})"
    return DeliveryIncomplete(
        f"{counted(count, 'file')} below {root} appeared or changed while the upload ran, first {first}."
        f"{' Everything else was delivered.' if complete else ''}",
        hint=f"Run the same command again to send {'it' if count == 1 else 'them'}: {rerun}",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceChanges:
    """How the disk differs from a plan; paths are relative to its root.

    `changed` and `vanished` are items. `touched` are items of which only the change time differs, so that their content
    decides. `others` are files that appeared or changed and belong to no item, as far as they affect the upload.
    """

    changed: Sequence[str] = ()
    vanished: Sequence[str] = ()
    touched: Sequence[str] = ()
    others: Sequence[str] = ()


def source_changes(plan: UploadPlan) -> SourceChanges:
    """Compare the disk with a plan by names, sizes, times and inodes; opens no file of an item.

    Devices are not compared: a network file system has another number on each machine.
    """
    found: dict[str, list[str]] = {"changed": [], "vanished": [], "touched": []}
    file = state = ""
    for item in plan.items:
        if item.file != file:  # members of one archive file are consecutive
            file, state = item.file, _state(item)
        if state:
            found[state].append(item.path)
    meanwhile = Meanwhile(plan, plan.items, everything=any(stage.resource is not None for stage in plan.stages))
    return SourceChanges(**found, others=[entry.path for entry in meanwhile.others])


def _state(item: UploadItem) -> str:
    """How the file of an item differs from the plan: a field of `SourceChanges`, empty if it does not."""
    try:
        status = os.stat(item.file)
    except OSError as error:
        return "vanished" if isinstance(error, FileNotFoundError | NotADirectoryError) else "changed"
    now, planned = FileStatus.of(status), item.status
    same = now.mtime_ns == planned.mtime_ns and planned.inode in (0, now.inode)
    if not same or (item.source.container is None and status.st_size != item.size):
        return "changed"
    return "touched" if planned.ctime_ns not in (0, now.ctime_ns) else ""


def touched(items: Iterable[UploadItem]) -> Iterator[UploadItem]:
    """The items of which only the change time differs: their content may have changed.

    Programs cannot restore the change time. A backup or chmod also updates it, so the content decides.
    """
    moved: dict[str, bool] = {}
    for item in items:
        path = item.file
        if path not in moved:
            moved.clear()  # members of one archive file are consecutive
            moved[path] = _only_touched(item)
        if moved[path]:
            yield item


def _only_touched(item: UploadItem) -> bool:
    try:
        stamp = FileStatus.pack(os.stat(item.file))
    except OSError:
        return False
    if stamp == item.stamp:
        return False
    status, planned = FileStatus.unpack(stamp), item.status
    return (status.mtime_ns, status.inode) == (planned.mtime_ns, planned.inode) and status.ctime_ns != planned.ctime_ns


def changed_meanwhile(context: RunContext) -> DeliveryIncomplete | None:
    """Add files that appeared or changed to the report and return the error; None if there are none.

    The next run sends again what changed after it was sent.
    """
    plan, report = context.plan, context.report
    meanwhile = Meanwhile(plan, plan.items, everything=any(stage.resource is not None for stage in plan.stages))
    rewritten = (item.path for item in touched(plan.items) if not context.journal.is_as_sent(item))
    meanwhile.changed = [*meanwhile.changed, *rewritten]
    report.excluded += meanwhile.others
    context.journal.record(
        [
            ItemOutcome(path=path, outcome=Outcome.CHANGED, failure=FailureClass.SOURCE, reason=CHANGED)
            for path in meanwhile.changed
        ]
    )
    error = meanwhile.error(context.rerun)
    if error is not None and context.rerun not in report.next:
        report.next.append(context.rerun)
    return error
