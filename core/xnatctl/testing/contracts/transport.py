"""The contract of transports that deliver through the import service (`settle="session"`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from xnatctl.delivery.engine.retry import outcome_for
from xnatctl.model.events import Event
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.plugin.protocols import Transport, TransportContext
from xnatctl.testing.contracts.base import Contract, required_without_value, secret_value, with_defaults
from xnatctl.testing.contracts.sending import (
    FAILURES,
    cut,
    cut_again,
    expect_all,
    expect_arrived,
    expect_events,
    expect_passed_on,
    in_parallel,
    instances,
    outcomes_of,
)
from xnatctl.testing.contracts.uploading import SCRIPTS, upload_to_sandbox
from xnatctl.testing.fakes import FakeImporter, bundle_of, describing, make_context
from xnatctl.testing.http import FakeHttp
from xnatctl.testing.watch import expect, nothing_left

#: Seconds that one worker waits for the other before both send.
_MEET = 2.0


class TransportContract(Contract):
    """For transports that deliver through the import service (`settle="session"`), by `importer` or by `http`.

    ::

        class TestSeries(TransportContract):
            spec = SERIES                # the TransportSpec
            options = {"level": 1}       # where the default of an option is not what to test

    Override `make` for a transport that cannot be made by its target alone.
    """

    options: Mapping[str, Any] = MappingProxyType({})
    #: Time limit of an upload to the sandbox.
    upload_seconds: ClassVar[float] = 120.0

    def make(self, context: TransportContext) -> Transport:
        """A transport, as the engine makes one per worker."""
        made: Transport = self.target(context)
        return made

    def values(self) -> Mapping[str, Any]:
        """A value for every option."""
        declared = () if self.spec is None else self.spec.options
        values = with_defaults(declared, self.options)
        missing = required_without_value(self.spec, values)
        self.require(not missing, f"set `options`: the option {missing[:1]} is required")
        return values

    def secret_values(self) -> list[str]:
        """The values of secret options."""
        return [secret_value(option) for option in (() if self.spec is None else self.spec.options)]

    def context(self, importer: FakeImporter | None = None, *, workers: int = 1) -> TransportContext:
        """What it is made with."""
        importer = importer or FakeImporter()
        made = make_context(importer, options=self.values(), workers=workers)
        return replace(made, http=FakeHttp(importer))

    def items(self, directory: Path) -> tuple[UploadItem, ...]:
        """Real instances of two series."""
        return instances(directory)

    def sending(self, context: TransportContext) -> AbstractContextManager[Transport]:
        """A transport in use."""
        with self.calling("target"):
            return self.make(context)

    def cut(self, transport: Transport, items: Sequence[UploadItem], workers: int) -> list[Batch]:
        """The batches of a transport, watched."""
        with self.calling("batches", network=False):
            return cut(transport.batches, items, workers)

    def send(self, transport: Transport, batch: Batch) -> dict[str, ItemOutcome]:
        """Send one batch, watched; returns the outcomes by path."""
        heard: list[Event] = []
        with self.calling("send", allowed=()):
            result = transport.send(batch, heard.append)
        found = outcomes_of(batch, result)
        self.expect_hidden("an outcome", *(outcome.reason for outcome in found.values()))
        self.expect_hidden("an event", *(getattr(event, "message", "") for event in heard))
        expect_events(heard, batch.items)
        return found

    def expect_hidden(self, what: str, *texts: object) -> None:
        """Raise Mistake if a text holds a secret."""
        self.expect_no_secret(what, *texts)
        for secret in filter(None, self.secret_values()):
            for text in texts:
                expect(secret not in str(text), f"{what} contains the value of a secret option")

    def test_it_describes_itself_without_a_server(self) -> None:
        """`describe`: some texts, no network, no secret."""
        with self.sending(describing(self.context())) as transport, self.calling("describe", network=False):
            described = transport.describe()
        expect(isinstance(described, Mapping) and described, "`describe` returns no mapping with texts")
        texts = all(isinstance(key, str) and isinstance(value, str) for key, value in described.items())
        expect(texts, "`describe` returns something else than texts")
        self.expect_hidden("`describe`", *described.keys(), *described.values())

    def test_batches_hold_every_item_once_and_repeat(self, tmp_path: Path) -> None:
        """`batches`: nothing is lost or repeated, and the same files are cut in the same way."""
        items = self.items(tmp_path)
        with self.sending(describing(self.context(workers=8))) as transport, self.calling("batches", network=False):
            cut_again(transport.batches, items)

    def test_every_item_gets_one_outcome_and_arrives(self, tmp_path: Path) -> None:
        """`send`: one outcome for each file, and the bytes that arrive are those of the disk."""
        items, importer = self.items(tmp_path), FakeImporter()
        with self.sending(self.context(importer)) as transport:
            for batch in self.cut(transport, items, 2):
                expect_all(self.send(transport, batch), Outcome.ACCEPTED, "which the server accepted")
        self._expect_exactly(items, importer)

    def test_sending_again_replaces(self, tmp_path: Path) -> None:
        """A batch that is sent again has the same names, so that the server replaces and keeps no second copy."""
        items, importer = self.items(tmp_path), FakeImporter()
        with self.sending(self.context(importer)) as transport:
            batch = self.cut(transport, items, 1)[-1]
            for _ in range(2):
                self.send(transport, batch)
        half = len(importer.received) // 2
        first, second = (
            [sorted(bundle_of(r.content)) for r in part]
            for part in (importer.received[:half], importer.received[half:])
        )
        expect(first == second, "`send` names the same files otherwise the second time; the server would keep both")

    @pytest.mark.parametrize("failure", FAILURES, ids=str)
    def test_an_answer_is_passed_on(self, tmp_path: Path, failure: FailureClass) -> None:
        """A lost answer, 401, 413, 503 and the like: core decides what follows, from what `deliver` returned."""
        items, importer = self.items(tmp_path), FakeImporter()
        with self.sending(self.context(importer)) as transport:
            batches = self.cut(transport, items, 1)
            importer.script.extend([failure] * len(items))
            expect_passed_on(self.send(transport, batches[-1]), failure, outcome_for(failure))
            importer.script.clear()
            expect_all(self.send(transport, batches[-1]), Outcome.ACCEPTED, "which the server accepted afterwards")

    @pytest.mark.parametrize("how", ["changed", "vanished"])
    def test_a_changed_file_is_said_and_raises_nothing(self, tmp_path: Path, how: str) -> None:
        """A file that changed or vanished gets an outcome; the others of its batch are sent again."""
        items, importer = self.items(tmp_path), FakeImporter()
        changed = items[len(items) // 2]
        if how == "changed":
            Path(changed.file).write_bytes(b"something else")
        else:
            Path(changed.file).unlink()
        outcomes: dict[str, ItemOutcome] = {}
        with self.sending(self.context(importer)) as transport:
            for batch in self.cut(transport, items, 1):
                outcomes |= self.send(transport, batch)
        said = outcomes.pop(changed.path).outcome
        expect(said is Outcome.CHANGED, f"`send` says {said} for {changed.path}, which {how}; say changed")
        for path, outcome in outcomes.items():
            expect(
                outcome.outcome in (Outcome.ACCEPTED, Outcome.AMBIGUOUS),
                f"`send` says {outcome.outcome} for {path}, because another file of its batch {how}; use "
                "`changed_outcome` for each file of the batch",
            )

    def test_two_workers_send_at_once(self, tmp_path: Path) -> None:
        """Each worker has a transport of its own, and both are in `send` at the same time."""
        items, importer = self.items(tmp_path), FakeImporter(meet=_MEET)
        context = self.context(importer, workers=2)
        with self.sending(context) as first, self.sending(context) as second:
            batches = self.cut(first, items, 2)
            said: dict[str, ItemOutcome] = {}
            lock = threading.Lock()

            def work(transport: Transport, own: Sequence[Batch]) -> None:
                for batch in own:
                    found = outcomes_of(batch, transport.send(batch, _ignore))
                    with lock:
                        said.update(found)

            with self.calling("send, by two workers at once", allowed=()):
                in_parallel([lambda: work(first, batches[::2]), lambda: work(second, batches[1::2])], self.seconds)
        expect_all(said, Outcome.ACCEPTED, "which the server accepted, with two workers")
        self._expect_exactly(items, importer, "with two workers, ")

    def test_it_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """No thread and no descriptor stays open; it can be closed twice, also by another thread."""
        items = self.items(tmp_path)
        with nothing_left("the transport"), self.sending(self.context()) as transport:
            self.send(transport, self.cut(transport, items, 1)[-1])
            with self.calling("close"):
                in_parallel([transport.close], self.seconds)
                transport.close()

    @pytest.mark.parametrize("script", SCRIPTS)
    def test_an_upload_arrives_whatever_the_server_does(self, tmp_path: Path, script: str) -> None:
        """With the command, to the sandbox, and compared with its disk; for an installed transport."""
        if self.spec is None:
            pytest.skip("set `spec` to upload with the transport to the sandbox")
        upload_to_sandbox(self.spec, self.values(), tmp_path, script, self.upload_seconds)

    def _expect_exactly(self, items: Sequence[UploadItem], importer: FakeImporter, when: str = "") -> None:
        """What the importer got is what the disk holds."""
        expect(not importer.mistakes, when + "; ".join(importer.mistakes[:1]))
        expect(importer.received, "`send` says accepted, and nothing was imported")
        arrived: dict[str, list[bytes]] = {}
        for received in importer.received:
            members = bundle_of(received.content)
            if "" in members and len(received.paths) == 1:
                name = next(item.name for item in items if item.path == received.paths[0])
                members = {name: members[""]}
            for name, content in members.items():
                arrived.setdefault(name, []).append(content)
        expect_arrived(items, arrived)


def _ignore(event: Event) -> None:
    """No observer."""
