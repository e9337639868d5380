"""Delivers rows of a campaign: `row_worker.py FOLDER LEASE ROW...` prints each entry of the ledger as JSON on a line.

`row_worker.py FOLDER LEASE all SEED` works until every row is proven.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from running import load, services

from xnatctl.delivery.stopping import StopToken
from xnatctl.plugin.credentials import Password
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http import retry
from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claims
from xnatctl_campaign.delivering import RowDelivery
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.holder import new_worker
from xnatctl_campaign.ledger import Entry, Ledger
from xnatctl_campaign.proof import Proof

TRANSPORTS = {"tar": "xnatctl_zip.transport:TarTransport", "gradual": "xnatctl_gradual.transport:GradualTransport"}

#: The budget of the server.
BUDGET = {"sessions": 2, "archiving": 1}


@contextmanager
def delivering(
    directory: Path, *, lease: float = 600.0, requests: int = 2, recheck: bool = False
) -> Iterator[Callable[[int], Entry | None]]:
    """Yields what delivers a row by its number, as a worker of its own, which logs in for the first row."""
    campaign, worker = Campaign(directory), new_worker()
    with Claims(directory, worker, lease) as claims, Ledger(directory, worker) as ledger:
        client = XnatClient(campaign.info.server)

        def connect() -> XnatClient:
            if client.login_name is None:
                client.login(lambda: Password(username="alice", secret="alice"))
            return client

        budget = Budget(claims, BUDGET)
        transports = {name: load(target) for name, target in TRANSPORTS.items()}
        made = services(transports, directory, connect=connect)
        delivery = RowDelivery(campaign, made, ledger, claims=claims, budget=budget, requests=requests, recheck=recheck)
        rows = {frozen.number: frozen for frozen in campaign.rows()}
        try:
            yield lambda number: delivery.deliver(rows[number])
        finally:
            with budget.slot("sessions"):  # the logout is a request, too
                client.close()


def all_rows(directory: Path, lease: float, seed: int) -> None:
    """Deliver rows in random order until all are proven, waiting a tenth as long as usual before each retry."""
    whole = StopToken.wait
    StopToken.wait = lambda self, seconds: whole(self, seconds * 0.1)  # type: ignore[method-assign]
    retry._WAITS = tuple(wait * 0.1 for wait in retry._WAITS)  # type: ignore[misc]
    campaign, dice = Campaign(directory), random.Random(seed)
    proof, rows = Proof(campaign), list(campaign.rows())
    with delivering(directory, lease=lease) as deliver:
        while left := [frozen for frozen in rows if not proof.holds(frozen)]:
            for frozen in dice.sample(left, len(left)):
                deliver(frozen.number)
            time.sleep(0.05)
            proof.refresh()


def main() -> None:
    """Deliver the rows one after the other, or `all SEED`."""
    directory, lease = Path(sys.argv[1]), float(sys.argv[2])
    if sys.argv[3] == "all":
        all_rows(directory, lease, int(sys.argv[4]))
        return
    with delivering(directory, lease=lease) as deliver:
        for row in sys.argv[3:]:
            entry = deliver(int(row))
            print(json.dumps(entry and asdict(entry)), flush=True)


if __name__ == "__main__":
    main()
