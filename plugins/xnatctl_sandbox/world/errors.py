"""Errors that several parts of the sandbox raise."""

from __future__ import annotations

import errno


class StatusError(Exception):
    """Ends a request with Restlet's status page (xnat-api 0.6)."""

    def __init__(self, status: int, description: str = "") -> None:
        super().__init__(description)
        self.status = status
        self.description = description


class PortUnavailable(OSError):
    """A port that another program uses, or that this user may not use; `dicom` tells the DICOM Receiver's."""

    def __init__(self, port: int, error: OSError, *, dicom: bool) -> None:
        reason = (
            "is used by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        )
        super().__init__(f"Port {port} {reason}.")
        self.dicom = dicom
