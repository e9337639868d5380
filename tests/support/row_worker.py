"""Delivers rows of a campaign: `row_worker.py FOLDER LEASE ROW...` prints each entry of the ledger as JSON on a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from running import load, services

from xnatctl.plugin.credentials import Password
from xnatctl.xnat.client import XnatClient
from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claims
from xnatctl_campaign.delivering import RowDelivery
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.holder import new_worker
from xnatctl_campaign.ledger import Entry, Ledger

TRANSPORTS = {"tar": "xnatctl_zip.transport:TarTransport", "gradual": "xnatctl_gradual.transport:GradualTransport"}


@contextmanager
def delivering(directory: Path, *, lease: float = 600.0, **options: Any) -> Iterator[Callable[[int], Entry | None]]:
    """Yields what delivers a row by its number, as a worker of its own."""
    campaign, worker = Campaign(directory), new_worker()
    with (
        Claims(directory, worker, lease) as claims,
        Ledger(directory, worker) as ledger,
        XnatClient(campaign.info.server) as client,
    ):
        client.login(lambda: Password(username="alice", secret="alice"))
        transports = {name: load(target) for name, target in TRANSPORTS.items()}
        delivery = RowDelivery(
            campaign,
            services(transports, directory, connect=lambda: client),
            ledger,
            claims=claims,
            budget=Budget(claims, {"sessions": 4, "archiving": 2}),
            requests=options.pop("requests", 2),
            **options,
        )
        rows = {frozen.number: frozen for frozen in campaign.rows()}
        yield lambda number: delivery.deliver(rows[number])


def main() -> None:
    """Deliver the rows one after the other."""
    with delivering(Path(sys.argv[1]), lease=float(sys.argv[2])) as deliver:
        for row in sys.argv[3:]:
            entry = deliver(int(row))
            print(json.dumps(entry and asdict(entry)), flush=True)


if __name__ == "__main__":
    main()
