"""JSON, NDJSON and YAML: the document's data, whole."""

from __future__ import annotations

import json
from typing import Any, TextIO

from xnatctl.api import Document, printable


class Json:
    """One document. ASCII only, so that a file name that is not UTF-8 stays valid JSON."""

    def render(self, document: Document, out: TextIO) -> None:
        json.dump(document.data, out, indent=2, ensure_ascii=True)
        out.write("\n")


class Ndjson:
    """One row per line; a document without rows is one line."""

    def render(self, document: Document, out: TextIO) -> None:
        for row in document.rows if document.columns else [document.data]:
            out.write(json.dumps(row, ensure_ascii=True))
            out.write("\n")


class Yaml:
    """One document; plain data only."""

    def render(self, document: Document, out: TextIO) -> None:
        import yaml

        # Through JSON: what is written is exactly what JSON would hold, lone surrogates escaped.
        data = _plain(json.loads(json.dumps(document.data)))
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        if printable(text) != text:  # marks that turn the direction of a line, which YAML counts as printable
            text = yaml.safe_dump(data, sort_keys=False)
        out.write(text)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
