"""The contract of transports that carry the files of a resource (`payload=RESOURCE`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from xnatctl.delivery.engine.retry import outcome_for
from xnatctl.inventory.files import scan_files
from xnatctl.model.events import Event
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.protocols import Transport, TransportContext
from xnatctl.testing.contracts.base import Contract, with_defaults
from xnatctl.testing.contracts.sending import (
    FAILURES,
    cut,
    cut_again,
    difference,
    expect_all,
    expect_passed_on,
    in_parallel,
    outcomes_of,
)
from xnatctl.testing.fakes import FakeWriter, describing, make_context
from xnatctl.testing.watch import expect, nothing_left


class ResourceTransportContract(Contract):
    """For transports that carry the files of a resource (`payload=RESOURCE`). `options` as in TransportContract."""

    options: Mapping[str, Any] = MappingProxyType({})
    #: Names that servers and archive formats are careless with.
    ODD = ("a b.txt", "100%.txt", "a#b.txt", "a[1].txt", "fü日.txt", "x;y.txt", "deep/er/scan.nii.gz", "deep/plain.txt")

    def make(self, context: TransportContext) -> Transport:
        """A transport, as the engine makes one for each resource."""
        made: Transport = self.target(context)
        return made

    def files(self, directory: Path) -> dict[str, bytes]:
        """Some files, one of them empty, by path."""
        contents = {name: name.encode() * 1000 for name in self.ODD} | {"deep/empty": b""}
        for name, content in contents.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        return contents

    def context(self, writer: FakeWriter | None = None) -> TransportContext:
        """What it is made with."""
        options = with_defaults(() if self.spec is None else self.spec.options, self.options)
        return make_context(options=options, writer=writer or FakeWriter())

    def cut(self, transport: Transport, items: Sequence[UploadItem]) -> list[Batch]:
        """The batches of a transport, watched."""
        with self.calling("batches", network=False):
            return cut(transport.batches, items, 1)

    def send(self, transport: Transport, batch: Batch) -> dict[str, ItemOutcome]:
        """Send one batch, watched; returns the outcomes by path."""
        with self.calling("send", allowed=()):
            result = transport.send(batch, _ignore)
        return outcomes_of(batch, result)

    def test_it_describes_itself_without_a_server(self) -> None:
        """`describe`: some texts, no network, no secret."""
        with self.make(describing(self.context())) as transport, self.calling("describe", network=False):
            words = transport.describe()
        expect(words, "`describe` returns no texts")
        texts = all(isinstance(key, str) and isinstance(value, str) for key, value in words.items())
        expect(texts, "`describe` returns something else than texts")
        self.expect_no_secret("`describe`", *words.keys(), *words.values())

    def test_batches_hold_every_item_once_and_repeat(self, tmp_path: Path) -> None:
        """`batches`: nothing is lost or repeated, and the same files are cut in the same way."""
        self.files(tmp_path)
        items = scan_files(str(tmp_path)).items
        with self.make(self.context()) as transport, self.calling("batches", network=False):
            cut_again(transport.batches, items)

    def test_every_file_arrives_under_its_name(self, tmp_path: Path) -> None:
        """`send`: one outcome for each file, and the bytes that arrive are those of the disk."""
        contents, writer = self.files(tmp_path), FakeWriter()
        with self.make(self.context(writer)) as transport:
            for batch in self.cut(transport, scan_files(str(tmp_path)).items):
                expect_all(self.send(transport, batch), Outcome.ACCEPTED, "which the server accepted")
        expect(not writer.mistakes, "; ".join(writer.mistakes[:1]))
        for name, content in contents.items():
            expect(name in writer.stored, f"`send` says accepted for {name}, and it did not arrive under its name")
            found = writer.stored[name]
            if found != content:
                expect(False, f"`send` delivered other bytes than the file {name} holds: {difference(found, content)}")
        added = sorted(set(writer.stored) - set(contents))
        expect(not added, f"`send` delivered {added[:1]}, which is not a file of the resource")

    @pytest.mark.parametrize("failure", FAILURES, ids=str)
    def test_an_answer_is_passed_on(self, tmp_path: Path, failure: FailureClass) -> None:
        """A lost answer, 401, 413, 503 and the like: core decides what follows, from what the writer returned."""
        self.files(tmp_path)
        writer = FakeWriter()
        with self.make(self.context(writer)) as transport:
            for batch in self.cut(transport, scan_files(str(tmp_path)).items):
                writer.script.extend([failure] * len(batch.items))
                expect_passed_on(self.send(transport, batch), failure, outcome_for(failure))

    def test_a_changed_file_is_said_and_raises_nothing(self, tmp_path: Path) -> None:
        """A file that changed gets an outcome; the others of its batch are sent again."""
        self.files(tmp_path)
        items = scan_files(str(tmp_path)).items
        changed = next(item for item in items if item.size)
        Path(changed.file).write_bytes(b"something else")
        outcomes: dict[str, ItemOutcome] = {}
        with self.make(self.context()) as transport:
            for batch in self.cut(transport, items):
                outcomes |= self.send(transport, batch)
        said = outcomes.pop(changed.path).outcome
        expect(said is Outcome.CHANGED, f"`send` says {said} for {changed.path}, which changed; say changed")
        wrong = [path for path, outcome in outcomes.items() if outcome.outcome is Outcome.FAILED]
        expect(not wrong, f"`send` says failed for {wrong[:1]}, because another file of its batch changed")

    def test_it_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """No thread and no descriptor stays open; it can be closed twice, also by another thread."""
        self.files(tmp_path)
        with nothing_left("the transport"), self.make(self.context()) as transport:
            self.send(transport, self.cut(transport, scan_files(str(tmp_path)).items)[-1])
            with self.calling("close"):
                in_parallel([transport.close], self.seconds)
                transport.close()


def _ignore(event: Event) -> None:
    """No observer."""
