"""Transports `tar` (the default) and `zip`: bundles for the DICOM-zip import handler."""

from __future__ import annotations

from xnatctl.api import Option, TransportSpec, hookimpl

requires_api = 1

_COMPRESS = Option(
    name="compress",
    help="Compress bundles: auto compresses if the link is slower than the compressor.",
    type=("auto", "always", "never"),
    default="auto",
    envvar="XNATCTL_COMPRESS",
)


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """Both take the same option."""
    return [
        TransportSpec(
            name="tar",
            summary="bundles as tar, or tar.gz when compressed; zip for servers before 1.8.3",
            target="xnatctl_zip.transport:TarTransport",
            options=(_COMPRESS,),
        ),
        TransportSpec(
            name="zip", summary="bundles as zip", target="xnatctl_zip.transport:ZipTransport", options=(_COMPRESS,)
        ),
    ]
