"""The result of a study: a line for people, and a row for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from xnatctl.api import Column, Document, counted, human_duration

SCHEMA: Final = "xnatctl.watch/1"
#: Exit codes which mean that nothing was sent (docs/reference/exit-codes.md).
_NOTHING_SENT: Final = frozenset({2, 7, 8})
_INCOMPLETE: Final = 5


class StudyState(StrEnum):
    """How an attempt ended."""

    PROVEN = "proven"  # every instance was found where it belongs
    FAILED = "failed"
    UNMATCHED = "unmatched"  # no rule matches, so it is left alone


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """One attempt. `removed` and `kept` count proven files after the proof; `retry_in` is in seconds, None = no retry.

    `code`, `reason` and `hint` are those of the error, and `exit_code` is 0 for a proven study.
    """

    at: str  # ISO 8601
    study: str
    state: StudyState
    folder: str  # of its first file, below the inbox
    project: str = ""
    subject: str = ""
    session: str = ""
    uri: str = ""
    rule: int | None = None
    files: int = 0
    verified: int = 0
    removed: int = 0
    moved: int = 0
    kept: int = 0
    exit_code: int = 0
    code: str = ""
    reason: str = ""
    hint: str = ""
    retry_in: float | None = None

    def line(self) -> str:
        """For people."""
        begin = f"Study {self.study} in {self.folder}"
        if self.state is StudyState.PROVEN:
            parts = [f"{counted(self.verified, 'instance')} proven in {self.project}/{self.subject}/{self.session}"]
            for count, verb in ((self.removed, "removed"), (self.moved, "moved"), (self.kept, "kept")):
                if count:
                    parts.append(f"{counted(count, 'file')} {verb}")
            return f"{begin}: {', '.join(parts)}." + (f" {self.reason}" if self.reason else "")
        if self.state is StudyState.UNMATCHED:
            return f"{begin}: no rule matches. The study is left alone until it changes."
        again = (
            "when it changes"
            if self.retry_in is None
            else f"in {human_duration(round(self.retry_in))}, or when it changes"
        )
        return " ".join(filter(None, [f"{begin}: {self.reason}", self.hint, f"It is tried again {again}."]))

    def row(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "state": str(self.state)}


#: People read the lines; the columns are those of CSV, TSV and NDJSON.
_COLUMNS: Final = tuple(Column(key=field.name, detail=True) for field in fields(StudyResult))


def document_of(results: Sequence[StudyResult]) -> Document:
    """The document of some attempts."""
    rows = [result.row() for result in results]
    return Document(
        schema=SCHEMA,
        data={"schema": SCHEMA, "studies": rows},
        columns=_COLUMNS,
        rows=rows,
        identifiers=tuple(result.study for result in results),
    )


def closing_document(results: Sequence[StudyResult], waiting: int) -> Document:
    """The document at the end; people have seen a line for each study, so they get one line more."""
    document = document_of(results)
    latest = {result.study: result.state for result in results}
    counts = Counter(latest.values())
    parts = [f"{len(latest):,} {'study' if len(latest) == 1 else 'studies'} tried"]
    parts += [f"{counts[state]} {state}" for state in StudyState if counts[state]]
    if waiting:
        parts.append(f"{waiting} not quiet yet")
    return replace(document, summary=(f"{', '.join(parts)}.",))


def exit_code_of_all(results: Iterable[StudyResult]) -> int:
    """The exit code of a run that handled these studies: 0 only if each of them is proven."""
    latest = {result.study: result for result in results}
    codes = {result.exit_code for result in latest.values()}
    failures = codes - {0}
    if not failures:
        return 0
    if len(failures) > 1 or (0 in codes and failures & _NOTHING_SENT):
        return _INCOMPLETE
    return failures.pop()
