"""Request bodies for transports that pack: files as they are, and archive files of several.

The bytes are read through `TransportContext.open_item` while the body is sent. Members are called by the `name` of
their item; time and owner are fixed, so that equal input gives equal bytes.
"""

from xnatctl.packing.bodies import (
    deflated_zip_body,
    fits_zip,
    plain_body,
    stored_zip_body,
    tar_body,
    tgz_body,
)
from xnatctl.packing.deflate import compressor_name, deflated_size

__all__ = [
    "compressor_name",
    "deflated_size",
    "deflated_zip_body",
    "fits_zip",
    "plain_body",
    "stored_zip_body",
    "tar_body",
    "tgz_body",
]
