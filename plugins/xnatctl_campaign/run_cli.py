"""`campaign run` and `campaign retry`: carry out a campaign on this machine."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from xnatctl.api import NotFound
from xnatctl.api.commands import (
    App,
    ExecutorOptionsCommand,
    WholeNumber,
    common_options,
    option_group,
    pass_unchecked,
    retry_option,
    server_options,
)
from xnatctl_campaign.carrying_out import Wish, carry_out
from xnatctl_campaign.dry_run import show
from xnatctl_campaign.durations import seconds_of
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.ledger import RowState
from xnatctl_campaign.outcomes import latest_of
from xnatctl_campaign.proof import Proof
from xnatctl_campaign.rows import RowIndex
from xnatctl_campaign.selection import Selection
from xnatctl_campaign.server_choice import use_server
from xnatctl_campaign.shard import parse_shard

F = TypeVar("F", bound=Callable[..., Any])

_RUN = """Deliver the rows of a campaign that are not proven yet.

DIR is the folder that campaign plan made. Each row is sent, settled and verified like one upload. Several are in work
at once, as many as the server budget allows. A row that is proven, and whose files did not change, is not sent again,
and the server is not asked for it.

Exit code 0 means: every instance of every row is proven. Run the command again after anything else: nothing is lost or
sent twice.

Ctrl-C interrupts the rows in work. SIGUSR1 is a soft stop: rows in work end, and no other begins.
"""
_RETRY = """Deliver again the rows of a campaign that failed or were interrupted.

campaign run delivers these as well, besides the rows that were not tried.
"""


def run_options(function: F) -> F:
    """The options of `run` and `retry`."""
    rows = option_group(
        "Rows",
        click.option("--only", metavar="ROWS", help="These rows alone, by number: 1,5-8."),
        click.option(
            "--shard",
            metavar="I/N",
            help="Part I of N of the rows: 3/8; auto, or auto/N, in a job array of SLURM and other batch systems.",
        ),
    )
    sending = option_group(
        "Sending",
        click.option(
            "--sessions",
            type=WholeNumber(min=1),
            metavar="N",
            help="Rows in work at once, at most the sessions of the server budget.  [default: that number]",
        ),
        click.option("--max-duration", metavar="TIME", help="Begin no other row after this time, such as 2h30m."),
        click.option(
            "--stop-after",
            type=WholeNumber(min=1),
            default=5,
            show_default=True,
            metavar="N",
            help="Begin no other row after N failures of one class in a row, such as an unreachable server.",
        ),
        click.option(
            "--executor",
            default="local",
            show_default=True,
            metavar="NAME",
            help="What runs the rows: local, dask, or an executor of a plugin.",
        ),
        click.option("--dry-run", is_flag=True, help="Show what would be done, without sending or logging in."),
        retry_option,
    )
    directory = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
    return directory(rows(sending(server_options(common_options(function)))))


@click.command(name="run", cls=ExecutorOptionsCommand, help=_RUN, short_help="Deliver the rows of a campaign.")
@run_options
@option_group("Rows", click.option("--recheck", is_flag=True, help="Ask the server for rows that are proven, too."))
@pass_unchecked
def run(app: App, directory: Path, only: str | None, recheck: bool, **options: Any) -> None:
    """Deliver every row, or those of `--only`."""
    campaign, index, proof = _open(app, directory)
    rows = _selected(campaign, index, only)
    _go(app, campaign, index, proof, rows, recheck=recheck, **options)


@click.command(name="retry", cls=ExecutorOptionsCommand, help=_RETRY, short_help="Deliver again the rows that failed.")
@run_options
@option_group(
    "Rows",
    click.option("--code", "codes", multiple=True, metavar="CODE", help="Rows with this code alone; can be repeated."),
)
@pass_unchecked
def retry(app: App, directory: Path, only: str | None, codes: tuple[str, ...], **options: Any) -> None:
    """Deliver the rows that failed or were interrupted, or those of them that options select."""
    campaign, index, proof = _open(app, directory)
    rows = [row for row in _selected(campaign, index, only) if proof.states[row] not in (None, RowState.PROVEN)]
    if codes:
        rows = _with_codes(app, directory, rows, codes)
    if not rows:
        app.info("There is no row to retry.")
    _go(app, campaign, index, proof, array("q", rows), recheck=False, **options)


def _with_codes(app: App, directory: Path, rows: list[int], codes: tuple[str, ...]) -> list[int]:
    """Those of the rows whose latest code is among `codes`. Warns about a code that no row has: it may be misspelt."""
    ended = latest_of(directory, set(rows))
    there = {ended[row].code for row in rows if row in ended}
    for code in codes:
        if there and code not in there:
            app.warn(f"No row that is left has the code {code}. The codes are: {', '.join(sorted(there))}.")
    return [row for row in rows if row in ended and ended[row].code in codes]


def _open(app: App, directory: Path) -> tuple[Campaign, RowIndex, Proof]:
    campaign = Campaign(directory)
    use_server(app, campaign)
    index = RowIndex(campaign)
    return campaign, index, Proof(campaign)


def _selected(campaign: Campaign, index: RowIndex, only: str | None) -> array[int]:
    """The numbers of the rows to deliver. Raises NotFound for a row that is not part of the campaign."""
    if only is None:
        return array("q", index)
    selection = Selection.parse(only)
    rows = array("q", (row for row in index if row in selection))
    missing = selection.first_missing(rows)
    if missing is None:
        return rows
    for excluded in campaign.excluded():
        if excluded.row.number == missing:
            raise NotFound(f"Row {missing} is not part of the campaign: {excluded.reason}")
    raise NotFound(f"The campaign has no row {missing}.", hint=f"Its last row is {index.last}.")


def _go(
    app: App,
    campaign: Campaign,
    index: RowIndex,
    proof: Proof,
    rows: array[int],
    *,
    recheck: bool,
    executor: str,
    sessions: int | None,
    max_duration: str | None,
    stop_after: int,
    dry_run: bool,
    shard: str | None,
    **options: Any,
) -> None:
    part = None if shard is None else parse_shard(shard, os.environ)
    if part is not None:
        rows = array("q", filter(part.holds, rows))
    seconds = None if max_duration is None else seconds_of(max_duration, "--max-duration")
    wish = Wish(
        rows=rows,
        shard=part,
        executor=executor,
        options=options,
        sessions=sessions,
        recheck=recheck,
        stop_after=stop_after,
        seconds=seconds,
    )
    if dry_run:
        show(app, campaign, index, proof, wish)
    else:
        carry_out(app, campaign, index, proof, wish)
