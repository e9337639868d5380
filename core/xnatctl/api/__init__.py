"""What a plugin author imports: to declare, and to write transports, credential sources, formatters and stages.

Commands find more in `xnatctl.api.commands`, transports that pack files in `xnatctl.api.packing`, and code that asks an
XNAT server in `xnatctl.api.xnat`. Names that declarations need are imported at once. The others are found on first use,
so that a `plugin.py` that imports this module costs nothing.
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
)
from xnatctl.model.refs import (
    Destination,
    PrearchiveRef,
    ResourceLevel,
    ResourceRef,
    clean_label,
    is_uid,
)
from xnatctl.model.words import counted, human_size
from xnatctl.plugin.hookspecs import hookimpl
from xnatctl.plugin.specs import (
    CheckResult,
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    ExecutorSpec,
    FormatterSpec,
    Option,
    StageSpec,
    TransportSpec,
)

if TYPE_CHECKING:
    from xnatctl.cli.console import printable
    from xnatctl.cli.wrap import wrapped
    from xnatctl.delivery.context import RunContext
    from xnatctl.delivery.engine.outcomes import ByteCounter, changed_outcome, failed_outcomes
    from xnatctl.delivery.journal.journal import Journal
    from xnatctl.delivery.journal.records import JournalEntry
    from xnatctl.delivery.schedule import PollSchedule
    from xnatctl.inventory.sources import content_hash, open_item
    from xnatctl.model.batches import cut_batches
    from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
    from xnatctl.model.report import (
        Difference,
        Level,
        PlaceState,
        Report,
        ResourceReport,
        Status,
        StudyReport,
        Verification,
    )
    from xnatctl.plugin.credentials import (
        AliasToken,
        ClientCertificate,
        Credential,
        CredentialRequest,
        CredentialSource,
        Headers,
        Password,
        RenewingCredentialSource,
        SessionToken,
        StoringCredentialSource,
    )
    from xnatctl.plugin.protocols import (
        BatchingReceiver,
        Body,
        ConnectedTransport,
        Executor,
        ExecutorContext,
        Formatter,
        Http,
        HttpResponse,
        Importer,
        Reader,
        ReceiverContext,
        ReceiverTransport,
        ResourceWriter,
        RowResult,
        RowWork,
        RowWorker,
        StageRunner,
        Transport,
        TransportContext,
    )
    from xnatctl.settings.paths import PrivateFolder

#: Module -> the names of it that are found on first use.
_LAZY = {
    "xnatctl.cli.console": ("printable",),
    "xnatctl.cli.wrap": ("wrapped",),
    "xnatctl.delivery.context": ("RunContext",),
    "xnatctl.delivery.engine.outcomes": ("ByteCounter", "changed_outcome", "failed_outcomes"),
    "xnatctl.delivery.journal.journal": ("Journal",),
    "xnatctl.delivery.journal.records": ("JournalEntry",),
    "xnatctl.delivery.schedule": ("PollSchedule",),
    "xnatctl.inventory.sources": ("content_hash", "open_item"),
    "xnatctl.model.batches": ("cut_batches",),
    "xnatctl.model.outcome": ("BatchResult", "FailureClass", "ItemOutcome", "Outcome"),
    "xnatctl.model.report": (
        "Difference",
        "Level",
        "PlaceState",
        "Report",
        "ResourceReport",
        "Status",
        "StudyReport",
        "Verification",
    ),
    "xnatctl.plugin.credentials": (
        "AliasToken",
        "ClientCertificate",
        "Credential",
        "CredentialRequest",
        "CredentialSource",
        "Headers",
        "Password",
        "RenewingCredentialSource",
        "SessionToken",
        "StoringCredentialSource",
    ),
    "xnatctl.plugin.protocols": (
        "BatchingReceiver",
        "Body",
        "ConnectedTransport",
        "Executor",
        "ExecutorContext",
        "Formatter",
        "Http",
        "HttpResponse",
        "Importer",
        "Reader",
        "ReceiverContext",
        "ReceiverTransport",
        "ResourceWriter",
        "RowResult",
        "RowWork",
        "RowWorker",
        "StageRunner",
        "Transport",
        "TransportContext",
    ),
    "xnatctl.settings.paths": ("PrivateFolder",),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "AliasToken",
    "AuthenticationError",
    "Batch",
    "BatchResult",
    "BatchingReceiver",
    "Body",
    "ByteCounter",
    "CheckResult",
    "CheckSpec",
    "ClientCertificate",
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
    "Difference",
    "Document",
    "Emit",
    "Event",
    "EventKind",
    "Exclusion",
    "Executor",
    "ExecutorContext",
    "ExecutorSpec",
    "FailureClass",
    "Formatter",
    "FormatterSpec",
    "Headers",
    "Http",
    "HttpResponse",
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
    "Password",
    "Payload",
    "PermissionDenied",
    "PlaceState",
    "Placement",
    "PluginUnavailable",
    "PollSchedule",
    "PrearchiveRef",
    "PrivateFolder",
    "Reader",
    "ReceiverContext",
    "ReceiverTransport",
    "Refused",
    "RenewingCredentialSource",
    "Report",
    "ResourceLevel",
    "ResourceRef",
    "ResourceReport",
    "ResourceWriter",
    "RowResult",
    "RowWork",
    "RowWorker",
    "RunContext",
    "Series",
    "ServerError",
    "SessionToken",
    "Source",
    "SourceChanged",
    "Stage",
    "StageRunner",
    "StageSpec",
    "Status",
    "StoringCredentialSource",
    "StudyReport",
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
    "clean_label",
    "content_hash",
    "counted",
    "cut_batches",
    "failed_outcomes",
    "hookimpl",
    "human_size",
    "is_uid",
    "open_item",
    "printable",
    "wrapped",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
