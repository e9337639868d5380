"""What a plugin's command needs: options, the application object, planning and running an upload.

Import it in the module of a command, not in `plugin.py`: it loads click.
"""

from xnatctl.cli.app import App, pass_app, pass_unchecked
from xnatctl.cli.help import option_group
from xnatctl.cli.list_options import column_option, list_options
from xnatctl.cli.numbers import Number, WholeNumber
from xnatctl.cli.option_values import executor_options, transport_options
from xnatctl.cli.options import (
    PROJECT_HELP,
    ExecutorOptionsCommand,
    ProjectOption,
    TransportOptionsCommand,
    VerifyingCommand,
    common_options,
    destination_options,
    journal_options,
    level_options,
    retry_option,
    server_options,
    session_fields,
    session_options,
    source_options,
    verify_options,
)
from xnatctl.cli.uploading import (
    PlanContext,
    PlanGroup,
    Upload,
    finish,
    make_services,
    plan_upload,
    run_upload,
    run_uploads,
)
from xnatctl.delivery.journal.summaries import Summary
from xnatctl.delivery.many import in_order, run_many
from xnatctl.delivery.opening import exclusively, sent_digests
from xnatctl.delivery.planning import plan_resource_stage, plan_session_upload, studies_of
from xnatctl.delivery.relisting import SourceChanges, source_changes
from xnatctl.delivery.remedies import remedy_for
from xnatctl.delivery.reporting import fill_items
from xnatctl.delivery.service import deliver
from xnatctl.delivery.services import Services
from xnatctl.delivery.stopping import StopToken
from xnatctl.inventory.by_study import StudyInventory
from xnatctl.inventory.files import FileInventory, scan_files
from xnatctl.inventory.header_values import header_values
from xnatctl.inventory.keywords import check_keywords
from xnatctl.inventory.nested_archives import look_inside
from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.sources import has_content
from xnatctl.inventory.values import NO_PATIENT
from xnatctl.inventory.walk import HOLDS_DICOM, MAY_HOLD_DICOM, Inventory, scan_listed, scan_path, scan_paths
from xnatctl.settings.budget import ServerBudget

__all__ = [
    "HOLDS_DICOM",
    "MAY_HOLD_DICOM",
    "NO_PATIENT",
    "PROJECT_HELP",
    "App",
    "ExecutorOptionsCommand",
    "FileInventory",
    "Inventory",
    "Number",
    "PlanContext",
    "PlanGroup",
    "ProjectOption",
    "ServerBudget",
    "Services",
    "SourceChanges",
    "StopToken",
    "StudyInventory",
    "Summary",
    "TransportOptionsCommand",
    "Upload",
    "VerifyingCommand",
    "WholeNumber",
    "check_keywords",
    "column_option",
    "common_options",
    "deliver",
    "destination_options",
    "exclusively",
    "executor_options",
    "fill_items",
    "finish",
    "has_content",
    "header_values",
    "holds_dicom",
    "in_order",
    "journal_options",
    "level_options",
    "list_options",
    "look_inside",
    "make_services",
    "option_group",
    "pass_app",
    "pass_unchecked",
    "plan_resource_stage",
    "plan_session_upload",
    "plan_upload",
    "remedy_for",
    "retry_option",
    "run_many",
    "run_upload",
    "run_uploads",
    "scan_files",
    "scan_listed",
    "scan_path",
    "scan_paths",
    "sent_digests",
    "server_options",
    "session_fields",
    "session_options",
    "source_changes",
    "source_options",
    "studies_of",
    "transport_options",
    "verify_options",
]
