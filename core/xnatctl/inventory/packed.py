"""Is there DICOM inside an archive file? For whoever would pass the file on as it is."""

from __future__ import annotations

import os

from xnatctl.errors import Refused
from xnatctl.inventory import archives
from xnatctl.inventory.forward import Forward
from xnatctl.inventory.gzips import Damaged, gzip_reader
from xnatctl.inventory.part10 import is_dicom

#: What is unpacked has no size that could be asked for; a reader that ends early says where it ends.
_UNKNOWN_SIZE = 1 << 62


def holds_dicom(path: str) -> bool | None:
    """True when a zip, tar, tar.gz or gzip file holds DICOM by content, False when it does not.

    None when not all of it could be looked into: encrypted, damaged, unreadable, or with archives inside. Reads the
    whole of a tar.gz.
    """
    try:
        kind = archives.kind_of(path)
    except Refused:
        return _gzip_holds_dicom(path)  # a gzip that is no tar
    except OSError:
        return None
    if kind is None:
        return False
    unknown = False
    try:
        with archives.refusing_damage(path):
            for member in archives.members(path, kind):
                if member.rule is not None or not member.size:
                    continue  # it has no content of its own
                if member.obstacle is not None or archives.looks_like_archive(member.head):
                    unknown = True
                elif is_dicom(member.read, member.size):
                    return True
    except Refused:
        return None
    return None if unknown else False


def _gzip_holds_dicom(path: str) -> bool | None:
    """One packed file, such as `scan.nii.gz` or `image.dcm.gz`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            read = Forward(gzip_reader(descriptor, 0))
            if archives.looks_like_archive(read(512)):
                return None
            return is_dicom(read, _UNKNOWN_SIZE)
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return None
