"""The records of a CSV file as people and spreadsheets write it, with their lines.

UTF-8 is read with and without a byte order mark, UTF-16 with one (Excel's "Unicode text"). Another encoding is not
guessed, because a wrong guess changes labels and paths; its bytes come as lone surrogates, which `foreign_byte` names.
The separator is the one with which the header names most known columns. Lines end with LF, CRLF or CR.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
#: The first bytes of files that are taken for a CSV file by mistake.
_OTHERS = {
    b"PK\x03\x04": "an Excel or LibreOffice workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip file",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
}


class NotCsv(Exception):
    """The file is no CSV file, and why; `line` is where it goes wrong, or 0."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The cells of a record, and its first line from 1. `problem`: its quotes are wrong, so that it has no cells."""

    line: int
    cells: Sequence[str]
    lines: int = 1
    problem: str = ""


def decoded(data: bytes) -> str:
    """The text of a CSV file. Raises NotCsv."""
    for head, what in _OTHERS.items():
        if data.startswith(head):
            raise NotCsv(f"This is {what}, not a CSV file in UTF-8.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise NotCsv(f"This begins as UTF-16, and byte {error.start + 1:,} is not UTF-16.") from None
    if b"\0" in data[:4]:
        raise NotCsv("This looks like UTF-16 without a byte order mark, not like UTF-8.")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def records(text: str, known: Collection[str]) -> Iterator[Record]:
    """The records, the header first; empty lines are skipped. `known` are names of columns as `plain` gives them.

    A first line `sep=;`, which Excel writes, names the separator. Raises NotCsv where rows may have been lost because a
    quote was not closed.
    """
    first = next(iter(io.StringIO(text, newline="")), "")
    skipped = int(first[:4].lower() == "sep=")
    named = first[4:5] if skipped else ""
    separator = named if named in SEPARATORS else _separator(text, known)
    source = io.StringIO(text, newline="")
    if skipped:
        source.readline()
    reader = csv.reader(source, delimiter=separator, strict=True)
    end = False
    while not end:
        line = skipped + reader.line_num + 1
        record, end = _next(reader, line, skipped)
        if record is not None and (record.problem or any(cell.strip() for cell in record.cells)):
            yield record


def _next(reader: Any, line: int, skipped: int) -> tuple[Record | None, bool]:
    """The next record of a `csv.reader`, and whether the file ends."""
    try:
        cells = next(reader)
    except StopIteration:
        return None, True
    except csv.Error as error:
        last = skipped + reader.line_num
        if "unexpected end" in str(error) or last > line:
            raise NotCsv("A quote is not closed, so no row after it can be read.", line) from None
        long = "field limit" in str(error)
        return Record(line=line, cells=(), problem="is too long" if long else "has text after a closing quote"), False
    return Record(line=line, cells=cells, lines=skipped + reader.line_num - line + 1), False


def _separator(text: str, known: Collection[str]) -> str:
    """The separator with which the first line that is not empty names most known columns."""
    header = next((line for line in io.StringIO(text, newline="") if line.strip(' \t\r\n",;')), "")

    def found(separator: str) -> int:
        return sum(plain(cell.strip().strip('"')) in known for cell in header.split(separator))

    return max(SEPARATORS, key=found)


def plain(name: str) -> str:
    """The name of a column without case, blanks and punctuation: `Study Instance UID` gives `studyinstanceuid`."""
    return "".join(character for character in name.casefold() if character.isalnum())


def foreign_byte(text: str) -> str | None:
    """The first byte that is not UTF-8, for a message; None if there is none."""
    for character in () if text.isascii() else text:
        if "\udc80" <= character <= "\udcff":
            byte = bytes([ord(character) - 0xDC00])
            guess = byte.decode("cp1252", "replace")
            shown = f" ({guess} in Windows-1252)" if guess.isprintable() and guess != "\ufffd" else ""
            return f"byte 0x{byte.hex().upper()}{shown}"
    return None
