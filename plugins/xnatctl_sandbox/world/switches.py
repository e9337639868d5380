"""What a real server may do to data, switched on by tests and by people; the defaults are a plain site's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Switches:
    """Times in seconds. `lost_instances` are accepted and never stored, as behind a faulty disk."""

    build_seconds: float = 0.0
    archive_seconds: float = 0.0
    queue_seconds: float = 0.0  # between BUILDING and the lock that `_BUILDING` is
    race_seconds: float = 0.0  # between choosing a file name and locking it (xnat-import 4.3)
    write_seconds: float = 0.0  # how long a file is locked while it is written
    rewrites_heads: bool = True  # what XNAT parses is written anew; off = bytes are kept, as by servers of other make
    decompresses: bool = False  # compressed pixel data are stored decompressed, where they can be decoded
    site_script: dict[str, str | None] = field(default_factory=dict)  # on import, see `receive.anonymization`
    project_scripts: dict[str, dict[str, str | None]] = field(default_factory=dict)  # by project, when it is archived
    rejected_instances: set[str] = field(default_factory=set)  # the site's script says "reject": 200, not stored
    remap_uids: bool = False  # the site's script gives new SOP Instance UIDs
    keeps_cut_files: bool = False  # what came of a file before its request was cut stays on disk
    lost_instances: set[str] = field(default_factory=set)
    catalog_conflict_every: int = 0  # every n-th file PUT meets a changed catalog (xnat-api 4.7)
    direct_archive_fails: bool = False  # what was archived directly goes to the prearchive
    disk_full: bool = False
    dicom_idle_seconds: float = 60.0  # the DICOM Receiver ends quiet associations (xnat-api 5.2)
    dicom_max_associations: int = 0  # more at once are rejected; 0 = no limit
    catalog_seconds: float = 0.0  # between reading a catalog and writing it
    stale_stats: bool = False  # file counts and sizes in resource tables are not brought up to date
    file_puts: int = 0

    def pause(self, name: str) -> None:
        """Take as long as a switch says; setting it to 0 meanwhile ends the wait at once."""
        end = time.monotonic() + getattr(self, name)
        while getattr(self, name) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))
