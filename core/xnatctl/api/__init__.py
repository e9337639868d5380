"""What a plugin author imports: to declare, and to write transports, credential sources, formatters and stages.

Commands find more in `xnatctl.api.commands`, and what asks an XNAT server in `xnatctl.api.xnat`. Names that
declarations need are imported at once. The others are found on first use, so that a `plugin.py` that imports this
module costs nothing. A test holds the list of names.
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
    JournalError,
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
    Series,
    Source,
    Stage,
    UploadItem,
    UploadPlan,
    UploadRequest,
    goes_alone,
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
from xnatctl.model.words import counted, human_size, part_of
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
    from xnatctl.cli.console import printable
    from xnatctl.cli.wrap import wrapped
    from xnatctl.delivery.context import RunContext, SentImages
    from xnatctl.delivery.engine.batches import cut_batches
    from xnatctl.delivery.engine.outcomes import Counted, changed_outcome, failed_outcomes
    from xnatctl.delivery.engine.retry import classify
    from xnatctl.delivery.journal.journal import Journal, Phase
    from xnatctl.delivery.journal.records import JournalEntry
    from xnatctl.delivery.journal.states import record_name
    from xnatctl.delivery.journal.summaries import Summary
    from xnatctl.delivery.judgement import Finding
    from xnatctl.delivery.many import in_order, run_many
    from xnatctl.delivery.reporting import fill_items, incomplete
    from xnatctl.delivery.schedule import PollSchedule
    from xnatctl.inventory.sources import content_hash, open_item
    from xnatctl.model.commands import with_options
    from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
    from xnatctl.model.report import (
        Difference,
        Level,
        PlaceState,
        Report,
        ReportItem,
        ResourceReport,
        Status,
        StudyReport,
        Verification,
        join_verifications,
    )
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
        StageRunner,
        StoringCredentialSource,
        Transport,
        TransportContext,
    )
    from xnatctl.settings.paths import check_writable, read_private, readable_by_others, token_directory, write_private

#: Module -> the names of it that are found on first use.
_LAZY = {
    "xnatctl.cli.console": ("printable",),
    "xnatctl.cli.wrap": ("wrapped",),
    "xnatctl.delivery.context": ("RunContext", "SentImages"),
    "xnatctl.delivery.engine.batches": ("cut_batches",),
    "xnatctl.delivery.engine.outcomes": ("Counted", "changed_outcome", "failed_outcomes"),
    "xnatctl.delivery.engine.retry": ("classify",),
    "xnatctl.delivery.journal.journal": ("Journal", "Phase"),
    "xnatctl.delivery.journal.records": ("JournalEntry",),
    "xnatctl.delivery.journal.states": ("record_name",),
    "xnatctl.delivery.journal.summaries": ("Summary",),
    "xnatctl.delivery.many": ("in_order", "run_many"),
    "xnatctl.delivery.reporting": ("fill_items", "incomplete"),
    "xnatctl.delivery.judgement": ("Finding",),
    "xnatctl.delivery.schedule": ("PollSchedule",),
    "xnatctl.inventory.sources": ("content_hash", "open_item"),
    "xnatctl.model.commands": ("with_options",),
    "xnatctl.model.outcome": ("BatchResult", "FailureClass", "ItemOutcome", "Outcome"),
    "xnatctl.model.report": (
        "Difference",
        "Level",
        "PlaceState",
        "Report",
        "ReportItem",
        "ResourceReport",
        "Status",
        "StudyReport",
        "Verification",
        "join_verifications",
    ),
    "xnatctl.packing.bodies": (
        "deflated_zip_body",
        "fits_zip",
        "plain_body",
        "stored_zip_body",
        "tar_body",
        "tgz_body",
    ),
    "xnatctl.packing.deflate": ("compressor_name", "deflated_size"),
    "xnatctl.plugin.protocols": (
        "Body",
        "ConnectedTransport",
        "Credential",
        "CredentialRequest",
        "CredentialSource",
        "Formatter",
        "Importer",
        "Reader",
        "ResourceWriter",
        "StageRunner",
        "StoringCredentialSource",
        "Transport",
        "TransportContext",
    ),
    "xnatctl.settings.paths": (
        "check_writable",
        "read_private",
        "readable_by_others",
        "token_directory",
        "write_private",
    ),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
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
    "Counted",
    "Credential",
    "CredentialRequest",
    "CredentialSource",
    "CredentialSourceSpec",
    "DeliveryIncomplete",
    "Destination",
    "Difference",
    "Document",
    "Emit",
    "Event",
    "EventKind",
    "Exclusion",
    "FailureClass",
    "Finding",
    "Formatter",
    "FormatterSpec",
    "Importer",
    "Interrupted",
    "ItemOutcome",
    "Journal",
    "JournalEntry",
    "JournalError",
    "Level",
    "NotArchived",
    "NotFound",
    "NotXnat",
    "Option",
    "Outcome",
    "Overwrite",
    "Payload",
    "PermissionDenied",
    "Phase",
    "PlaceState",
    "Placement",
    "PluginUnavailable",
    "PollSchedule",
    "PrearchiveRef",
    "Reader",
    "Refused",
    "Report",
    "ReportItem",
    "ResourceLevel",
    "ResourceRef",
    "ResourceReport",
    "ResourceWriter",
    "RunContext",
    "SentImages",
    "Series",
    "ServerError",
    "Source",
    "SourceChanged",
    "Stage",
    "StageRunner",
    "StageSpec",
    "Status",
    "StoringCredentialSource",
    "StudyReport",
    "Summary",
    "Throttled",
    "TooLarge",
    "Transport",
    "TransportContext",
    "TransportError",
    "TransportSpec",
    "UploadItem",
    "UploadPlan",
    "UploadRequest",
    "UsageError",
    "Verification",
    "VerificationFailed",
    "XnatctlError",
    "changed_outcome",
    "check_writable",
    "classify",
    "clean_label",
    "clean_resource_label",
    "compressor_name",
    "content_hash",
    "counted",
    "cut_batches",
    "deflated_size",
    "deflated_zip_body",
    "failed_outcomes",
    "file_name_problem",
    "fill_items",
    "fits_zip",
    "goes_alone",
    "hookimpl",
    "human_size",
    "in_order",
    "incomplete",
    "is_clean_label",
    "is_plain_path",
    "is_uid",
    "join_verifications",
    "open_item",
    "part_of",
    "plain_body",
    "printable",
    "read_private",
    "readable_by_others",
    "record_name",
    "resource_label_problem",
    "run_many",
    "stored_zip_body",
    "tar_body",
    "tgz_body",
    "token_directory",
    "with_options",
    "wrapped",
    "write_private",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
