"""`campaign work`: the worker process of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xnatctl.api import UsageError
from xnatctl.api.commands import (
    App,
    common_options,
    make_services,
    pass_unchecked,
    retry_option,
    server_options,
)
from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claims
from xnatctl_campaign.delivering import RowDelivery
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.holder import new_worker
from xnatctl_campaign.inbox import Inbox
from xnatctl_campaign.ledger import Ledger
from xnatctl_campaign.protocol import Sender
from xnatctl_campaign.server_choice import budget_of, requests_of, use_server
from xnatctl_campaign.worker import Worker, own_stdout

if TYPE_CHECKING:
    from xnatctl.api.xnat import XnatClient

_HELP = """Deliver the rows whose numbers are read from standard input.

campaign run and executors start this command; it is not for terminals. Messages are JSON objects, one a line. Standard
input takes {"do": "row", "row": 3}, {"do": "stop"}, which ends the command after the rows that were named, and
{"do": "interrupt"}. The end of standard input interrupts the row in work. Standard output tells the result of each row.
"""


@click.command(name="work", help=_HELP, short_help="Deliver the rows whose numbers are read from standard input.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--recheck", is_flag=True, help="Ask the server for rows that are proven, too.")
@retry_option
@server_options
@common_options
@pass_unchecked
def work(app: App, directory: Path, recheck: bool) -> None:
    """Work until the run says to stop, or has ended."""
    if app.given.get("password_stdin"):
        raise UsageError("Standard input of campaign work holds row numbers, so --password-stdin cannot be used.")
    campaign = Campaign(directory)
    use_server(app, campaign)
    app.quiet = True  # warnings alone: the run shows the progress
    name = new_worker()
    with (
        own_stdout() as pipe,
        app.guard.redirected(),
        Claims(directory, name, campaign.info.lease) as claims,
        Ledger(directory, name) as ledger,
    ):
        sender = Sender(pipe)
        # Not sys.stdin: the interpreter closes that at its end, and aborts while the inbox reads it.
        inbox = Inbox(open(sys.stdin.fileno(), "rb", closefd=False), sender)  # noqa: SIM115 - the process ends with it
        inbox.begin()

        def connect() -> XnatClient:
            if not inbox.token:
                return app.connect(prompts=False)
            return app.join_session(inbox.token, inbox.renew, username=inbox.user)

        limits = inbox.budget or budget_of(app)
        budget = Budget(claims, limits)
        services = make_services(app, connect=connect)
        delivery = RowDelivery(
            campaign, services, ledger, claims=claims, budget=budget, requests=requests_of(limits), recheck=recheck
        )
        Worker(campaign, delivery, app.tell).serve(inbox, sender)
