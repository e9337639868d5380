"""The manifest: a CSV file that says what a campaign delivers where, one row for each session or resource.

It is read in one pass, and everything that is wrong with it is found at once. What needs the server or the disk is
checked by the plan.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xnatctl.api import NotFound, Overwrite, PermissionDenied, UsageError, human_size, is_uid
from xnatctl.api.system import open_to_read
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.records import NotCsv, Record, decoded, foreign_byte, plain, records
from xnatctl_campaign.row import Kind, Row

COLUMNS = (
    "path",
    "project",
    "subject",
    "session",
    "study_instance_uid",
    "kind",
    "resource",
    "mode",
    "overwrite",
    "files",
    "bytes",
    "ignore_reason",
)
REQUIRED = COLUMNS[:4]
#: Characters with which a spreadsheet begins a formula; a cell that begins so is written with `'` before it.
FORMULA = ("=", "+", "-", "@", "'")
#: A manifest of a million rows is smaller.
_LARGEST = 512 * 2**20
_PLAIN = {plain(name): name for name in COLUMNS}
_SAVE = "Save the file as CSV UTF-8."
#: What a spreadsheet makes of a long number, with the decimal sign of its language; it always writes the exponent so.
_MANGLED = re.compile(r"[0-9]([.,][0-9]+)?E[+-][0-9]{2,3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUL = re.compile(r"\x00")
_ERRORS = ("#NAME?", "#REF!", "#VALUE!", "#N/A", "#DIV/0!", "#NUM!", "#NULL!")


@dataclass(kw_only=True)
class Manifest:
    """A manifest that was read.

    `rows` holds all rows, also those with a finding, whose values are then as far as they could be read. Where a
    finding of the manifest as a whole blocks (`Finding.row` is 0), rows may be missing, so none may be planned.
    """

    path: Path
    sha256: str
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def blocked(self) -> frozenset[int]:
        """The numbers of the rows that must not be planned; 0 stands for the whole manifest."""
        return frozenset(finding.row for finding in self.findings if finding.blocks)

    def source(self, row: Row) -> str:
        """The absolute path of a row's source: a relative one is below the directory of the manifest."""
        return source_of(row.path, self.path)


def source_of(path: str, manifest: Path) -> str:
    """The absolute path for a path in a manifest."""
    return _below(_folder(manifest), path)


def _folder(manifest: Path) -> str:
    return os.path.dirname(os.path.abspath(manifest))


