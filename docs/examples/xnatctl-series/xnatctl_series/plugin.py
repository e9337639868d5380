"""Declares the transport `series`."""

from __future__ import annotations

from xnatctl.api import Option, TransportSpec, hookimpl

requires_api = 1

SERIES = TransportSpec(
    name="series",
    summary="one zip per series",
    target="xnatctl_series.transport:SeriesTransport",
    options=(Option(name="level", help="Compression level, 0 to 9.", type=int, default=1),),
)


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    return [SERIES]
