"""Switches that change how the server treats data; the defaults are those of a plain site."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Switches:
    """Times in seconds. `lost_instances` are accepted and never stored, as on a faulty disk."""

    build_seconds: float = 0.0
    archive_seconds: float = 0.0
    queue_seconds: float = 0.0  # between BUILDING and the locked `_BUILDING`
    race_seconds: float = 0.0  # between choosing a file name and locking it (xnat-import 4.3)
    write_seconds: float = 0.0  # how long a file is locked while it is written
    rewrites_heads: bool = True  # False keeps the bytes of headers, as other servers may
    decompresses: bool = False  # stores pixel data decompressed where it can decode them
    site_script: dict[str, str | None] = field(default_factory=dict)  # on import, see `receive.anonymization`
    project_scripts: dict[str, dict[str, str | None]] = field(default_factory=dict)  # by project, when it is archived
    rejected_instances: set[str] = field(default_factory=set)  # the site's script says "reject": 200, not stored
    remap_uids: bool = False  # the site's script gives new SOP Instance UIDs
    keeps_cut_files: bool = False  # keeps the part of a file that came before its request was cut
    lost_instances: set[str] = field(default_factory=set)
    catalog_conflict_every: int = 0  # every n-th file PUT meets a changed catalog (xnat-api 4.7)
    direct_archive_fails: bool = False  # direct archiving ends in the prearchive
    disk_full: bool = False
    dicom_idle_seconds: float = 60.0  # the DICOM Receiver ends quiet associations (xnat-api 5.2)
    dicom_max_associations: int = 0  # rejects more at once; 0 = no limit
    catalog_seconds: float = 0.0  # between reading a catalog and writing it
    stale_stats: bool = False  # does not update file counts and sizes of resource tables
    file_puts: int = 0

    def pause(self, name: str) -> None:
        """Wait as long as a switch says; setting the switch to 0 ends the wait."""
        end = time.monotonic() + getattr(self, name)
        while getattr(self, name) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))