def _below(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest.

    Raises NotFound, PermissionDenied, and UsageError for what is not a regular file.
    """
    if os.fspath(path) == "-":
        raise UsageError(
            "A manifest is read from a file, not from standard input, because a campaign records its name and digest.",
            hint="Write it to a file first.",
        )
    data = read_bytes(path)
    manifest = Manifest(path=Path(path), sha256=hashlib.sha256(data).hexdigest())
    try:
        found = records(decoded(data), _PLAIN)
        del data
        header = next(found, None)
        columns = _columns(header, manifest.findings)
        if columns is not None:
            _read_rows(found, columns, manifest)
    except NotCsv as problem:
        manifest.findings.append(
            Finding(code="not-csv", message=problem.message, line=problem.line, hint="" if problem.line else _SAVE)
        )
    return manifest


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a table that the user named.

    Raises NotFound, PermissionDenied, and UsageError for what is not a regular file.
    """
    try:
        descriptor = open_to_read(path)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is not a regular file, so it cannot be read as a table.")
            if status.st_size > _LARGEST:
                raise UsageError(f"{path} is too large for a table ({human_size(status.st_size)}).")
            return file.read()
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory, so it cannot be read as a table.") from None
    except (OSError, ValueError) as error:
        raise PermissionDenied(f"Cannot read {path}: {getattr(error, 'strerror', error)}.") from error


# the header


def _columns(header: Record | None, findings: list[Finding]) -> list[str | None] | None:
    """The name of each column: empty for one that is ignored, None without a name. None if no row can be read."""
    if header is None:
        findings.append(Finding(code="empty", message="It is empty.", hint=_first_line()))
        return None
    line, cells = header.line, header.cells
    if header.problem:
        findings.append(Finding(code="not-csv", message=f"The header {header.problem}.", line=line, hint=_first_line()))
        return None
    known = [_PLAIN.get(plain(cell), "") if cell.strip() else None for cell in cells]
    if not any(known):
        findings.append(
            Finding(code="no-header", message="The first line names no column.", line=line, hint=_first_line())
        )
        return None
    for cell, name in zip(cells, known, strict=True):
        if not name and cell.strip():
            findings.append(_unknown(cell.strip(), known, line))
    repeated = [name for name in COLUMNS if known.count(name) > 1]
    findings += [
        Finding(code="repeated-column", message=f"Column {name} is there twice.", line=line) for name in repeated
    ]
    missing = [name for name in REQUIRED if name not in known]
    if missing:
        findings.append(
            Finding(
                code="missing-column",
                message=f"{'Column is' if len(missing) == 1 else 'Columns are'} missing: {', '.join(missing)}.",
                line=line,
                hint=_first_line(),
            )
        )
    return None if missing or repeated else known


def _first_line() -> str:
    return f"The first line names the columns: {','.join(REQUIRED)}."


def _unknown(cell: str, known: Collection[str | None], line: int) -> Finding:
    """A column that is close to a missing one blocks, because it may be a misspelt `ignore_reason`."""
    shown = _shown(cell)
    missing = [plain(name) for name in COLUMNS if name not in known]
    close = difflib.get_close_matches(plain(cell), missing, n=1, cutoff=0.7)
    return Finding(
        code="unknown-column",
        message=f"A manifest has no column {shown}" + ("." if close else "; its values are ignored."),
        line=line,
        hint=f"Did you mean {_PLAIN[close[0]]}? Rename or remove the column." if close else "",
        blocks=bool(close),
    )


# the rows


def _read_rows(found: Iterator[Record], columns: Sequence[str | None], manifest: Manifest) -> None:
    reader = _RowReader(columns, manifest.path)
    try:
        for number, record in enumerate(found, 1):
            row = reader.row(number, record)
            manifest.findings += reader.findings(row, record)
            manifest.rows.append(row)
    except NotCsv as problem:
        here = len(manifest.rows) + 1
        raise NotCsv(f"{problem.message} It is in row {here}.", problem.line) from None
    if not manifest.rows:
        manifest.findings.append(Finding(code="no-rows", message="It has no row below the header."))


class _RowReader:
    """Makes rows of records, and finds what is wrong with them."""

    def __init__(self, columns: Sequence[str | None], manifest: Path) -> None:
        self._columns = columns
        self._folder = _folder(manifest)
        self._seen: dict[tuple[str, ...], int] = {}
        self._values: dict[str, str] = {}

    def row(self, number: int, record: Record) -> Row:
        """The row as far as it can be read; keeps its values for `findings`."""
        raw = {name: unguarded(cell) for name, cell in zip(self._columns, record.cells, strict=False) if name}
        self._values = raw
        value = {name: sys.intern(cell.strip()) for name, cell in raw.items()}
        kind = value.get("kind", "").lower()
        return Row(
            number=number,
            line=record.line,
            path=raw.get("path", ""),
            project=value.get("project", ""),
            subject=value.get("subject", ""),
            session=value.get("session", ""),
            study_instance_uid=value.get("study_instance_uid", ""),
            kind=Kind(kind) if kind in [*Kind] else Kind.DICOM,
            resource=value.get("resource", ""),
            mode=value.get("mode", ""),
            overwrite=value.get("overwrite", "").lower(),
            files=_whole(value.get("files", "")),
            bytes=_whole(value.get("bytes", "")),
            ignore_reason=value.get("ignore_reason", ""),
        )

    def findings(self, row: Row, record: Record) -> list[Finding]:
        """What is wrong with the last row. Of a row to be ignored only that it may have been read wrongly."""

        def finding(code: str, message: str, hint: str = "", *, blocks: bool = True) -> Finding:
            return Finding(code=code, message=message, hint=hint, row=row.number, line=row.line, blocks=blocks)

        broken = self._structure(record)
        if broken is not None:
            return [finding(*broken)]
        if row.ignore_reason:
            return []
        checks = [*self._encoding(), *self._required(row), *self._spelling(row), *self._unused(row), *_path(row.path)]
        found = [finding(*problem) for problem in checks]
        found += [finding(*problem, blocks=False) for problem in self._blanks()]
        before = self._seen.setdefault(self._identity(row), row.number)
        if before != row.number and not found:
            found.append(finding("duplicate-row", f"It is the same as row {before}.", "Remove one of the two."))
        return found

    def _structure(self, record: Record) -> tuple[str, str, str] | None:
        if record.problem:
            return ("quotes", f"It {record.problem}.", 'Write a quote inside quotes twice: "".')
        given, wanted = len(record.cells), len(self._columns)
        beyond = any(cell.strip() for cell in record.cells[wanted:])
        unnamed = any(cell.strip() for name, cell in zip(self._columns, record.cells, strict=False) if name is None)
        if given >= wanted and not beyond:
            return ("ragged", "It has a value in a column without a name.", "Name the column.") if unnamed else None
        if record.lines > 1:
            raise NotCsv(
                f"The row ends on line {record.line + record.lines - 1} with {given} values, and the header names "
                f"{wanted} columns: a quote is probably not closed, so no row after it can be read.",
                record.line,
            )
        return (
            "ragged",
            f"It has {given} values, and the header names {wanted} columns.",
            "Put a value that holds the separator into quotes.",
        )

    def _encoding(self) -> Iterator[tuple[str, str, str]]:
        for name, cell in self._values.items():
            if (byte := foreign_byte(cell)) is not None:
                yield ("encoding", f"{name} holds {byte}, which is not UTF-8.", _SAVE)
            elif (_NUL if name == "path" else _CONTROL).search(cell):
                yield ("control-character", f"{name} holds a control character: {_shown(cell)}.", "Remove it.")

    def _required(self, row: Row) -> Iterator[tuple[str, str, str]]:
        for name in REQUIRED:
            if not self._values.get(name, "").strip():
                yield ("empty-value", f"{name} is empty.", "Fill it in, or give an ignore_reason.")
        if row.kind is Kind.RESOURCE and not row.resource:
            yield ("empty-value", "resource is empty, and the kind is resource.", "Name the label of the resource.")

    def _spelling(self, row: Row) -> Iterator[tuple[str, str, str]]:
        value = {name: cell.strip() for name, cell in self._values.items()}
        choices: list[tuple[str, Collection[str]]] = [("kind", [*Kind]), ("overwrite", [*Overwrite])]
        for name, known in choices:
            if value.get(name, "").lower() not in ("", *known):
                yield _not_among(name, value[name], known)
        for name in ("project", "subject", "session", "resource", "study_instance_uid"):
            yield from _mangled(name, value.get(name, ""))
        uid = row.study_instance_uid
        if uid and not is_uid(uid) and not any(_mangled("", uid)):
            yield ("uid-invalid", f"study_instance_uid {_shown(uid)} is not a UID.", "Correct it, or leave it empty.")
        for name in ("files", "bytes"):
            if value.get(name) and _whole(value[name]) is None:
                shown = _shown(value[name])
                yield ("not-a-number", f"{name} is {shown}, not a whole number.", "Correct it, or leave it empty.")

    def _unused(self, row: Row) -> Iterator[tuple[str, str, str]]:
        if row.resource and row.kind is not Kind.RESOURCE:
            yield (
                "unused-value",
                f"resource is given, and the kind is {row.kind}.",
                "Empty one.",
            )
        if row.study_instance_uid and row.kind is Kind.RESOURCE:
            yield ("unused-value", "study_instance_uid is given, and the kind is resource.", "Leave it empty.")

    def _blanks(self) -> Iterator[tuple[str, str]]:
        for name, cell in self._values.items():
            if cell != cell.strip() and name != "ignore_reason" and cell.strip():
                kept = "they are part of the path" if name == "path" else "they are dropped"
                yield ("blanks", f"{name} begins or ends with blanks; {kept}.")

    def _identity(self, row: Row) -> tuple[str, ...]:
        source = _below(self._folder, row.path)
        return (source, row.project, row.subject, row.session, row.study_instance_uid, row.kind, row.resource)


def _path(path: str) -> Iterator[tuple[str, str, str]]:
    if path == "-":
        yield ("path-unusable", "path is -, and standard input cannot be uploaded.", "Name a file or a directory.")
    elif path.startswith("~"):
        full = os.path.expanduser(path)
        yield (
            "path-unusable",
            f"path begins with ~, which is not expanded: {_shown(path)}.",
            f"Write {full if full != path else f'./{path}'}.",
        )


def _mangled(name: str, value: str) -> Iterator[tuple[str, str, str]]:
    if _MANGLED.fullmatch(value):
        yield (
            "number-mangled",
            f"{name} is {value}: a spreadsheet has probably shortened a number.",
            "Format the column as text in the spreadsheet, and paste the values again.",
        )
    elif value.upper() in _ERRORS:
        yield ("number-mangled", f"{name} is {value}, an error of a spreadsheet.", "Correct the formula.")


def _not_among(name: str, value: str, known: Collection[str]) -> tuple[str, str, str]:
    close = difflib.get_close_matches(value.lower(), known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known)}."
    return (f"{name}-unknown", f"There is no {name} {_shown(value)}.", hint)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def unguarded(cell: str) -> str:
    """The cell without the `'` that keeps a spreadsheet from running it as a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA else cell


def _shown(text: str) -> str:
    """A value for a message: short, and without control characters."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
