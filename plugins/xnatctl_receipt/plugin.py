"""The report writer `receipt`, and the command `receipt verify`."""

from __future__ import annotations

from xnatctl.api import CommandSpec, Option, ReportWriterSpec, hookimpl

requires_api = 1

#: The options, as flags of every command that uploads.
OPTIONS = (
    Option(
        name="receipt",
        metavar="FILE",
        help="Write a receipt of the upload to FILE, which ends in .json or .html. An existing file is kept.",
    ),
    Option(
        name="receipt_paths",
        type=bool,
        default=False,
        help="Write paths and names of files into the receipt as well; they may identify a patient.",
    ),
    Option(
        name="receipt_sign",
        metavar="KEY",
        help="Sign the receipt with the SSH key KEY by ssh-keygen; the signature is FILE.sig.",
    ),
)


@hookimpl
def xnatctl_report_writers() -> list[ReportWriterSpec]:
    """One writer."""
    return [
        ReportWriterSpec(
            name="receipt",
            summary="a file that says what was sent where, and can be checked",
            target="xnatctl_receipt.writer:ReceiptWriter",
            options=OPTIONS,
            digests=True,
        )
    ]


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """One command."""
    return [
        CommandSpec(
            path="receipt verify",
            summary="Check a receipt, and compare it with the disk and the server.",
            target="xnatctl_receipt.cli:verify",
            page="how-to/keep-a-receipt.md",
            examples=(
                "# Whether nobody changed the receipt; without a login.",
                "xnatctl receipt verify s01.json --no-server",
                "# Whether the folder and the server still hold what was sent.",
                "xnatctl receipt verify s01.json exam",
            ),
        )
    ]
