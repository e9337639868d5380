"""What the DICOM Receiver accepts: storage SOP classes, transfer syntaxes in its own order, calling AE titles.

See xnat-api 5.2. The acceptor takes the first of *its* transfer syntaxes that a presentation context offers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

VERIFICATION = "1.2.840.10008.1.1"

#: In the server's order of preference: a context that offers several gets the first of these.
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, selection value 1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 Part 2 Lossless
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 Part 2
    "1.2.840.10008.1.2.4.94",  # JPIP Referenced
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.100",  # MPEG2
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME
    "1.2.840.10008.1.2.6.2",  # XML
)
#: Verification is offered uncompressed little endian only.
_VERIFICATION_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")

#: Below the root of the standard's storage classes; presentation states 11.1 to 11.4 are not among them.
_STANDARD = """
1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3.1 4 4.1 4.2 4.3 4.4 6.1 6.2 7 7.1 7.2 7.3 7.4
9.1.1 9.1.2 9.1.3 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 11.5 11.6 11.7 11.8 11.9 11.10 11.11
12.1 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30
66 66.1 66.2 66.3 66.4 66.5 66.6 67 68.1 68.2
77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.3 77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7
77.1.5.8 77.1.6 78.1 78.2 78.3 78.4 78.5 78.6 78.7 78.8 79.1 80.1 81.1 82.1
88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69 88.70 88.71 88.72 88.73 88.74 88.75 90.1
104.1 104.2 104.3 128 128.1 130 131 200.2
481.1 481.2 481.3 481.4 481.5 481.6 481.7 481.8 481.9 481.10 481.11
"""
#: Below Philips' root.
_PHILIPS = """
2.3.1.1 2.4.1.1 5.0.1 5.0.2 5.0.2.1 5.0.3 5.0.3.1 5.0.4 5.0.7 5.0.8 5.0.9 5.0.10 5.0.11 5.0.12
11.0.0.12.1 11.0.0.12.2 11.0.0.12.4
"""
STORAGE = frozenset(
    [f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in _STANDARD.split()]
    + [f"1.3.46.670589.{suffix}" for suffix in _PHILIPS.split()]
    + [
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction
        "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
    ]
)


def syntaxes_for(sop_class: str) -> tuple[str, ...]:
    """The transfer syntaxes of one abstract syntax, preferred first; empty when it is not supported at all."""
    if sop_class == VERIFICATION:
        return _VERIFICATION_SYNTAXES
    return TRANSFER_SYNTAXES if sop_class in STORAGE else ()


def whitelisted(entries: Iterable[str], calling: str, address: str) -> bool:
    """True when an entry names this caller: `AE`, an address or network, or `AE@` and one of these."""
    for entry in entries:
        ae_title, at, host = entry.partition("@")
        if at:
            if ae_title == calling and _inside(host, address):
                return True
        elif entry == calling or _inside(entry, address):
            return True
    return False


def _inside(network: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
