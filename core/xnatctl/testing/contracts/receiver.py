"""The contract of transports to a receiver (`settle="none"`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from xnatctl.errors import XnatctlError
from xnatctl.model.batches import cut_batches
from xnatctl.model.events import Event
from xnatctl.model.outcome import ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.guard import attribute_of
from xnatctl.plugin.protocols import BatchingReceiver, ConnectedTransport, ReceiverContext, ReceiverTransport
from xnatctl.testing.contracts.base import Contract, required_without_value, secret_value, with_defaults
from xnatctl.testing.contracts.sending import (
    content_of,
    cut,
    cut_again,
    expect_all,
    expect_arrived,
    expect_events,
    in_parallel,
    instances,
    one_for_each,
)
from xnatctl.testing.fakes import make_receiver_context
from xnatctl.testing.watch import Mistake, expect, nothing_left


class ReceiverTransportContract(Contract):
    """For transports to a receiver (`settle="none"`).

    ::

        class TestInbox(ReceiverTransportContract):
            spec = INBOX

            def options_for(self, directory):
                return {"folder": str(directory)}

            def arrived(self, directory):
                return {path.name: [path.read_bytes()] for path in directory.iterdir()}

    `unreachable` are options that lead to no receiver.
    """

    options: Mapping[str, Any] = MappingProxyType({})
    unreachable: ClassVar[Mapping[str, Any] | None] = None

    def options_for(self, directory: Path) -> Mapping[str, Any]:
        """The options of a receiver that works; `directory` is empty, and the receiver may use it."""
        return self.options

    def arrived(self, directory: Path) -> Mapping[str, Sequence[bytes]] | None:
        """The copies that the receiver holds, by `UploadItem.name`; None where the author cannot look."""
        return None

    def content(self, item: UploadItem) -> bytes:
        """What the receiver must hold of a file: all of it, or what the protocol carries (C-STORE: the data set)."""
        return content_of(item)

    def make(self, context: ReceiverContext) -> ReceiverTransport:
        """A transport, as the engine makes one per worker."""
        made: ReceiverTransport = self.target(context)
        return made

    def values(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """A value for every option."""
        declared = () if self.spec is None else self.spec.options
        values = with_defaults(declared, options)
        missing = required_without_value(self.spec, values)
        self.require(not missing, f"override `options_for`: the option {missing[:1]} is required")
        return values

    def context(self, directory: Path, items: Sequence[UploadItem] = (), workers: int = 1) -> ReceiverContext:
        """What it is made with."""
        folder = directory / "receiver"
        folder.mkdir(exist_ok=True)
        values = self.values(self.options_for(folder))
        return make_receiver_context(options=values, workers=workers, items=items, address=self.address(values))

    def address(self, values: Mapping[str, Any]) -> str:
        """What the target `destination` of the spec returns for these options; empty without it."""
        if self.spec is None or self.spec.destination is None:
            return ""
        named = attribute_of(self.spec.destination)
        with self.calling("destination", network=False):
            address: object = named(dict(values))
        expect(isinstance(address, str) and address, f"`destination` returns {address!r} instead of an address")
        self.expect_hidden("`destination`", address)
        return str(address)

    def items(self, directory: Path) -> tuple[UploadItem, ...]:
        """Real instances of two series."""
        return instances(directory / "exam")

    @contextmanager
    def using(self, context: ReceiverContext) -> Iterator[ReceiverTransport]:
        """A transport in use; it is released and closed as the engine does it."""
        with self.calling("target"):
            transport = self.make(context)
        yield transport
        with self.calling("close"):
            if isinstance(transport, ConnectedTransport):
                transport.rest()
            transport.close()

    def batches(self, transport: ReceiverTransport, items: Sequence[UploadItem], workers: int) -> list[Batch]:
        """The batches of the transport, or those that core cuts."""
        if not isinstance(transport, BatchingReceiver):
            return cut_batches(items, workers)
        with self.calling("batches", network=False):
            return cut(transport.batches, items, workers)

    def send(self, transport: ReceiverTransport, batch: Batch) -> dict[str, ItemOutcome]:
        """Send one batch, watched; returns the outcomes by path."""
        heard: list[Event] = []
        with self.calling("send"):
            answers: Any = transport.send(batch, heard.append)
            try:
                said = _taken(answers, len(batch.items))
            except TypeError:
                raise Mistake(f"`send` returned {type(answers).__name__} instead of outcomes") from None
        found = one_for_each(batch, said)
        self.expect_hidden("an outcome", *(outcome.reason for outcome in found.values()))
        expect_events(heard, batch.items)
        return found

    def expect_hidden(self, what: str, *texts: object) -> None:
        """Raise Mistake if a text holds a secret."""
        self.expect_no_secret(what, *texts)
        for secret in filter(None, (secret_value(o) for o in (() if self.spec is None else self.spec.options))):
            for text in texts:
                expect(secret not in str(text), f"{what} contains the value of a secret option")

    def test_it_describes_itself_without_a_receiver(self, tmp_path: Path) -> None:
        """`describe`: some texts, no network, no secret."""
        with self.using(self.context(tmp_path)) as transport, self.calling("describe", network=False):
            described = transport.describe()
        expect(isinstance(described, Mapping) and described, "`describe` returns no mapping with texts")
        texts = all(isinstance(key, str) and isinstance(value, str) for key, value in described.items())
        expect(texts, "`describe` returns something else than texts")
        self.expect_hidden("`describe`", *described.keys(), *described.values())

    def test_its_address_is_the_same_each_time(self, tmp_path: Path) -> None:
        """`destination`: the address by which the journal knows the receiver."""
        if self.spec is None or self.spec.destination is None:
            pytest.skip("the spec names no `destination`: every option counts as part of the address")
        addresses = {self.context(tmp_path).address for _ in range(3)}
        expect(len(addresses) == 1, "`destination` returns another address for the same options")

    def test_batches_hold_every_item_once_and_repeat(self, tmp_path: Path) -> None:
        """`batches`: nothing is lost or repeated, and the same files are cut in the same way."""
        items = self.items(tmp_path)
        with self.using(self.context(tmp_path, items, 8)) as transport:
            if not isinstance(transport, BatchingReceiver):
                pytest.skip("core cuts the batches of this transport")
            with self.calling("batches", network=False):
                cut_again(transport.batches, items)

    def test_every_item_gets_one_outcome_and_arrives(self, tmp_path: Path) -> None:
        """`send`: one outcome for each file, and the bytes that arrive are those of the disk."""
        items = self.items(tmp_path)
        with self.using(self.context(tmp_path, items)) as transport:
            for batch in self.batches(transport, items, 2):
                expect_all(self.send(transport, batch), Outcome.ACCEPTED, "which the receiver takes")
        self._expect_exactly(items, tmp_path)

    def test_sending_again_replaces(self, tmp_path: Path) -> None:
        """A batch that is sent again is accepted, and leaves no second copy."""
        items = self.items(tmp_path)
        with self.using(self.context(tmp_path, items)) as transport:
            for batch in self.batches(transport, items, 1) * 2:
                expect_all(self.send(transport, batch), Outcome.ACCEPTED, "which the receiver takes")
        self._expect_exactly(items, tmp_path)

    @pytest.mark.parametrize("how", ["changed", "vanished"])
    def test_a_changed_file_is_said_and_raises_nothing(self, tmp_path: Path, how: str) -> None:
        """A file that changed or vanished gets an outcome; the others arrive."""
        items = self.items(tmp_path)
        changed = items[len(items) // 2]
        if how == "changed":
            Path(changed.file).write_bytes(b"something else")
        else:
            Path(changed.file).unlink()
        outcomes: dict[str, ItemOutcome] = {}
        with self.using(self.context(tmp_path, items)) as transport:
            for batch in self.batches(transport, items, 1):
                try:
                    outcomes |= self.send(transport, batch)
                except XnatctlError as error:
                    raise Mistake(
                        f"`send` raised {type(error).__name__} for one file that {how} ({error.message}); yield its "
                        "outcome, and go on with the others"
                    ) from error
        said = outcomes.pop(changed.path).outcome
        expect(said is Outcome.CHANGED, f"`send` says {said} for {changed.path}, which {how}; say changed")
        wrong = [path for path, outcome in outcomes.items() if outcome.outcome is Outcome.FAILED]
        expect(not wrong, f"`send` says failed for {wrong[:1]}, because another file of its batch {how}")

    def test_two_workers_send_at_once(self, tmp_path: Path) -> None:
        """Each worker has a transport of its own, and both send at the same time."""
        items = self.items(tmp_path)
        context = self.context(tmp_path, items, 2)
        with self.using(context) as first, self.using(context) as second:
            batches = [Batch(id=item.sop_instance_uid, items=(item,)) for item in items]
            said: dict[str, ItemOutcome] = {}
            lock, ready = threading.Lock(), threading.Barrier(2)

            def work(transport: ReceiverTransport, own: Sequence[Batch]) -> None:
                ready.wait(self.seconds)
                for batch in own:
                    found = one_for_each(batch, _taken(transport.send(batch, _ignore), len(batch.items)))
                    with lock:
                        said.update(found)

            with self.calling("send, by two workers at once", allowed=()):
                in_parallel([lambda: work(first, batches[::2]), lambda: work(second, batches[1::2])], self.seconds)
        expect_all(said, Outcome.ACCEPTED, "which the receiver takes, with two workers")
        self._expect_exactly(items, tmp_path)

    def test_a_receiver_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        """Files that cannot be sent are not accepted; the error says what to do."""
        if self.unreachable is None:
            pytest.skip("set `unreachable` to test a receiver that is not there")
        items = self.items(tmp_path)
        values = self.values(self.unreachable)
        context = make_receiver_context(options=values, items=items, address=self.address(values))
        with self.using(context) as transport:
            try:
                outcomes = self.send(transport, self.batches(transport, items, 1)[0])
            except XnatctlError:
                return
        accepted = [path for path, outcome in outcomes.items() if outcome.outcome is Outcome.ACCEPTED]
        expect(not accepted, f"`send` says accepted for {accepted[:1]}, and the receiver is not there")

    def test_it_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """No thread and no descriptor stays open; it can be closed twice, also by another thread."""
        items = self.items(tmp_path)
        context = self.context(tmp_path, items)
        with nothing_left("the transport"), self.using(context) as transport:
            self.send(transport, self.batches(transport, items, 1)[-1])
            with self.calling("close"):
                in_parallel([transport.close], self.seconds)
                transport.close()

    def _expect_exactly(self, items: Sequence[UploadItem], directory: Path) -> None:
        """What the receiver holds is what the disk holds."""
        arrived = self.arrived(directory / "receiver")
        self.require(arrived is not None, "override `arrived`: what arrives must be compared with the disk")
        assert arrived is not None
        expect_arrived(items, arrived, self.content)


def _taken(answers: Any, number: int) -> list[Any]:
    """The outcomes of one batch; one too many shows that there is no end."""
    said = []
    for outcome in answers:
        said.append(outcome)
        if len(said) > 2 * number:
            raise Mistake(f"`send` yields more outcomes than the batch has files ({number}); does it end?")
    return said


def _ignore(event: Event) -> None:
    """No observer."""
