"""`campaign plan`: checks a manifest and freezes it into a campaign folder."""

from __future__ import annotations

import os
from pathlib import Path

import click

from xnatctl.api import Refused
from xnatctl.api.commands import (
    App,
    Number,
    VerifyingCommand,
    common_options,
    level_options,
    option_group,
    pass_app,
    server_options,
    source_options,
)

_HELP = """Check every row of a manifest, and freeze the campaign into a new folder.

MANIFEST is the CSV file that campaign scan writes or that you write. DIR is the new folder; it must not exist or be
empty. The command reads the headers of all files and asks the server, and sends nothing. It shows all findings at
once, each with the number of its row and a code. An error means exit code 7, and DIR is not made; --only-valid excludes
the rows with errors and freezes the others. Warnings do not prevent anything.

The frozen plan belongs to one server. Later commands read DIR and not MANIFEST, so a change of MANIFEST needs a new
plan. A row with an ignore_reason is not checked and not delivered.
"""


@click.command(
    name="plan", cls=VerifyingCommand, help=_HELP, short_help="Check a manifest and freeze it into a campaign folder."
)
@click.argument("manifest", type=click.Path(path_type=str))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=str))
@click.option("--only-valid", is_flag=True, help="Exclude rows with errors, with the reasons, and freeze the others.")
@option_group(
    "Source",
    click.option(
        "--same-patient", is_flag=True, help="Accept different patient IDs and names under one subject as one patient."
    ),
    click.option(
        "--attach-unknown",
        is_flag=True,
        help="Attach packed files that cannot be inspected, if you know that they hold no DICOM.",
    ),
)
@click.option(
    "--lease",
    type=Number(min=1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long a worker may be silent before another one takes over its row.",
)
@source_options
@option_group(
    "Checking",
    click.option(
        "--verify",
        is_flag=True,
        expose_value=False,
        help="How rows are proven: --verify size (the default) compares UIDs and sizes, --verify checksum also MD5 "
        "where the server kept the bytes.",
    ),
)
@level_options
@server_options
@common_options
@pass_app
def plan(
    app: App,
    manifest: str,
    directory: str,
    only_valid: bool,
    same_patient: bool,
    attach_unknown: bool,
    lease: float,
    follow_symlinks: bool,
    large_archive: bool,
    verify_level: str,
    exact: bool,
) -> None:
    """See `_HELP`."""
    from xnatctl_campaign.folder import refuse_used
    from xnatctl_campaign.manifest import read_manifest
    from xnatctl_campaign.plan_view import plan_document
    from xnatctl_campaign.planning import PlanChoices, plan_campaign
    from xnatctl_campaign.requests import Choices

    folder = Path(os.path.abspath(directory))
    run = app.commands.command("campaign", "run", directory, server=False)
    refuse_used(folder, run)
    choices = PlanChoices(
        only_valid=only_valid,
        same_patient=same_patient,
        lease=lease,
        sources=Choices(
            checksum=verify_level == "checksum",
            exact=exact,
            follow_symlinks=follow_symlinks,
            large_archive=large_archive,
            attach_unknown=attach_unknown,
        ),
    )
    with app.guard.redirected():
        planned = plan_campaign(app, read_manifest(manifest), folder, choices)
    app.render(plan_document(planned, directory, app.commands.command("campaign", "run", directory)))
    if planned.frozen is None:
        error = _refusal(app, whole=0 in planned.blocked, rows=len(planned.blocked), only_valid=only_valid)
        app.report_error(error)
        app.exit_with(error.exit_code)


def _refusal(app: App, *, whole: bool, rows: int, only_valid: bool) -> Refused:
    if whole:
        return Refused("The manifest cannot be planned.", hint="Correct it and run the command again.")
    if only_valid or not rows:
        return Refused(
            "No row of the manifest can be delivered, so there is no campaign.",
            hint="Correct the manifest and run the command again.",
        )
    valid = app.commands.with_options(app.commands.rerun(), {}, ["--only-valid"])
    return Refused(
        f"{rows:,} row{' has errors' if rows == 1 else 's have errors'}, so the campaign was not frozen.",
        hint=f"Correct the manifest and run the command again, or freeze the other rows: {valid}",
    )
