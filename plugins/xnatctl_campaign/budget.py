"""The server's budget: how many sessions work at once, and how many the server archives at once, on all machines.

A budget of N has N slots, which are claims like those of rows: a slot whose worker died is taken over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from xnatctl_campaign.claims import Claim, Claims

#: Seconds between two looks at the slots: the first, and the longest. A look lists one folder.
_PAUSE: Final = (0.05, 1.0)


def _unsaid(text: str) -> None:
    """The default: print nothing."""


class Budget:
    """The slots of the budget, by kind (`sessions`, `archiving`); a kind without a limit has any number of slots.

    `say` prints a line the first time that a slot is waited for. `pause` waits for seconds; what it raises, as Ctrl-C
    does, ends the waiting.
    """

    def __init__(
        self,
        claims: Claims,
        limits: Mapping[str, int],
        *,
        say: Callable[[str], None] = _unsaid,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        for kind, limit in limits.items():
            if limit < 1:
                raise ValueError(f"the budget of {kind} is {limit}")
        self._claims = claims
        self._limits = dict(limits)
        self._say = say
        self._pause = pause
        self._said: set[str] = set()

    @contextmanager
    def slot(self, kind: str, pause: Callable[[float], None] | None = None) -> Iterator[Claim | None]:
        """Wait for a slot and hold it; None for a kind without a limit. `pause` replaces that of the budget."""
        limit = self._limits.get(kind)
        if limit is None:
            yield None
            return
        claim = self._wait(kind, limit, pause or self._pause)
        try:
            yield claim
        finally:
            claim.end()

    def _wait(self, kind: str, limit: int, wait: Callable[[float], None]) -> Claim:
        pause, longest = _PAUSE
        while True:
            claim = self._try(kind, limit)
            if claim is not None:
                return claim
            if kind not in self._said:
                self._said.add(kind)
                self._say(
                    f"Waiting: all {limit} slots for {kind} of the server budget are in use."
                    if limit > 1
                    else f"Waiting: the slot for {kind} of the server budget is in use."
                )
            wait(random.uniform(pause / 2, pause))  # noqa: S311 - spreads the looks of many workers
            pause = min(pause * 1.5, longest)

    def _try(self, kind: str, limit: int) -> Claim | None:
        """Try every slot once, from a random one on, so that workers do not race for the first."""
        first = random.randrange(limit)  # noqa: S311 - see above
        for number in (*range(first, limit), *range(first)):
            if (claim := self._claims.take_slot(f"{kind}-{number + 1}")) is not None:
                return claim
        return None
