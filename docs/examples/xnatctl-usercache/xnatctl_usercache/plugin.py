"""Declares the transport `usercache`."""

from __future__ import annotations

from xnatctl.api import TransportSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """A transport for sessions: core settles and verifies what it delivers."""
    return [
        TransportSpec(
            name="usercache",
            summary="archive files by way of the user's cache on the server",
            target="xnatctl_usercache.transport:UserCacheTransport",
        )
    ]
