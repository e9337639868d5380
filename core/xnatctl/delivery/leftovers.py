"""Warns of files that earlier runs planned and no run proved.

Such files belong to another folder or to a part that this run does not include, or they are no longer on disk. They do
not make this run incomplete. The user decides whether to finish or forget the earlier upload.
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
    """Warn of the items that earlier runs left, after proving the instances that the session holds."""
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
        which = "It is" if one else "They are" if len(gone) == len(left) else f"{len(gone):,} of them are"
        text += f" {which} no longer on this disk: restore what is needed and resume; otherwise forget: {forget}"
    context.warn(text)


def _on_disk(item: Left) -> bool:
    """Whether the file exists; a member of an archive file exists if the archive file does."""
    if not item.root or os.path.isfile(item.root):
        return True  # its path is not known, or it is a member
    file = os.path.join(item.root, item.path)
    while not os.path.lexists(file) and len(file) > len(item.root):
        file = os.path.dirname(file)
    return os.path.isfile(file) or os.path.lexists(os.path.join(item.root, item.path))


def _held(context: RunContext, left: Sequence[Left]) -> list[Left]:
    """The items that the archived session lists, by UID only, because their files may be gone."""
    session, instances = context.session, instances_by_uid(left)
    if session is None or not instances:
        return []
    try:
        found = listing.dicom_catalog_uids(context.client, session.id)
    except Interrupted:
        raise
    except XnatctlError:
        return []  # without an answer nothing is proven
    return [instances[uid] for uid in found & instances.keys()]
