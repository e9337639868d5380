"""Which plugins may be used: blocked ones, allowed ones, safe mode."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xnatctl.plugin.discovery import Plugin
from xnatctl.plugin.guard import BLOCK_VARIABLE

SAFE_VARIABLE = "XNATCTL_NO_EXTERNAL_PLUGINS"
BLOCK_FLAG = "--block-plugin"
IN_FILE = "the configuration file"


def means(entry: str, plugin: Plugin) -> bool:
    """Whether an entry `NAME` or `DISTRIBUTION:NAME` means a plugin."""
    return covers(entry, f"{plugin.distribution}:{plugin.name}")


def covers(entry: str, other: str) -> bool:
    """Whether all plugins that `other` means are meant by `entry`; both are `NAME` or `DISTRIBUTION:NAME`."""
    distribution, colon, name = entry.rpartition(":")
    other_distribution, other_colon, other_name = other.rpartition(":")
    if name != other_name or (colon and not other_colon):
        return False
    return not colon or _normal(distribution) == _normal(other_distribution)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Which plugins may be used. `block` names plugins and says where each was blocked.

    `allow` None = all; `external` False = safe mode.
    """

    block: Mapping[str, str] = field(default_factory=dict)
    allow: frozenset[str] | None = None
    external: bool = True

    def verdict(self, plugin: Plugin) -> str | None:
        """Why a plugin is blocked, or None."""
        for entry, place in self.block.items():
            if means(entry, plugin):
                return f"blocked by {place}"
        if not self.external and not plugin.ours:
            return "external plugins are switched off"
        if self.allow is not None and not plugin.ours and not any(means(entry, plugin) for entry in self.allow):
            return "not in the list of allowed plugins"
        return None

    @property
    def remedy(self) -> str:
        """How to use a plugin that is blocked without being named."""
        if not self.external:
            return f"Run the command without --no-external-plugins and {SAFE_VARIABLE}."
        return "Add it to plugins.allow in the configuration file."


def policy_from(
    *,
    block: Iterable[str] = (),
    external: bool = True,
    configured: Callable[[], tuple[Sequence[str], Sequence[str] | None]],
) -> Policy:
    """The policy from flags, variables and the configuration file (`plugins.block`, `plugins.allow`)."""
    listed = [name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")]
    file_block, file_allow = configured()
    safe = os.environ.get(SAFE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")
    places = {
        **dict.fromkeys(file_block, IN_FILE),
        **dict.fromkeys(filter(None, listed), BLOCK_VARIABLE),
        **dict.fromkeys(block, BLOCK_FLAG),
    }
    return Policy(
        block=places,
        allow=None if file_allow is None else frozenset(file_allow),
        external=external and not safe,
    )
