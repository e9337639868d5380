"""What every transport, credential source and formatter must do: subclass, give the factory, inherit the tests.

::

    class TestMine(TransportContract):
        def make(self, context):
            return MyTransport(context)
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xnatctl.inventory.files import scan_files
from xnatctl.inventory.walk import scan_path
from xnatctl.model.batches import cut_batches
from xnatctl.model.document import Column, Document
from xnatctl.model.events import Event
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Batch, Payload, UploadItem
from xnatctl.plugin.credentials import CredentialRequest, CredentialSource, SessionToken
from xnatctl.plugin.guard import attribute_of
from xnatctl.plugin.protocols import (
    BatchingReceiver,
    ConnectedTransport,
    Formatter,
    ReceiverContext,
    ReceiverTransport,
    Transport,
    TransportContext,
)
from xnatctl.plugin.specs import CredentialSourceSpec, FormatterSpec, Spec, TransportSpec
from xnatctl.testing.exam import write_exam
from xnatctl.testing.fakes import FakeImporter, FakeWriter, make_context, make_receiver_context


class TransportContract(ABC):
    """For transports that deliver through the import service (`settle="session"`). `options` are those of the spec."""

    options: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def make(self, context: TransportContext) -> Transport:
        """A transport, as the engine makes one per worker."""

    def items(self, directory: Path) -> tuple[UploadItem, ...]:
        """Real instances of two series."""
        write_exam(directory, series=2, instances=7, seed=11)
        return tuple(scan_path(str(directory)).items)

    def test_it_describes_itself_without_a_server(self) -> None:
        context = make_context(options=self.options)
        with self.make(context) as transport:
            described = transport.describe()
        assert described
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in described.items())

    def test_batches_hold_every_item_once_and_repeat(self, tmp_path: Path) -> None:
        items = self.items(tmp_path)
        with self.make(make_context(options=self.options)) as transport:
            for workers in (1, 3, 8):
                batches = list(transport.batches(items, workers))
                assert sorted(item.path for batch in batches for item in batch.items) == sorted(i.path for i in items)
                assert len({batch.id for batch in batches}) == len(batches)
                assert [b.id for b in batches] == [b.id for b in transport.batches(items, workers)]

    def test_every_item_gets_one_outcome_and_arrives(self, tmp_path: Path) -> None:
        items, importer, events = self.items(tmp_path), FakeImporter(), list[Event]()
        with self.make(make_context(importer, options=self.options)) as transport:
            for batch in transport.batches(items, 2):
                result = transport.send(batch, events.append)
                assert sorted(o.path for o in result.outcomes) == sorted(item.path for item in batch.items)
                assert {outcome.outcome for outcome in result.outcomes} == {Outcome.ACCEPTED}
        assert sorted(path for received in importer.received for path in received.paths) == sorted(
            i.path for i in items
        )

    def test_a_changed_file_is_said_and_raises_nothing(self, tmp_path: Path) -> None:
        items, importer = self.items(tmp_path), FakeImporter()
        Path(items[0].file).write_bytes(b"something else")
        outcomes: dict[str, Outcome] = {}
        with self.make(make_context(importer, options=self.options)) as transport:
            for batch in transport.batches(items, 1):
                result = transport.send(batch, _ignore)
                outcomes.update({outcome.path: outcome.outcome for outcome in result.outcomes})
        assert outcomes[items[0].path] is Outcome.CHANGED
        assert Outcome.FAILED not in outcomes.values()

    def test_it_can_be_closed_twice(self) -> None:
        with self.make(make_context(options=self.options)) as transport:
            transport.close()
            transport.close()


class ReceiverTransportContract(ABC):
    """For transports to a receiver (`settle="none"`). `options` are those of the spec."""

    options: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def make(self, context: ReceiverContext) -> ReceiverTransport:
        """A transport, as the engine makes one per worker."""

    def items(self, directory: Path) -> tuple[UploadItem, ...]:
        """Real instances of two series."""
        write_exam(directory, series=2, instances=7, seed=11)
        return tuple(scan_path(str(directory)).items)

    def batches(self, transport: ReceiverTransport, items: Sequence[UploadItem], workers: int) -> list[Batch]:
        """The batches of the transport, or those that core cuts."""
        if isinstance(transport, BatchingReceiver):
            return list(transport.batches(items, workers))
        return cut_batches(items, workers)

    def end(self, transport: ReceiverTransport) -> None:
        """Release and close it, as the engine does."""
        if isinstance(transport, ConnectedTransport):
            transport.rest()
        transport.close()

    def test_it_describes_itself_without_a_receiver(self) -> None:
        transport = self.make(make_receiver_context(options=self.options))
        described = transport.describe()
        self.end(transport)
        assert described
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in described.items())

    def test_batches_hold_every_item_once_and_repeat(self, tmp_path: Path) -> None:
        items = self.items(tmp_path)
        transport = self.make(make_receiver_context(options=self.options, items=items))
        for workers in (1, 3, 8):
            batches = self.batches(transport, items, workers)
            assert sorted(item.path for batch in batches for item in batch.items) == sorted(i.path for i in items)
            assert len({batch.id for batch in batches}) == len(batches)
            assert [b.id for b in batches] == [b.id for b in self.batches(transport, items, workers)]
        self.end(transport)

    def test_every_item_gets_one_outcome(self, tmp_path: Path) -> None:
        items = self.items(tmp_path)
        transport = self.make(make_receiver_context(options=self.options, items=items))
        for batch in self.batches(transport, items, 2):
            outcomes = list(transport.send(batch, _ignore))
            assert sorted(o.path for o in outcomes) == sorted(item.path for item in batch.items)
            assert {outcome.outcome for outcome in outcomes} == {Outcome.ACCEPTED}
        self.end(transport)

    def test_a_changed_file_is_said_and_raises_nothing(self, tmp_path: Path) -> None:
        items = self.items(tmp_path)
        Path(items[0].file).write_bytes(b"something else")
        transport = self.make(make_receiver_context(options=self.options, items=items))
        outcomes = {
            outcome.path: outcome.outcome
            for batch in self.batches(transport, items, 1)
            for outcome in transport.send(batch, _ignore)
        }
        self.end(transport)
        assert outcomes[items[0].path] is Outcome.CHANGED
        assert Outcome.FAILED not in outcomes.values()

    def test_it_can_be_closed_twice(self) -> None:
        transport = self.make(make_receiver_context(options=self.options))
        transport.close()
        transport.close()


class ResourceTransportContract(ABC):
    """For transports that carry the files of a resource (`payload=RESOURCE`). `options` are those of the spec."""

    options: Mapping[str, Any] = MappingProxyType({})
    #: Names that servers and archive formats are careless with.
    ODD = ("a b.txt", "100%.txt", "a#b.txt", "a[1].txt", "fü日.txt", "x;y.txt", "deep/er/scan.nii.gz", "deep/plain.txt")

    @abstractmethod
    def make(self, context: TransportContext) -> Transport:
        """A transport, as the engine makes one for each resource."""

    def files(self, directory: Path) -> dict[str, bytes]:
        """Some files, one of them empty, by path."""
        contents = {name: name.encode() * 1000 for name in self.ODD} | {"deep/empty": b""}
        for name, content in contents.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        return contents

    def context(self, writer: FakeWriter | None = None) -> TransportContext:
        """What it is made with."""
        return make_context(options=self.options, writer=writer or FakeWriter())

    def test_it_describes_itself_without_a_server(self) -> None:
        context = self.context()
        described = TransportContext(
            destination=context.destination,
            workers=context.workers,
            options=context.options,
            open_item=context.open_item,
            resource=context.resource,
        )
        with self.make(described) as transport:
            words = transport.describe()
        assert words
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in words.items())

    def test_batches_hold_every_item_once_and_repeat(self, tmp_path: Path) -> None:
        self.files(tmp_path)
        items = scan_files(str(tmp_path)).items
        with self.make(self.context()) as transport:
            batches = list(transport.batches(items, 1))
            assert sorted(item.path for batch in batches for item in batch.items) == sorted(item.path for item in items)
            assert len({batch.id for batch in batches}) == len(batches)
            assert [batch.id for batch in batches] == [batch.id for batch in transport.batches(items, 1)]

    def test_every_file_arrives_under_its_name(self, tmp_path: Path) -> None:
        contents, writer = self.files(tmp_path), FakeWriter()
        with self.make(self.context(writer)) as transport:
            for batch in transport.batches(scan_files(str(tmp_path)).items, 1):
                result = transport.send(batch, _ignore)
                assert sorted(o.path for o in result.outcomes) == sorted(item.path for item in batch.items)
                assert {outcome.outcome for outcome in result.outcomes} == {Outcome.ACCEPTED}
        assert writer.stored == contents

    def test_a_changed_file_is_said_and_raises_nothing(self, tmp_path: Path) -> None:
        self.files(tmp_path)
        items = scan_files(str(tmp_path)).items
        changed = next(item for item in items if item.size)
        Path(changed.file).write_bytes(b"something else")
        outcomes: dict[str, Outcome] = {}
        with self.make(self.context()) as transport:
            for batch in transport.batches(items, 1):
                result = transport.send(batch, _ignore)
                outcomes.update({outcome.path: outcome.outcome for outcome in result.outcomes})
        assert outcomes[changed.path] is Outcome.CHANGED
        assert Outcome.FAILED not in outcomes.values()

    def test_it_can_be_closed_twice(self) -> None:
        with self.make(self.context()) as transport:
            transport.close()
            transport.close()


class CredentialSourceContract(ABC):
    """For credential sources. `options` are those of the spec."""

    options: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def make(self) -> CredentialSource:
        """A source that has nothing for `https://nowhere.invalid`."""

    def request(self, server: str, username: str) -> CredentialRequest:
        """A request for a user, with the options."""
        return CredentialRequest(server=server, username=username, options=self.options)

    def test_it_has_nothing_for_a_stranger_and_says_so_by_none(self) -> None:
        assert self.make().get(self.request("https://nowhere.invalid", "nobody")) is None

    def test_what_it_stores_it_finds_and_forgets(self) -> None:
        source: Any = self.make()
        if not hasattr(source, "store"):
            return
        request = self.request("https://xnat.invalid", "alice")
        credential = SessionToken(username="alice", secret="0123456789ABCDEF")  # noqa: S106
        source.store(request, credential)
        found = source.get(request)
        assert (found.username, found.secret) == (credential.username, credential.secret)
        assert source.get(self.request("https://other.invalid", "alice")) is None
        assert source.get(self.request("https://xnat.invalid", "bob")) is None
        assert source.erase(request) is True
        assert source.get(request) is None
        assert source.erase(request) is False


class FormatterContract(ABC):
    """For formatters."""

    #: A name as a hostile or merely careless file system has it.
    ODD = 'a\x1b[31m,"b"\n=1+1\udcff\tü日'

    @abstractmethod
    def make(self) -> Formatter:
        """A formatter."""

    def render(self, document: Document) -> str:
        """What it writes."""
        out = io.StringIO()
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
        assert isinstance(self.render(self.document()), str)
        text = self.render(self.document("first.dcm", "second.dcm"))
        assert "first.dcm" in text
        assert "second.dcm" in text

    def test_no_control_character_gets_through(self) -> None:
        text = self.render(self.document(self.ODD))
        assert "\x1b" not in text
        text.encode("utf-8")

    def test_many_rows(self) -> None:
        assert "file 9999" in self.render(self.document(*(f"file {number}" for number in range(10_000))))


def _ignore(event: Event) -> None:
    """Nobody listens."""


def contract_of(spec: Spec) -> type[Any] | None:
    """The contract of what a spec names, with the defaults of its options; None where there is no contract."""

    def make(self: object, *arguments: Any) -> Any:
        return attribute_of(spec.target)(*arguments)

    body: dict[str, Any] = {"make": make}
    if isinstance(spec, TransportSpec):
        body["options"] = {option.name: option.default for option in spec.options}
        if spec.settle == "none":
            return None
        base: type[Any] = ResourceTransportContract if spec.payload is Payload.RESOURCE else TransportContract
    elif isinstance(spec, CredentialSourceSpec):
        base = CredentialSourceContract
    elif isinstance(spec, FormatterSpec):
        base = FormatterContract
    else:
        return None
    return type("TestContract", (base,), body)


def read_csv(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    """CSV or TSV back into rows."""
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def read_json_lines(text: str) -> list[Any]:
    """NDJSON back into values."""
    return [json.loads(line) for line in text.splitlines()]
