"""What a plugin's command needs: options, the application object, planning and running an upload.

Import it in the module of a command, not in `plugin.py`: it loads click.
"""

from xnatctl.cli.app import App, pass_app
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
from xnatctl.delivery.planning import plan_resource_stage, plan_session_upload
from xnatctl.inventory.files import FileInventory, scan_files
from xnatctl.inventory.nested_archives import look_inside
from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.walk import HOLDS_DICOM, MAY_HOLD_DICOM, Inventory, scan_path

__all__ = [
    "HOLDS_DICOM",
    "MAY_HOLD_DICOM",
    "App",
    "FileInventory",
    "Inventory",
    "Number",
    "TransportOptionsCommand",
    "Upload",
    "WholeNumber",
    "common_options",
    "destination_options",
    "holds_dicom",
    "journal_options",
    "look_inside",
    "pass_app",
    "plan_resource_stage",
    "plan_session_upload",
    "run_upload",
    "scan_files",
    "scan_path",
    "server_options",
    "source_options",
    "transport_options",
    "verify_options",
]
