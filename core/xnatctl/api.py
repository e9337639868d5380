"""Everything that a plugin author imports; the surface is frozen by a test.

What declarations need is here at once. Everything else, and above all what needs click, httpx or the file system, is
found on first use, so that a `plugin.py` that imports this module costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xnatctl.errors import (
    AuthenticationError,
    ConfigError,
    ConnectionFailed,
    DeliveryIncomplete,
    Interrupted,
    NotArchived,
    NotFound,
    NotXnat,
    PermissionDenied,
    PluginUnavailable,
    Refused,
    ServerError,
    SourceChanged,
    Throttled,
    TooLarge,
    TransportError,
    UsageError,
    VerificationFailed,
    XnatctlError,
)
from xnatctl.model.commands import Commands
from xnatctl.model.document import Column, Document
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.plan import (
    Batch,
    Exclusion,
    Overwrite,
    Payload,
    Placement,
    Source,
    Stage,
    UploadItem,
    UploadPlan,
    UploadRequest,
)
from xnatctl.model.refs import (
    Destination,
    PrearchiveRef,
    ResourceLevel,
    ResourceRef,
    clean_label,
    clean_resource_label,
    file_name_problem,
    is_clean_label,
    is_plain_path,
    is_uid,
    resource_label_problem,
)
from xnatctl.model.words import counted, human_size
from xnatctl.plugin.hookspecs import hookimpl
from xnatctl.plugin.specs import (
    CheckResult,
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    FormatterSpec,
    Option,
    StageSpec,
    TransportSpec,
)

if TYPE_CHECKING:
    from xnatctl.cli.app import App, pass_app
    from xnatctl.cli.console import printable
    from xnatctl.cli.numbers import Number, WholeNumber
    from xnatctl.cli.options import (
        TransportOptionsCommand,
        common_options,
        destination_options,
        journal_options,
        server_options,
        source_options,
        verify_options,
    )
    from xnatctl.cli.uploading import Upload, run_upload, transport_options
    from xnatctl.cli.wrap import wrapped
    from xnatctl.delivery.engine.batches import cut_batches
    from xnatctl.delivery.engine.outcomes import changed_outcome
    from xnatctl.delivery.planning import plan_session_upload
    from xnatctl.delivery.resource.parent import find_home, resolve_destination
    from xnatctl.delivery.resource.planning import plan_resource_stage, plan_resource_upload
    from xnatctl.delivery.resource.writer import goes_alone
    from xnatctl.delivery.session.commit import commit_row
    from xnatctl.delivery.session.existing import ArchiveTarget
    from xnatctl.delivery.session.preflight import check_archiving
    from xnatctl.inventory.files import FileInventory, scan_files
    from xnatctl.inventory.nested_archives import look_inside
    from xnatctl.inventory.packed import holds_dicom
    from xnatctl.inventory.walk import Inventory, scan_path
    from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
    from xnatctl.packing.bodies import (
        deflated_zip_body,
        fits_zip,
        plain_body,
        stored_zip_body,
        tar_body,
        tgz_body,
    )
    from xnatctl.packing.deflate import compressor_name, deflated_size
    from xnatctl.plugin.protocols import (
        Body,
        ConnectedTransport,
        Credential,
        CredentialRequest,
        CredentialSource,
        Formatter,
        Importer,
        Reader,
        ResourceWriter,
        StoringCredentialSource,
        Transport,
        TransportContext,
    )
    from xnatctl.settings.paths import check_writable, read_private, readable_by_others, token_directory, write_private
    from xnatctl.xnat import listing, prearchive, resources
    from xnatctl.xnat.http.client import XnatClient
    from xnatctl.xnat.site import project_access

#: Name -> module, for what is found on first use.
_LAZY = {
    "App": "xnatctl.cli.app",
    "ArchiveTarget": "xnatctl.delivery.session.existing",
    "BatchResult": "xnatctl.model.outcome",
    "Body": "xnatctl.plugin.protocols",
    "ConnectedTransport": "xnatctl.plugin.protocols",
    "Credential": "xnatctl.plugin.protocols",
    "CredentialRequest": "xnatctl.plugin.protocols",
    "CredentialSource": "xnatctl.plugin.protocols",
    "FailureClass": "xnatctl.model.outcome",
    "FileInventory": "xnatctl.inventory.files",
    "Formatter": "xnatctl.plugin.protocols",
    "Importer": "xnatctl.plugin.protocols",
    "Inventory": "xnatctl.inventory.walk",
    "ItemOutcome": "xnatctl.model.outcome",
    "Number": "xnatctl.cli.numbers",
    "Outcome": "xnatctl.model.outcome",
    "Reader": "xnatctl.plugin.protocols",
    "ResourceWriter": "xnatctl.plugin.protocols",
    "StoringCredentialSource": "xnatctl.plugin.protocols",
    "Transport": "xnatctl.plugin.protocols",
    "TransportContext": "xnatctl.plugin.protocols",
    "TransportOptionsCommand": "xnatctl.cli.options",
    "Upload": "xnatctl.cli.uploading",
    "WholeNumber": "xnatctl.cli.numbers",
    "XnatClient": "xnatctl.xnat.http.client",
    "changed_outcome": "xnatctl.delivery.engine.outcomes",
    "check_archiving": "xnatctl.delivery.session.preflight",
    "check_writable": "xnatctl.settings.paths",
    "commit_row": "xnatctl.delivery.session.commit",
    "common_options": "xnatctl.cli.options",
    "compressor_name": "xnatctl.packing.deflate",
    "cut_batches": "xnatctl.delivery.engine.batches",
    "deflated_size": "xnatctl.packing.deflate",
    "deflated_zip_body": "xnatctl.packing.bodies",
    "destination_options": "xnatctl.cli.options",
    "find_home": "xnatctl.delivery.resource.parent",
    "fits_zip": "xnatctl.packing.bodies",
    "goes_alone": "xnatctl.delivery.resource.writer",
    "holds_dicom": "xnatctl.inventory.packed",
    "journal_options": "xnatctl.cli.options",
    "look_inside": "xnatctl.inventory.nested_archives",
    "pass_app": "xnatctl.cli.app",
    "plain_body": "xnatctl.packing.bodies",
    "plan_resource_stage": "xnatctl.delivery.resource.planning",
    "plan_resource_upload": "xnatctl.delivery.resource.planning",
    "plan_session_upload": "xnatctl.delivery.planning",
    "printable": "xnatctl.cli.console",
    "project_access": "xnatctl.xnat.site",
    "read_private": "xnatctl.settings.paths",
    "readable_by_others": "xnatctl.settings.paths",
    "resolve_destination": "xnatctl.delivery.resource.parent",
    "run_upload": "xnatctl.cli.uploading",
    "scan_files": "xnatctl.inventory.files",
    "scan_path": "xnatctl.inventory.walk",
    "server_options": "xnatctl.cli.options",
    "source_options": "xnatctl.cli.options",
    "stored_zip_body": "xnatctl.packing.bodies",
    "tar_body": "xnatctl.packing.bodies",
    "tgz_body": "xnatctl.packing.bodies",
    "token_directory": "xnatctl.settings.paths",
    "transport_options": "xnatctl.cli.uploading",
    "verify_options": "xnatctl.cli.options",
    "wrapped": "xnatctl.cli.wrap",
    "write_private": "xnatctl.settings.paths",
}

#: Modules that are handed on whole.
_MODULES = {
    "listing": "xnatctl.xnat.listing",
    "prearchive": "xnatctl.xnat.prearchive",
    "resources": "xnatctl.xnat.resources",
}

__all__ = [
    "App",
    "ArchiveTarget",
    "AuthenticationError",
    "Batch",
    "BatchResult",
    "Body",
    "CheckResult",
    "CheckSpec",
    "Column",
    "CommandSpec",
    "Commands",
    "ConfigError",
    "ConnectedTransport",
    "ConnectionFailed",
    "Credential",
    "CredentialRequest",
    "CredentialSource",
    "CredentialSourceSpec",
    "DeliveryIncomplete",
    "Destination",
    "Document",
    "Emit",
    "Event",
    "EventKind",
    "Exclusion",
    "FailureClass",
    "FileInventory",
    "Formatter",
    "FormatterSpec",
    "Importer",
    "Interrupted",
    "Inventory",
    "ItemOutcome",
    "NotArchived",
    "NotFound",
    "NotXnat",
    "Number",
    "Option",
    "Outcome",
    "Overwrite",
    "Payload",
    "PermissionDenied",
    "Placement",
    "PluginUnavailable",
    "PrearchiveRef",
    "Reader",
    "Refused",
    "ResourceLevel",
    "ResourceRef",
    "ResourceWriter",
    "ServerError",
    "Source",
    "SourceChanged",
    "Stage",
    "StageSpec",
    "StoringCredentialSource",
    "Throttled",
    "TooLarge",
    "Transport",
    "TransportContext",
    "TransportError",
    "TransportOptionsCommand",
    "TransportSpec",
    "Upload",
    "UploadItem",
    "UploadPlan",
    "UploadRequest",
    "UsageError",
    "VerificationFailed",
    "WholeNumber",
    "XnatClient",
    "XnatctlError",
    "changed_outcome",
    "check_archiving",
    "check_writable",
    "clean_label",
    "clean_resource_label",
    "commit_row",
    "common_options",
    "compressor_name",
    "counted",
    "cut_batches",
    "deflated_size",
    "deflated_zip_body",
    "destination_options",
    "file_name_problem",
    "find_home",
    "fits_zip",
    "goes_alone",
    "holds_dicom",
    "hookimpl",
    "human_size",
    "is_clean_label",
    "is_plain_path",
    "is_uid",
    "journal_options",
    "listing",
    "look_inside",
    "pass_app",
    "plain_body",
    "plan_resource_stage",
    "plan_resource_upload",
    "plan_session_upload",
    "prearchive",
    "printable",
    "project_access",
    "read_private",
    "readable_by_others",
    "resolve_destination",
    "resource_label_problem",
    "resources",
    "run_upload",
    "scan_files",
    "scan_path",
    "server_options",
    "source_options",
    "stored_zip_body",
    "tar_body",
    "tgz_body",
    "token_directory",
    "transport_options",
    "verify_options",
    "wrapped",
    "write_private",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
