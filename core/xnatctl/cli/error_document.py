"""The document of a command that failed before it rendered one."""

from __future__ import annotations

from collections.abc import Mapping

from xnatctl.model.document import Column, Document

_SCHEMA = "xnatctl.error/1"


def error_document(error: Mapping[str, object]) -> Document:
    """`XnatctlError.as_document` as one row."""
    rows = [{key: "" if value is None else value for key, value in error.items()}]
    columns = tuple(Column(key=key) for key in ("code", "message", "hint", "exit_code"))
    return Document(schema=_SCHEMA, data={"schema": _SCHEMA, "error": dict(error)}, columns=columns, rows=rows)
