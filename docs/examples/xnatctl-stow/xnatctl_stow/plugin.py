"""Declares the transport `stow` and the stage `stow-check`, and plans uploads that need the stage."""

from __future__ import annotations

from xnatctl.api import Option, StageSpec, TransportSpec, UploadPlan, UploadRequest, hookimpl

requires_api = 1

_OPTIONS = (
    Option(
        name="stow_url",
        help="Base URL of the DICOMweb service, for example https://pacs.example.org/dicom-web.",
        envvar="STOW_URL",
        required=True,
    ),
    Option(name="stow_token", help="Bearer token for the service.", envvar="STOW_TOKEN", secret=True),
    Option(name="stow_user", help="User name for HTTP basic authentication.", envvar="STOW_USER"),
    Option(name="stow_password", help="Password of this user.", envvar="STOW_PASSWORD", secret=True),
    Option(
        name="stow_timeout",
        help="How long the service may be silent, in seconds.",
        type=float,
        default=300.0,
        envvar="STOW_TIMEOUT",
    ),
    Option(
        name="stow_check",
        help="Find each instance at the service by QIDO-RS after sending.",
        type=bool,
        default=True,
        envvar="STOW_CHECK",
    ),
    Option(
        name="stow_wait",
        help="How long the check waits until the service lists every instance, in seconds.",
        type=float,
        default=30.0,
        envvar="STOW_WAIT",
    ),
)


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """A receiver: nothing is settled on an XNAT."""
    return [
        TransportSpec(
            name="stow",
            summary="DICOMweb STOW-RS to any server that offers it",
            target="xnatctl_stow.transport:StowTransport",
            options=_OPTIONS,
            modules=("httpx",),
            settle="none",
            destination="xnatctl_stow.service:address_of",
        )
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    """The proof."""
    return [
        StageSpec(
            name="stow-check",
            summary="find each instance at a DICOMweb service by QIDO-RS",
            target="xnatctl_stow.check:QidoCheck",
            server=False,
            modules=("httpx",),
        )
    ]


@hookimpl
def xnatctl_plan_upload(request: UploadRequest) -> UploadPlan | None:
    """Add the stage to uploads by `stow`; leave everything else to others."""
    if (request.command, request.transport) != ("session upload", "stow") or not request.options.get("stow_check"):
        return None
    from xnatctl_stow.check import with_check

    return with_check(request)
