"""Transport `cstore` and its command `session upload-dicom`."""

from __future__ import annotations

from xnatctl.api import CommandSpec, Option, StageSpec, TransportSpec, hookimpl

requires_api = 1

_COMMAND = "session upload-dicom"
_MODULES = ("pydicom", "pynetdicom")

_OPTIONS = (
    Option(name="host", help="Host of the DICOM receiver.", envvar="XNAT_DICOM_HOST", required=True),
    Option(
        name="port",
        help="Port of the receiver; many XNAT servers use 8104.",
        type=int,
        default=104,
        envvar="XNAT_DICOM_PORT",
    ),
    Option(
        name="called_aet",
        help="AE title of the receiver, exactly as configured there; often XNAT.",
        envvar="XNAT_DICOM_CALLED_AET",
        required=True,
    ),
    Option(
        name="calling_aet",
        help="Our own AE title.",
        default="XNATCTL",
        envvar="XNAT_DICOM_CALLING_AET",
    ),
    Option(
        name="answer_timeout",
        help="Time-out for the answer to one instance in seconds, plus one second for each 10 MiB.",
        type=float,
        default=120.0,
        envvar="XNAT_DICOM_ANSWER_TIMEOUT",
    ),
    Option(name="tls", help="Encrypt the connection.", type=bool, default=False, envvar="XNAT_DICOM_TLS"),
    Option(name="ca_cert", help="Trust the certificate authorities in this file (PEM).", envvar="XNAT_DICOM_CA_CERT"),
    Option(
        name="client_cert", help="Client certificate, for receivers that require one.", envvar="XNAT_DICOM_CLIENT_CERT"
    ),
    Option(
        name="client_key",
        help="Private key of the client certificate, if in another file.",
        envvar="XNAT_DICOM_CLIENT_KEY",
    ),
)


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """The transport `cstore`, which delivers to a receiver."""
    return [
        TransportSpec(
            name="cstore",
            summary="DICOM C-STORE to a receiver; used by session upload-dicom",
            target="xnatctl_cstore.transport:CStoreTransport",
            options=_OPTIONS,
            modules=_MODULES,
            extra="dicom",
            settle="none",
            command=_COMMAND,
            destination="xnatctl_cstore.receiver:address_of",
        )
    ]


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """The command, whose help works without the extra."""
    return [
        CommandSpec(
            path=_COMMAND,
            summary="Send DICOM to a receiver by C-STORE.",
            target="xnatctl_cstore.cli:upload_dicom",
            page="how-to/upload-by-dicom.md",
            modules=_MODULES,
            extra="dicom",
            examples=(
                "# Send a folder.",
                "xnatctl session upload-dicom exam \\",
                "    --host xnat.example.org --port 8104 --called-aet XNAT",
                "# Ask the receiver who it is; sends nothing.",
                "xnatctl session upload-dicom --echo \\",
                "    --host xnat.example.org --port 8104 --called-aet XNAT",
                "# Log in to XNAT as well, and wait until everything is in the archive.",
                "xnatctl session upload-dicom exam \\",
                "    --host xnat.example.org --port 8104 --called-aet XNAT --verify -P DEMO",
            ),
        )
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    """The stage `follow`."""
    return [
        StageSpec(
            name="follow",
            summary="find each study in the XNAT behind a receiver, until it is archived, and compare it",
            target="xnatctl_cstore.follow:ArchiveTracker",
            modules=_MODULES,
            extra="dicom",
        )
    ]
