"""Value representations by the form of their length (DICOM PS3.5 7.1.2)."""

from __future__ import annotations

#: A length of four bytes, after two reserved bytes.
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
#: A length of two bytes.
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
#: The length of a value that ends with a delimiter (PS3.5 7.5).
UNDEFINED = 0xFFFFFFFF
