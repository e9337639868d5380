"""`campaign report`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from xnatctl.api import Column, Document, UsageError, counted
from xnatctl.api.commands import App, common_options, pass_app
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.report_files import new_names, write_reports
from xnatctl_campaign.standing import Standing, standings
from xnatctl_campaign.status_cli import counts_of, next_command
from xnatctl_campaign.totals import Totals

SCHEMA = "xnatctl.campaign-reports/1"

_REPORT = """Write the report of a campaign: the state of each row of the manifest.

DIR is the folder that `campaign plan` made. Each row has its state, the reason if it is not proven, the session on the
server, and the instances that were found there. Excluded rows are listed as well. Without --csv and --json, both files
are made in DIR/reports, with the time in their names. No file is ever overwritten.

The state is read from what workers have written, also while they work, and no server is asked.
"""


@click.command(name="report", help=_REPORT, short_help="Write the report of a campaign.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--csv", "csv_file", metavar="FILE", type=click.Path(path_type=Path), help="Write a new CSV file.")
@click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write a new JSON file.")
@common_options
@pass_app
def report(app: App, directory: Path, csv_file: Path | None, json_file: Path | None) -> None:
    """Write the files, and print their names with the totals."""
    if csv_file is not None and csv_file == json_file:
        raise UsageError("--csv and --json name the same file.")
    campaign = Campaign(directory)
    if csv_file is None and json_file is None:
        csv_file, json_file = new_names(directory)
    totals = Totals(time.time())
    write_reports(campaign, standings(campaign), totals, csv_file=csv_file, json_file=json_file)
    app.render(_document(app, campaign, totals, {"csv": csv_file, "json": json_file}))


def _document(app: App, campaign: Campaign, totals: Totals, files: dict[str, Path | None]) -> Document:
    written = [{"format": name, "file": str(path)} for name, path in files.items() if path is not None]
    following = None if totals.complete else next_command(app, campaign, totals)
    proven, excluded = totals.states[Standing.PROVEN].rows, totals.states[Standing.EXCLUDED].rows
    summary = [f"{proven:,} of {counted(totals.rows, 'row')} proven; {counted(totals.verified, 'file')} verified."]
    if excluded:
        summary.append(f"{counted(excluded, 'row')} of the manifest excluded by its plan.")
    if following is not None:
        summary.append(f"Next: {following}")
    return Document(
        schema=SCHEMA,
        data={
            "schema": SCHEMA,
            "directory": str(campaign.directory),
            "complete": totals.complete,
            "rows": counts_of(totals),
            "reports": written,
            "next": [] if following is None else [following],
        },
        columns=(Column(key="format"), Column(key="file")),
        rows=written,
        identifiers=tuple(entry["file"] for entry in written),
        summary=tuple(summary),
    )
