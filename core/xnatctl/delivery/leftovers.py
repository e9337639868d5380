"""What earlier runs planned, and neither they nor this run proved: it is named, never forgotten in silence.

Such files belong to another folder, or to a part that this run left out, or they are not on the disk any more. They do
not keep this run from being complete. A person decides: finish the earlier upload, or forget it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.journal.records import Left, instances_by_uid
from xnatctl.errors import Interrupted, XnatctlError
from xnatctl.model.words import counted
from xnatctl.xnat import listing


def name_left(context: RunContext) -> None:
    """Warn of every item that earlier runs left, once for all; an instance that the session holds is proven first."""
    left = context.journal.left()
    if not left:
        return
    gone = [item for item in left if not _on_disk(item)]
    there = _held(context, gone)
    context.journal.prove(item.name for item in there)
    proven = {item.name for item in there}
    left = [item for item in left if item.name not in proven]
    gone = [item for item in gone if item.name not in proven]
    if not left:
        return
    one = len(left) == 1
    first = left[0]
    text = (
        f"{counted(len(left), 'file')} of an earlier upload to this destination {'is' if one else 'are'} not proven to "
        f"be on the server, and not part of this one (first {first.path} of {first.root}, {first.outcome})."
    )
    commands = context.commands
    forget = commands.command("upload", "forget", context.journal.id, "--yes", server=False)
    if len(gone) < len(left):
        text += f" Finish with: {commands.command('upload', 'resume', context.journal.id)}"
    if gone:
        which = "It is" if one else "They are" if len(gone) == len(left) else f"{len(gone)} of them are"
        text += f" {which} no longer on this disk: restore what is needed and resume; otherwise forget: {forget}"
    context.warn(text)


def _on_disk(item: Left) -> bool:
    """Whether the file may still be read; a member of an archive file counts as long as that is there."""
    if not item.root:
        return True  # its place is not known
    return os.path.lexists(item.root if os.path.isfile(item.root) else os.path.join(item.root, item.path))


def _held(context: RunContext, left: Sequence[Left]) -> list[Left]:
    """Instances that the archived session lists. There is no file any more with which more could be compared."""
    session, instances = context.session, instances_by_uid(left)
    if session is None or not instances:
        return []
    try:
        found = listing.dicom_catalog_uids(context.client, session.id)
    except Interrupted:
        raise
    except XnatctlError:
        return []  # the server cannot say, so nothing is proven
    return [instances[uid] for uid in found & instances.keys()]
