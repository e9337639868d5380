"""What asks an XNAT server: the client, what it lists, and how a session is compared with the disk.

Import it where it is used: it loads the HTTP client.
"""

from xnatctl.delivery.context import SentImages
from xnatctl.delivery.judgement import DOUBTFUL, Finding
from xnatctl.delivery.session.commit import commit_row
from xnatctl.delivery.session.counting import verify_staged
from xnatctl.delivery.session.existing import ArchiveTarget
from xnatctl.delivery.session.preflight import check_archiving, find_destination, readable_project
from xnatctl.delivery.session.resume import held
from xnatctl.delivery.session.settle import archive_command, looks
from xnatctl.delivery.session.verify import Comparison, Wanted, verify_archived
from xnatctl.delivery.session.waiting import read_waiting
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.direct_archive import get as get_direct_archive
from xnatctl.xnat.http.responses import Response, whole_number
from xnatctl.xnat.http.urls import url_path
from xnatctl.xnat.listing import (
    ResourceInfo,
    SessionInfo,
    SubjectInfo,
    Totals,
    dicom_file_names,
    file_counts,
    find_session,
    resource_of,
    scan_names,
    session_resources,
    sessions_of_study,
    totals_of_scans,
)
from xnatctl.xnat.listing import scans as list_scans
from xnatctl.xnat.listing import sessions as list_sessions
from xnatctl.xnat.listing import subjects as list_subjects
from xnatctl.xnat.prearchive import PrearchiveRow
from xnatctl.xnat.prearchive import build as build_prearchive_row
from xnatctl.xnat.prearchive import delete as delete_prearchive_row
from xnatctl.xnat.prearchive import dicom_names as prearchive_file_names
from xnatctl.xnat.prearchive import find_rows as find_prearchive_rows
from xnatctl.xnat.prearchive import get_row as get_prearchive_row
from xnatctl.xnat.prearchive import last_log as last_prearchive_log
from xnatctl.xnat.prearchive import list_rows as list_prearchive_rows
from xnatctl.xnat.prearchive import scan_file_counts as prearchive_file_counts
from xnatctl.xnat.prearchive import scans as list_prearchive_scans
from xnatctl.xnat.site import ProjectAccess, project_access

__all__ = [
    "DOUBTFUL",
    "ArchiveTarget",
    "Comparison",
    "Finding",
    "PrearchiveRow",
    "ProjectAccess",
    "ResourceInfo",
    "Response",
    "SentImages",
    "SessionInfo",
    "SubjectInfo",
    "Totals",
    "Wanted",
    "XnatClient",
    "archive_command",
    "build_prearchive_row",
    "check_archiving",
    "commit_row",
    "delete_prearchive_row",
    "dicom_file_names",
    "file_counts",
    "find_destination",
    "find_prearchive_rows",
    "find_session",
    "get_direct_archive",
    "get_prearchive_row",
    "held",
    "last_prearchive_log",
    "list_prearchive_rows",
    "list_prearchive_scans",
    "list_scans",
    "list_sessions",
    "list_subjects",
    "looks",
    "prearchive_file_counts",
    "prearchive_file_names",
    "project_access",
    "read_waiting",
    "readable_project",
    "resource_of",
    "scan_names",
    "session_resources",
    "sessions_of_study",
    "totals_of_scans",
    "url_path",
    "verify_archived",
    "verify_staged",
    "whole_number",
]
