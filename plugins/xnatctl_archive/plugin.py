"""Commands: session list | show, scan list, prearchive list | show | archive | delete."""

from __future__ import annotations

from xnatctl.api import CommandSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """The commands of this plugin."""
    return [
        CommandSpec(
            path="session list",
            summary="List the sessions of a project.",
            target="xnatctl_archive.cli:session_list",
            page="how-to/verify-an-upload.md",
            examples=(
                "# Every session of a project in the archive.",
                "xnatctl session list -P DEMO",
                "# The ten latest MR sessions.",
                "xnatctl session list -P DEMO --filter modality=MR --sort-by -date --limit 10",
                "# MR sessions of one subject, as a CSV file.",
                "xnatctl session list -P DEMO -S s01 --modality MR -o csv > sessions.csv",
            ),
        ),
        CommandSpec(
            path="session show",
            summary="Show one session with its scans.",
            target="xnatctl_archive.cli:session_show",
            page="how-to/verify-an-upload.md",
            examples=(
                "# By label, in a project.",
                "xnatctl session show s01_mr -P DEMO",
                "# By accession ID, with every field.",
                "xnatctl session show XNAT_E00001 -o json",
            ),
        ),
        CommandSpec(
            path="scan list",
            summary="List the scans of a session.",
            target="xnatctl_archive.cli:scan_list",
            page="how-to/verify-an-upload.md",
            examples=(
                "# The scans of a session, by its label in a project.",
                "xnatctl scan list -E s01_mr -P DEMO",
                "# By accession ID; scan IDs alone, one a line.",
                "xnatctl scan list -E XNAT_E00001 -q",
            ),
        ),
        CommandSpec(
            path="prearchive list",
            summary="List the sessions in the prearchive.",
            target="xnatctl_archive.prearchive_cli:list_rows",
            page="how-to/review-prearchive.md",
            examples=(
                "# What waits for review, in all projects.",
                "xnatctl prearchive list --all-projects",
                "# In one project, as CSV.",
                "xnatctl prearchive list -P DEMO -o csv",
            ),
        ),
        CommandSpec(
            path="prearchive show",
            summary="Show one prearchive session and its server log.",
            target="xnatctl_archive.prearchive_cli:show",
            page="how-to/review-prearchive.md",
            examples=(
                "# The three names are the first three columns of prearchive list.",
                "xnatctl prearchive show DEMO 20260131_143000123 s01_mr",
                "# With its server log, for a script.",
                "xnatctl prearchive show DEMO 20260131_143000123 s01_mr -o json",
            ),
        ),
        CommandSpec(
            path="prearchive archive",
            summary="Archive a prearchive session.",
            target="xnatctl_archive.prearchive_cli:archive",
            page="how-to/review-prearchive.md",
            examples=(
                "# The three names are the first three columns of prearchive list.",
                "xnatctl prearchive archive DEMO 20260131_143000123 s01_mr",
                "# Under another subject; show first what would be done.",
                "xnatctl prearchive archive DEMO 20260131_143000123 s01_mr \\",
                "    --subject s02 --dry-run",
                "# Add to a session of the archive that lacks some files.",
                "xnatctl prearchive archive DEMO 20260131_143000123 s01_mr \\",
                "    --overwrite append",
            ),
        ),
        CommandSpec(
            path="prearchive delete",
            summary="Delete a prearchive session.",
            target="xnatctl_archive.prearchive_cli:delete",
            page="how-to/review-prearchive.md",
            examples=(
                "# Show first what would be deleted.",
                "xnatctl prearchive delete DEMO 20260131_143000123 s01_mr --dry-run",
                "# Delete without a question, as in a script.",
                "xnatctl prearchive delete DEMO 20260131_143000123 s01_mr --yes",
            ),
        ),
    ]
