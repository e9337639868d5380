"""The contract of output formats."""

from __future__ import annotations

import io

from xnatctl.model.document import Column, Document
from xnatctl.plugin.protocols import Formatter
from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.watch import expect


class FormatterContract(Contract):
    """For output formats. Set `spec`, the FormatterSpec, or override `make`."""

    #: A name as a hostile or merely careless file system has it.
    ODD = 'a\x1b[31m,"b"\n=1+1\udcff\tü日'

    def make(self) -> Formatter:
        """A formatter."""
        made: Formatter = self.target()
        return made

    def render(self, document: Document) -> str:
        """What it writes to the stream that it is given; nothing may be written elsewhere."""
        out = io.StringIO()
        with self.calling("render", network=False, allowed=()):
            self.make().render(document, out)
        return out.getvalue()

    def document(self, *names: str) -> Document:
        """A table of two columns."""
        rows = [{"name": name, "size": size} for size, name in enumerate(names)]
        return Document(
            schema="test/1",
            data={"schema": "test/1", "files": rows},
            columns=(Column(key="name", title="Name"), Column(key="size", title="Size", numeric=True)),
            rows=rows,
            identifiers=names,
        )

    def test_it_draws_nothing_and_something(self) -> None:
        """A document without rows, and one in which each row is shown."""
        self.render(self.document())
        text = self.render(self.document("first.dcm", "second.dcm"))
        for name in ("first.dcm", "second.dcm"):
            expect(name in text, f"`render` does not write the row {name}")

    def test_a_document_is_written_once(self) -> None:
        """One document, to the stream, and nothing before or after it."""
        text = self.render(self.document("first.dcm", "second.dcm"))
        half = len(text) // 2
        twice = bool(text.strip()) and (text[:half] == text[half:] or text.count("first.dcm") > 1)
        expect(not twice, "`render` writes the document twice; a program that reads it finds two")

    def test_the_same_document_gives_the_same_text(self) -> None:
        """Each call makes a whole document; nothing is kept from the call before."""
        formatter, texts = self.make(), []
        for _ in range(2):
            out = io.StringIO()
            with self.calling("render", network=False, allowed=()):
                formatter.render(self.document("first.dcm"), out)
            expect(not out.closed, "`render` closes the stream, which belongs to core")
            texts.append(out.getvalue())
        expect(texts[0] == texts[1], "`render` writes another text for the same document the second time")

    def test_no_control_character_gets_through(self) -> None:
        """File names may hold anything; a terminal must not obey them."""
        text = self.render(self.document(self.ODD))
        expect("\x1b" not in text, "`render` writes the control character ESC of a file name; replace it")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            expect(False, "`render` writes a character that is not Unicode text (a byte of a file name); replace it")

    def test_many_rows(self) -> None:
        """10,000 rows."""
        text = self.render(self.document(*(f"file {number}" for number in range(10_000))))
        expect("file 9999" in text, "`render` does not write the last of 10,000 rows")
