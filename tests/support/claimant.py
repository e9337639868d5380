"""A process that claims rows of a campaign folder, as a test orders it.

python claimant.py FOLDER LEASE: reads a JSON list on each line of standard input, answers with JSON on a line.
["take", ROW] -> generation or null; ["race", ROWS] -> rows taken; ["slot", KIND, LIMIT] -> generation;
["turns", LIMIT, N] -> times at which N slots were taken and ended; ["lost"] -> of the latest claim; ["end"] -> null.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claim, Claims
from xnatctl_campaign.holder import new_worker


def main() -> None:
    folder, lease = Path(sys.argv[1]), float(sys.argv[2])
    claims, latest = Claims(folder, new_worker(), lease), None
    with ExitStack() as slots:
        for line in sys.stdin:
            order, *arguments = json.loads(line)
            answer: object = None
            if order == "take":
                latest = claims.take(*arguments)
                answer = latest and latest.generation
            elif order == "race":
                answer = [row for row in range(1, arguments[0] + 1) if claims.take(row) is not None]
            elif order == "slot":
                kind, limit = arguments
                latest = slots.enter_context(Budget(claims, {kind: limit}).slot(kind))
                answer = latest and latest.generation
            elif order == "turns":
                answer = [turn(claims, arguments[0]) for _ in range(arguments[1])]
            elif order == "lost":
                answer = latest is None or latest.lost()
            elif order == "end" and isinstance(latest, Claim):
                latest.end()
            print(json.dumps(answer), flush=True)


def turn(claims: Claims, limit: int) -> tuple[float, float]:
    """Hold a slot for a moment; the time just after it was taken, and just before it ended."""
    with Budget(claims, {"sessions": limit}).slot("sessions"):
        begun = time.monotonic()
        time.sleep(0.005)
        return begun, time.monotonic()


main()
