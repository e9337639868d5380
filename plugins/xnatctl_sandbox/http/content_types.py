"""The Content-Type of a request: whether its body is a file, and under which name (xnat-import 1.3).

The import service and the resources share this table. `application/x-tar` is plain tar, never compressed.
"""

from __future__ import annotations

from werkzeug import Request

_NAMES = {
    "application/zip": "upload.zip",
    "application/x-tar": "upload.tar",
    "application/x-gtar": "upload.tar.gz",
    "application/x-gzip": "upload.gzip",
    "application/xar": "upload.xar",
    "application/dicom": "upload.dcm",
    "application/pdf": "upload.pdf",
    "text/plain": "upload.txt",
    "text/xml": "upload.xml",
    "text/html": "upload.html",
    "image/jpeg": "upload.jpeg",
    "image/png": "upload.png",
    "image/gif": "upload.gif",
    "image/tiff": "upload.tiff",
    "video/mpeg": "upload.mpeg",
    "video/x-msvideo": "upload.avi",
}
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
NO_LENGTH = "In-body File posts must include the file directly as the body of the message."


def name_of(kind: str) -> str | None:
    """The pseudo file name of a body of this type; None when the type alone does not make it a file."""
    if kind in (FORM, MULTIPART):
        return None
    if kind in _NAMES:
        return _NAMES[kind]
    family = kind.partition("/")[0]
    return "upload" if family in ("application", "image", "video", "text") else None


def lacks_length(request: Request) -> bool:
    """True when a raw body must be refused: its size is unknown or 0, and its type is not application/zip."""
    return request.mimetype != "application/zip" and not request.content_length


def consumed(request: Request) -> bool:
    """True when the container has read the body already: a POST whose type is a form (xnat-api 0.10)."""
    return request.method == "POST" and request.mimetype == FORM
