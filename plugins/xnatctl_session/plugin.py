"""Commands `session upload` and `session verify`; core plans and delivers the session of one study."""

from __future__ import annotations

from xnatctl.api import CommandSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """Uploading, and comparing without sending."""
    return [
        CommandSpec(
            path="session upload",
            summary="Upload DICOM and verify that it arrived.",
            target="xnatctl_session.cli:upload",
            page="how-to/upload-a-session.md",
            examples=(
                "# A folder of DICOM becomes the session s01_mr of subject s01.",
                "xnatctl session upload exam -P DEMO -S s01 -E s01_mr",
                "# Show what would be sent, and where to; sends nothing.",
                "xnatctl session upload exam -P DEMO -S s01 -E s01_mr --dry-run",
                "# Leave it in the prearchive, for review.",
                "xnatctl session upload exam -P DEMO -S s01 -E s01_mr --prearchive",
                "# Tens of thousands of files, or a link that breaks: one request for each.",
                "xnatctl session upload exam.zip -P DEMO -S s01 -E s01_mr --mode gradual",
            ),
        ),
        CommandSpec(
            path="session verify",
            summary="Compare what is on disk with a session.",
            target="xnatctl_session.verify_cli:verify",
            page="how-to/verify-an-upload.md",
            examples=(
                "# Whether the session holds what is on disk; sends nothing.",
                "xnatctl session verify exam -P DEMO -S s01 -E s01_mr",
                "# Also by MD5; fail when the session holds anything else.",
                "xnatctl session verify exam -P DEMO -S s01 -E s01_mr \\",
                "    --verify checksum --exact",
            ),
        ),
    ]
