"""Reads SOP Instance UIDs from the files of a prearchive session if counting proves nothing.

The prearchive lists no UIDs, but each file can be read, and the UID is in the first bytes (xnat-import 6.2). That takes
a request per file, so it is done only for a session that may hold files of others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from xnatctl.delivery.judgement import ABSENT, UNSIZED, Finding, least_size
from xnatctl.delivery.session.verify import Comparison, conclude, differences_of
from xnatctl.errors import Interrupted, XnatctlError
from xnatctl.inventory.heads import ENOUGH, instance_uid
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.report import Difference, Verification
from xnatctl.model.words import counted
from xnatctl.xnat import prearchive
from xnatctl.xnat.client import XnatClient

#: Most files that are read.
_MOST: Final = 10_000
#: Most instances of others that are named; more are counted.
_NAMED: Final = 100
_READ: Final = (
    "The prearchive lists no SOP Instance UIDs; they were read from its files. Sizes are compared once the session is "
    "archived."
)


def read_waiting(
    client: XnatClient, ref: PrearchiveRef, items: Sequence[UploadItem], *, exact: bool, besides: Collection[str] = ()
) -> tuple[Comparison, Collection[str]] | None:
    """Compare the items, and the UIDs `besides`, with a built prearchive session.

    `besides` are UIDs that earlier runs sent there. None if the server does not return its files, or there are too
    many.
    """
    found: dict[str, int] = {}
    try:
        for path, size in prearchive.dicom_files(client, ref, _MOST):
            uid = instance_uid(prearchive.beginning(client, path, ENOUGH))
            found[uid] = min(size, found.get(uid, size))
    except Interrupted:
        raise
    except XnatctlError:
        return None
    findings = bytearray(len(items))
    sizes = [found.pop(item.sop_instance_uid, ABSENT) for item in items]
    for place, (item, size) in enumerate(zip(items, sizes, strict=True)):
        whole = size == UNSIZED or size >= least_size(item)
        findings[place] = Finding.ABSENT if size == ABSENT else Finding.UNSIZED if whole else Finding.LOST
    left = found.keys() & set(besides)
    others = sorted(found.keys() - left)
    verification = Verification(differences=[*differences_of(items, sizes, findings)])
    message = "on the server, but not on disk"
    verification.extra = [Difference(kind="extra", message=message, sop_instance_uid=uid) for uid in others[:_NAMED]]
    if (more := len(others) - _NAMED) > 0:
        message = f"{counted(more, 'more instance')} {message}"
        verification.extra.append(Difference(kind="extra", message=message, found=more))
    if exact:
        verification.differences += verification.extra
    conclude(verification, findings)
    verification.limits = [_READ]
    return Comparison(items=items, findings=findings, verification=verification), left
