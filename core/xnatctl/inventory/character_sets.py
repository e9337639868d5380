"""Decodes text by Specific Character Set (DICOM PS3.3 C.12.1.1.2, PS3.5 6.1)."""

from __future__ import annotations

import re

_ESCAPE = b"\x1b"
#: Python's codecs by the number of the character set in ISO_IR 100 and ISO 2022 IR 100, and those with a name.
_CODECS = {
    "6": "ascii", "100": "latin-1", "101": "iso8859_2", "109": "iso8859_3", "110": "iso8859_4", "144": "iso8859_5",
    "127": "iso8859_6", "126": "iso8859_7", "138": "iso8859_8", "148": "iso8859_9", "203": "iso8859_15",
    "166": "tis_620", "13": "shift_jis", "87": "iso2022_jp", "159": "iso2022_jp_2", "149": "euc_kr", "58": "gb2312",
    "192": "utf-8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
#: Character sets in which an escape is not a code extension.
_WITHOUT_ESCAPES = frozenset(("utf-8", "gb18030", "gbk"))
#: The codecs of escape sequences (PS3.3 C.12.1.1.2, tables C.12-3 and C.12-4) that hold to the next delimiter.
_EXTENSIONS = {
    b"(J": "shift_jis", b")I": "shift_jis", b"-A": "latin-1", b"-B": "iso8859_2", b"-C": "iso8859_3",
    b"-D": "iso8859_4", b"-L": "iso8859_5", b"-G": "iso8859_6", b"-F": "iso8859_7", b"-H": "iso8859_8",
    b"-M": "iso8859_9", b"-b": "iso8859_15", b"-T": "tis_620", b"$)C": "euc_kr", b"$)A": "gb2312",
}  # fmt: skip
#: Codecs that read their escape sequence themselves. Their characters may look like delimiters.
_JAPANESE = {b"$B": "iso2022_jp", b"$(D": "iso2022_jp_2"}
#: Ends a code extension (PS3.5 6.1.2.5.3).
_DELIMITER = re.compile(rb"[\\^=\t\n\f\r]")


def codec_of(term: str) -> str | None:
    """Python's codec for a defined term; None for an unknown one."""
    return _CODECS.get(re.sub(r"^ISO[_ ](?:2022 )?IR ", "", term.strip(" \0").upper()))


def decoded(value: bytes, declared: str) -> str:
    r"""Text in the character sets that Specific Character Set declares.

    Bytes that are not part of them become `\xNN`, so that different values stay different.
    """
    first = codec_of(declared.partition("\\")[0]) or "ascii"
    if _ESCAPE not in value or first in _WITHOUT_ESCAPES:
        return _plain(value, first)
    begin, *rest = value.split(_ESCAPE)
    return _plain(begin, first) + "".join(_extended(piece, first) for piece in rest)


def _plain(value: bytes, codec: str) -> str:
    return value.decode(codec, "backslashreplace")


def _extended(piece: bytes, first: str) -> str:
    """The text after an escape; `piece` begins with the rest of the escape sequence."""
    for sequence, codec in _JAPANESE.items():
        if piece.startswith(sequence):
            return _plain(_ESCAPE + piece, codec)
    sequence = next((sequence for sequence in _EXTENSIONS if piece.startswith(sequence)), piece[:2])
    text, codec = piece[len(sequence) :], _EXTENSIONS.get(sequence, first)  # ESC ( B is ASCII, part of the first set
    delimiter = _DELIMITER.search(text)
    end = len(text) if delimiter is None else delimiter.start()
    return _plain(text[:end], codec) + _plain(text[end:], first)
