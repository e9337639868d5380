"""Transport `gradual`: one request per instance."""

from __future__ import annotations

from xnatctl.api import TransportSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """The transport `gradual`."""
    return [
        TransportSpec(
            name="gradual",
            summary="one request per file, by the gradual-DICOM handler",
            target="xnatctl_gradual.transport:GradualTransport",
            most_workers=16,  # the server's time per file dominates, so parallel requests help up to a point
        )
    ]
