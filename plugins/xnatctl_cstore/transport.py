"""The transport `cstore`: one association per worker, many instances on it, and an outcome for each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from xnatctl.api import (
    Batch,
    ConnectionFailed,
    Emit,
    Event,
    EventKind,
    FailureClass,
    ItemOutcome,
    Outcome,
    ReceiverContext,
    SourceChanged,
    UploadItem,
    changed_outcome,
    cut_batches,
    human_duration,
)
from xnatctl_cstore import statuses
from xnatctl_cstore.association import WINDOW, Association
from xnatctl_cstore.contexts import MOST, Pair, by_group, counted, grouped, pair_of, sendable
from xnatctl_cstore.dataset import offset_of, padded, read_fully
from xnatctl_cstore.dimse import Answer
from xnatctl_cstore.names import described
from xnatctl_cstore.negotiation import refusal
from xnatctl_cstore.receiver import Receiver
from xnatctl_cstore.stream import Stream
from xnatctl_cstore.trouble import Lost, NotAssociated

#: Each answer is recorded separately, so a batch is only a unit of work: small enough to be shared among workers.
_BATCH_FILES = 100
_BATCH_BYTES = 64 * 2**20
#: Seconds between two progress events.
_REPORT_EVERY = 0.1
#: Consecutive instances without an answer after which the receiver counts as unavailable for a while.
_SILENCES = 2
#: Most attempts of an instance without an answer; some receivers (Orthanc) never answer to data that they cannot parse.
_SILENCES_OF_ONE = 2


class CStoreTransport:
    """Sends instances by C-STORE (PS3.4 B). An association lasts from batch to batch."""

    def __init__(self, context: ReceiverContext) -> None:
        self._context = context
        self._receiver = Receiver.from_options(context.options, context.commands)
        self._groups = grouped(context.items)
        self._association: Association | None = None
        self._proposed: frozenset[Pair] = frozenset()
        self._stream: Stream | None = None
        self._closed = False
        self._failed: set[str] = set()
        self._lost: Lost | None = None
        self._silences: Counter[str] = Counter()
        self._delivered = False
        self._unreported, self._reported_at = 0, 0.0

    def describe(self) -> Mapping[str, str]:
        """Connection parameters and presentation contexts; no network."""
        receiver, contexts = self._receiver, counted(self._context.items)
        lines = {
            "receiver": receiver.place,
            "called AE title": receiver.called,
            "calling AE title": receiver.calling,
            "TLS": "no" if receiver.tls is None else f"yes, trusting {receiver.tls.ca_cert or 'the system'}",
            "answer timeout": human_duration(receiver.answer_timeout),
            "associations": f"{self._context.workers} at the same time"
            + (f", each for {MOST} of {len(contexts):,} contexts in turn" if len(contexts) > MOST else ""),
            "presentation contexts": str(len(contexts)),
        }
        for number, (pair, count) in enumerate(contexts.items(), start=1):
            lines[f"context {number}"] = f"{described(*pair)}: {count:,} {'file' if count == 1 else 'files'}"
        return lines

    def batches(self, items: Sequence[UploadItem], workers: int) -> Iterator[Batch]:
        """Each batch needs no more contexts than one association has; made one by one, as there may be many."""
        for part in by_group(items, self._groups or grouped(items)):
            yield from cut_batches(part, workers, max_bytes=_BATCH_BYTES, max_files=_BATCH_FILES)

    def probe(self) -> None:
        """Open an association to check the receiver. Raises ConnectionFailed unless the receiver is only busy."""
        if not self._groups:
            return
        try:
            Association.open(self._receiver, self._groups[0], self._opened, first=True).release()
        except NotAssociated as error:
            if not error.busy:
                raise ConnectionFailed(error.message, hint=error.hint) from None

    def rest(self) -> None:
        """Release the association, because receivers limit associations and end idle ones."""
        association, self._association = self._association, None
        if association is not None:
            association.release()

    def close(self) -> None:
        """Cut the stream, which wakes a worker that waits for an answer."""
        self._closed = True
        stream = self._stream
        if stream is not None:
            stream.cut()

    # sending

    def send(self, batch: Batch, emit: Emit) -> Iterator[ItemOutcome]:
        """Send one instance after the other; earlier failures go last, on a new association."""
        self._closed = False
        if any(item.path in self._failed for item in batch.items):
            self.rest()
        left = sorted(batch.items, key=lambda item: item.path in self._failed)
        silences = 0
        while left:
            if self._context.stop_requested():
                yield from _unsent(left, FailureClass.UNREACHABLE, "not sent: interrupted")
                break
            item = left.pop(0)
            try:
                outcome = self._deliver(item, emit)
            except NotAssociated as error:
                reason = error.message.rstrip(".")
                doubtful = Outcome.FAILED if self._lost is None else Outcome.AMBIGUOUS
                yield ItemOutcome(path=item.path, outcome=doubtful, failure=error.failure, reason=reason)
                yield from _unsent(left, error.failure, reason)
                break
            silences = silences + 1 if outcome.failure is FailureClass.ANSWER_LOST else 0
            if outcome.outcome.delivered:
                self._delivered = True
            elif outcome.outcome in (Outcome.FAILED, Outcome.AMBIGUOUS):
                self._failed.add(item.path)
            yield outcome
            if silences == _SILENCES:
                yield from _unsent(left, FailureClass.ANSWER_LOST, f"not sent: {outcome.reason}")
                break
        self._tell(emit, 0)

    def _deliver(self, item: UploadItem, emit: Emit) -> ItemOutcome:
        """Send one instance; retry at once if an association that had carried others ended with it.

        Raises NotAssociated.
        """
        if pair_of(item) not in self._proposed and not sendable(item):
            reason = "its header names no transfer syntax"
            return ItemOutcome(path=item.path, outcome=Outcome.INVALID, reason=reason)
        self._lost = None
        while True:
            association = self._associated(pair_of(item))
            if (result := association.terms.refused.get(pair_of(item))) is not None:
                reason = f"the receiver refuses {described(*pair_of(item))}: {refusal(result)}"
                return ItemOutcome(path=item.path, outcome=Outcome.REJECTED, reason=reason)
            first = not association.answered
            try:
                answer = self._store(association, item, emit)
            except SourceChanged as error:
                return changed_outcome(item, error)
            except Lost as lost:
                self._lost = lost
                self._drop()
                if first or lost.how == "silent" or self._closed:
                    return self._doubtful(item, lost)
                emit(Event(kind=EventKind.RETRY, message=f"{lost.reason}; continuing with a new association"))
                continue
            answer = replace(answer, comment=self._context.discreet(item, answer.comment))
            return statuses.outcome_of(item, answer, lost=self._lost is not None)

    def _store(self, association: Association, item: UploadItem, emit: Emit) -> Answer:
        """Raises SourceChanged, Lost."""
        with self._context.open_item(item) as reader:
            head = read_fully(reader, min(WINDOW, item.size))
            offset = offset_of(head)
            if (len(head) - offset) % 2 and len(head) < item.size:
                head += read_fully(reader, 1)  # fragments are even
            data, tail = memoryview(head)[offset:], b""
            if (item.size - offset) % 2:
                even, tail = padded(bytes(data), item.size - offset, item.transfer_syntax_uid)
                data = memoryview(even)
            try:
                return association.store(
                    pair_of(item),
                    item.sop_instance_uid,
                    data,
                    item.size - len(head),
                    reader,
                    lambda count: self._tell(emit, count),
                    tail=tail,
                )
            except SourceChanged:
                self._drop()  # a part of it was sent
                raise

    def _doubtful(self, item: UploadItem, lost: Lost) -> ItemOutcome:
        """The outcome without an answer. The instance may be the cause, so the number of attempts is limited."""
        failure = FailureClass.UNPARSABLE if lost.how == "aborted" else FailureClass.ANSWER_LOST
        if lost.how == "silent":
            self._silences[item.path] += 1
            if self._silences[item.path] >= _SILENCES_OF_ONE and self._delivered:
                failure = FailureClass.NONE
        return ItemOutcome(path=item.path, outcome=Outcome.AMBIGUOUS, failure=failure, reason=lost.reason)

    # associations

    def _associated(self, pair: Pair) -> Association:
        """An association with this context. Raises NotAssociated."""
        if self._association is not None and (pair not in self._proposed or not self._association.usable):
            self.rest()
        if self._association is None:
            group = next((group for group in self._groups if pair in group), (pair,))
            self._association = Association.open(self._receiver, group, self._opened)
            self._proposed = frozenset(group)
        return self._association

    def _opened(self, stream: Stream) -> None:
        """Register a stream, so that `close` can cut it."""
        self._stream = stream
        if self._closed:
            stream.cut()

    def _drop(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            association.abort()

    def _tell(self, emit: Emit, count: int) -> None:
        """Count sent bytes and emit them at intervals; 0 emits the rest."""
        self._unreported += count
        now = time.monotonic()
        if self._unreported and (now >= self._reported_at + _REPORT_EVERY or not count):
            emit(Event(kind=EventKind.BYTES_SENT, data={"bytes": self._unreported}))
            self._unreported, self._reported_at = 0, now


def _unsent(items: Sequence[UploadItem], failure: FailureClass, reason: str) -> list[ItemOutcome]:
    return [ItemOutcome(path=item.path, outcome=Outcome.FAILED, failure=failure, reason=reason) for item in items]
