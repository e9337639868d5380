"""JSON, NDJSON and YAML: the document's data, whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from xnatctl.api import Document, printable


class Json:
    """One document. ASCII only, so that a file name that is not UTF-8 stays valid JSON."""

    def render(self, document: Document, out: TextIO) -> None:
        out.writelines(_pieces(document.data))
        out.write("\n")


def _pieces(data: Any) -> Iterator[str]:
    """What `json.dumps` makes with an indent of 2; a list at the top of the document is written entry by entry."""
    if not isinstance(data, Mapping) or not data:
        yield json.dumps(data, indent=2)
        return
    before = "{"
    for key, value in data.items():
        yield f"{before}\n  {json.dumps(key)}: "
        before = ","
        if isinstance(value, list | tuple | Iterator):
            opening = "["
            for entry in value:
                yield f"{opening}\n    {_indented(entry, 4)}"
                opening = ","
            yield "[]" if opening == "[" else "\n  ]"
        else:
            yield _indented(value, 2)
    yield "\n}"


def _indented(value: Any, by: int) -> str:
    return json.dumps(value, indent=2).replace("\n", "\n" + " " * by)  # in a text of it a line break is escaped


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
