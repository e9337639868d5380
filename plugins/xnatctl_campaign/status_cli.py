"""`campaign status`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from xnatctl.api import Column, Document, counted, human_size, human_time
from xnatctl.api.commands import App, column_option, common_options, pass_app
from xnatctl_campaign.facts import rows_text
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.standing import RowStanding, Standing, standings
from xnatctl_campaign.totals import FailureGroup, Totals

SCHEMA = "xnatctl.campaign-status/1"
#: Rows in work, and groups of failures, that the lines for people name.
_NAMED = 10

_COLUMNS = (
    Column(key="state"),
    Column(key="rows", numeric=True, count=True),
    Column(key="files", numeric=True, count=True),
    Column(key="bytes", title="Size", size=True, numeric=True),
)

_STATUS = """Show how the rows of a campaign stand.

DIR is the folder that `campaign plan` made. The state is read from what workers have written there, also while they
work; no server is asked, and no file of the rows is read. The exit code is 0 whatever the state is: `complete` in the
document says whether every row is proven.

A row in work whose worker died on another machine is shown as in work until another worker takes it over.
"""


@click.command(name="status", help=_STATUS, short_help="Show how the rows of a campaign stand.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@column_option(_COLUMNS)
@common_options
@pass_app
def status(app: App, directory: Path) -> None:
    """Totals for each state, rows in work, failures by code."""
    campaign = Campaign(directory)
    totals = Totals(time.time())
    for row in standings(campaign):
        totals.add(row)
    following = next_command(app, campaign, totals)
    app.render(_document(campaign, totals, following))


def next_command(app: App, campaign: Campaign, totals: Totals) -> str | None:
    """The command that continues; None while workers are at it."""
    if totals.in_work:
        return None
    unfinished = "run" if totals.states[Standing.NOT_TRIED].rows else "retry"
    word = "report" if totals.complete else unfinished
    return app.commands.command("campaign", word, campaign.directory, server=False)


def counts_of(totals: Totals) -> dict[str, int]:
    """The number of rows in each state, and of all that are part of the plan."""
    states = {standing.value.replace("-", "_"): total.rows for standing, total in totals.states.items()}
    return {"planned": totals.rows, **states}


def _document(campaign: Campaign, totals: Totals, following: str | None) -> Document:
    rate, info = totals.rate, campaign.info
    states = [{"state": standing.value, **asdict(total)} for standing, total in totals.states.items()]
    data = {
        "schema": SCHEMA,
        "directory": str(campaign.directory),
        "server": info.server,
        "manifest": info.manifest,
        "created": info.created,
        "complete": totals.complete,
        "rows": counts_of(totals),
        "states": states,
        "verified": totals.verified,
        "in_work": [_in_work(row) for row in totals.in_work],
        "interrupted": totals.interrupted.tolist(),
        "failures": [_failure(group) for group in _by_size(totals)],
        "rate": None if rate is None else asdict(rate),
        "next": [] if following is None else [following],
    }
    return Document(
        schema=SCHEMA,
        data=data,
        title=f"Campaign {campaign.directory} on {info.server}",
        listed="states",
        columns=_COLUMNS,
        rows=states,
        identifiers=tuple(str(row) for row in _unproven(totals)),
        summary=tuple(_summary(totals, following)),
    )


def _unproven(totals: Totals) -> list[int]:
    """The rows that failed or were interrupted."""
    return sorted([*(row for group in totals.failures.values() for row in group.rows), *totals.interrupted])


def _by_size(totals: Totals) -> list[FailureGroup]:
    return sorted(totals.failures.values(), key=lambda group: (-len(group.rows), group.code))


def _in_work(row: RowStanding) -> dict[str, Any]:
    return {
        "row": row.row.number,
        "place": row.row.place,
        "worker": row.worker,
        "host": row.host,
        "since": row.entry.at if row.entry is not None else None,
    }


def _failure(group: FailureGroup) -> dict[str, Any]:
    return {
        "code": group.code,
        "rows": group.rows.tolist(),
        "reason": group.reason,
        "hint": group.hint or None,
    }


def _summary(totals: Totals, following: str | None) -> Iterator[str]:
    proven = totals.states[Standing.PROVEN]
    yield f"{proven.rows:,} of {counted(totals.rows, 'row')} proven; {counted(totals.verified, 'file')} verified."
    yield from _named([_work_line(row) for row in totals.in_work], "rows in work")
    yield from _named([_failure_line(group) for group in _by_size(totals)], "kinds of failure")
    if totals.interrupted:
        yield f"Interrupted: {_lower(rows_text(totals.interrupted.tolist()))}."
    if (excluded := totals.states[Standing.EXCLUDED].rows) > 0:
        yield f"{counted(excluded, 'row')} of the manifest excluded by its plan; campaign report lists them."
    if (rate := totals.rate) is not None:
        speed = f"{rate.rows_per_hour:,.0f} rows an hour, {human_size(int(rate.bytes_per_second))}/s"
        yield f"In the last minutes: {speed}. About {_duration(rate.seconds_left)} left at this rate."
    if following is not None:
        yield f"Next: {following}"


def _named(lines: Sequence[str], what: str) -> Iterator[str]:
    yield from lines[:_NAMED]
    if len(lines) > _NAMED:
        yield f"And {len(lines) - _NAMED:,} more {what}."


def _work_line(row: RowStanding) -> str:
    since = f" since {human_time(row.entry.at)}" if row.entry is not None else ""
    host = f" on {row.host}" if row.host else ""
    return f"In work: row {row.row.number} ({row.row.place}){host}{since}."


def _failure_line(group: FailureGroup) -> str:
    first = f"row {group.rows[0]}: " if len(group.rows) > 1 else ""
    return f"Failed ({group.code}): {_lower(rows_text(group.rows.tolist()))}; {first}{group.reason}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return f"{minutes} min"
    return f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{round(minutes / 60 / 24)} days"
