"""Transport `cstore` and its command `session upload-dicom`."""

from __future__ import annotations

from xnatctl.api import CommandSpec, Option, StageSpec, TransportSpec, hookimpl

_COMMAND = "session upload-dicom"
_MODULES = ("pydicom", "pynetdicom")

_OPTIONS = (
    Option(name="host", help="The DICOM receiver's host.", envvar="XNAT_DICOM_HOST", required=True),
    Option(
        name="port",
        help="Its port; many XNATs listen on 8104.",
        type=int,
        default=104,
        envvar="XNAT_DICOM_PORT",
    ),
    Option(
        name="called_aet",
        help="Its AE title, exactly as it is set there; often XNAT.",
        envvar="XNAT_DICOM_CALLED_AET",
        required=True,
    ),
    Option(
        name="calling_aet",
        help="AE title of this program.",
        default="XNATCTL",
        envvar="XNAT_DICOM_CALLING_AET",
    ),
    Option(
        name="answer_timeout",
        help="Seconds that the receiver may take to answer one instance, and one more for each 10 MiB of it.",
        type=float,
        default=120.0,
        envvar="XNAT_DICOM_ANSWER_TIMEOUT",
    ),
    Option(name="tls", help="Encrypt the connection.", type=bool, default=False, envvar="XNAT_DICOM_TLS"),
    Option(name="ca_cert", help="Trust the certificate authorities in this file (PEM).", envvar="XNAT_DICOM_CA_CERT"),
    Option(
        name="client_cert", help="Client certificate, for receivers that require one.", envvar="XNAT_DICOM_CLIENT_CERT"
    ),
    Option(name="client_key", help="Its private key, when in another file.", envvar="XNAT_DICOM_CLIENT_KEY"),
)


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """Hands over to a receiver, which names no session."""
    return [
        TransportSpec(
            name="cstore",
            summary="DICOM C-STORE to a receiver; for session upload-dicom",
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
    """Its help can be read without the extra."""
    return [
        CommandSpec(
            path=_COMMAND,
            summary="Send DICOM to a receiver by C-STORE.",
            target="xnatctl_cstore.cli:upload_dicom",
            modules=_MODULES,
            extra="dicom",
        )
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    """What can be said of a study behind a receiver."""
    return [
        StageSpec(
            name="follow",
            summary="find each study in the XNAT behind a receiver, until it is archived, and compare it",
            target="xnatctl_cstore.follow:ArchiveTracker",
            modules=_MODULES,
            extra="dicom",
        )
    ]
