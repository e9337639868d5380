"""How much of a server's capacity the campaigns of a profile may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerBudget:
    """What a server carries at once, over all processes and machines of a campaign: `server_budget` of a profile."""

    sessions: int = 4  # login sessions, and rows in work
    requests: int = 8  # requests that send data
    archiving: int = 2  # sessions that the server archives

    @classmethod
    def of(cls, profile: Mapping[str, Any]) -> ServerBudget:
        """The budget of a profile that was checked; what it does not say is the default."""
        given = profile.get("server_budget") or {}
        return cls(**{key: value for key, value in given.items() if value is not None})
