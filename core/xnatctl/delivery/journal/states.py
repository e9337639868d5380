"""The latest word on every item of a run, in columns: a few bytes an item, as there may be a hundred thousand."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from xnatctl.delivery.session.judgement import Finding
from xnatctl.model.index import Index
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import ResourceRef
from xnatctl.model.report import Level
from xnatctl.model.sequences import Lazy, joined, select

_OUTCOMES: Final = tuple(Outcome)
_FAILURES: Final = tuple(FailureClass)
_CODE: Final[dict[Outcome, int]] = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
_FAILURE_CODE: Final = {failure: code for code, failure in enumerate(_FAILURES)}
_DELIVERED: Final = bytes(_CODE[outcome] for outcome in _OUTCOMES if outcome.delivered)
_SKIPPED, _DOUBTFUL, _TAKEN = 1, 2, 4


def record_name(item: UploadItem, resource: ResourceRef | None = None) -> str:
    """What an item is called in the journal: by its member name, and in a resource by the resource as well."""
    return item.name if resource is None else f"{resource.key}/{item.name}"


@dataclass(frozen=True, slots=True)
class ItemState:
    """The latest word on one item. `attempts` counts requests that carried it.

    `resource` is None for an instance; `digest` is that of the bytes that were read for sending, once all were.
    `doubtful` = an attempt of this run may have stored it, whatever became of the next. `finding` is what the
    server's listings say of an instance.
    """

    item: UploadItem
    resource: ResourceRef | None = None
    outcome: Outcome = Outcome.PLANNED
    failure: FailureClass = FailureClass.NONE
    reason: str | None = None
    note: str | None = None
    uri: str | None = None
    attempts: int = 0
    skipped: bool = False
    digest: str | None = None
    doubtful: bool = False
    finding: Finding = Finding.ABSENT

    @property
    def level(self) -> Level:
        """How much of an instance is proven by what the server lists."""
        return self.finding.level


class _Part(NamedTuple):
    """Items that were entered together: `items[0]` has the number `first`."""

    first: int
    items: Sequence[UploadItem]
    resource: ResourceRef | None


class States:
    """Items by number, in the order in which they were entered. Whoever writes sees to it that nobody else does."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._firsts = array("I")
        self._entering: tuple[int, Sequence[UploadItem], Sequence[int]] = (0, (), ())
        self._index = Index(lambda number: self.item(number).path)
        self.outcomes = bytearray()
        self._failures = bytearray()
        self._flags = bytearray()
        self._findings = bytearray()
        self._attempts = array("I")
        self._uris = array("I")
        self._texts: list[str | None] = [None]
        self._text_numbers: dict[str, int] = {}
        # Of few items, as a rule of none.
        self._reasons: dict[int, str] = {}
        self._notes: dict[int, str] = {}
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.outcomes)

    # items

    def enter(self, items: Sequence[UploadItem], resource: ResourceRef | None) -> Sequence[int]:
        """The numbers of items, in their order; those that are new get the next ones."""
        first = count = len(self)
        numbers, fresh = array("I"), array("I")
        self._entering = (first, items, fresh)
        for position, item in enumerate(items):
            number = self._index.add(item.path)
            numbers.append(number)
            if number == count:
                count += 1
                fresh.append(position)
        self._entering = (0, (), ())
        if new := len(fresh):
            self._parts.append(_Part(first, items if new == len(items) else select(items, fresh), resource))
            self._firsts.append(first)
            for column in (self._failures, self._flags, self._findings):
                column.extend(bytes(new))
            for numeric in (self._attempts, self._uris):
                numeric.frombytes(bytes(new * numeric.itemsize))
            self.outcomes.extend(bytes((_CODE[Outcome.PLANNED],)) * new)
        return range(first, count) if new == len(items) else numbers

    def number(self, path: str) -> int:
        """The number of an item. Raises KeyError."""
        number = self._index.find(path)
        if number is None:
            raise KeyError(path)
        return number

    def find(self, path: str) -> int | None:
        """The number of an item; None for one that was not entered."""
        return self._index.find(path)

    def _part(self, number: int) -> _Part:
        return self._parts[bisect_right(self._firsts, number) - 1]

    def item(self, number: int) -> UploadItem:
        """One item."""
        if number >= len(self):
            first, items, fresh = self._entering
            return items[fresh[number - first]]
        part = self._part(number)
        return part.items[number - part.first]

    def resource(self, number: int) -> ResourceRef | None:
        """The resource that it belongs to."""
        return self._part(number).resource

    def name(self, number: int) -> str:
        """What it is called in the journal."""
        part = self._part(number)
        return record_name(part.items[number - part.first], part.resource)

    def items(self, numbers: Sequence[int]) -> Sequence[UploadItem]:
        """Some items."""
        return select(joined(part.items for part in self._parts), numbers)

    def of(self, resource: ResourceRef | None) -> Sequence[int]:
        """The numbers of the items of a resource, or of all instances."""
        ranges = [range(part.first, part.first + len(part.items)) for part in self._parts if part.resource == resource]
        return ranges[0] if len(ranges) == 1 else array("I", chain.from_iterable(ranges))

    # words

    def skip(self, number: int, note: str | None) -> None:
        """An earlier run delivered it."""
        self.outcomes[number] = _CODE[Outcome.ACCEPTED]
        self._flags[number] |= _SKIPPED
        _put(self._notes, number, note)

    def intend(self, number: int) -> None:
        """It is about to be sent; proven before, it is missing all the same."""
        self.outcomes[number] = _CODE[Outcome.SENDING]
        self._attempts[number] += 1
        self._flags[number] &= ~_SKIPPED
        self._digests.pop(number, None)

    def taken(self, number: int) -> bool:
        """Whether it was delivered in this run, whatever was heard since."""
        return bool(self._flags[number] & _TAKEN)

    def hear(self, number: int, said: ItemOutcome) -> Outcome:
        """What became of it; returns what an interrupted run should remember."""
        self.outcomes[number] = _CODE[said.outcome]
        self._failures[number] = _FAILURE_CODE[said.failure]
        _put(self._reasons, number, said.reason)
        _put(self._notes, number, said.note)
        if said.uri:
            self._uris[number] = self._text_number(said.uri)
        if said.outcome is Outcome.AMBIGUOUS:
            self._flags[number] |= _DOUBTFUL
        elif said.outcome.delivered:
            self._flags[number] |= _TAKEN
        doubtful = self._flags[number] & _DOUBTFUL
        if doubtful and said.outcome is Outcome.FAILED:
            return Outcome.AMBIGUOUS
        if said.failure is FailureClass.DUPLICATE and not doubtful:
            return Outcome.MISSING  # what the receiver has may be another file of the same UID
        return said.outcome

    def _text_number(self, text: str) -> int:
        number = self._text_numbers.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return number

    def digest(self, number: int) -> str | None:
        """The digest of the bytes that were read, as long as it is kept."""
        return self._digests.get(number)

    def keep_digest(self, number: int, digest: str | None) -> None:
        """Keep a digest, or let go of it."""
        _put(self._digests, number, digest)

    def find_out(self, number: int, finding: int) -> None:
        """Keep what the server's listings say of it."""
        self._findings[number] = finding

    def outcome(self, number: int) -> Outcome:
        """The latest outcome."""
        return _OUTCOMES[self.outcomes[number]]

    def note(self, number: int) -> str | None:
        """What is said of it, although it is delivered."""
        return self._notes.get(number)

    def skipped(self, number: int) -> bool:
        """Whether an earlier run delivered it."""
        return bool(self._flags[number] & _SKIPPED)

    def state(self, number: int, item: UploadItem | None = None) -> ItemState:
        """All of it; `item` is its item, where that was looked up before."""
        part = self._part(number)
        return ItemState(
            item=item or part.items[number - part.first],
            resource=part.resource,
            outcome=_OUTCOMES[self.outcomes[number]],
            failure=_FAILURES[self._failures[number]],
            reason=self._reasons.get(number),
            note=self._notes.get(number),
            uri=self._texts[self._uris[number]],
            attempts=self._attempts[number],
            skipped=self.skipped(number),
            digest=self._digests.get(number),
            doubtful=bool(self._flags[number] & _DOUBTFUL),
            finding=Finding(self._findings[number]),
        )


def _put(column: dict[int, str], number: int, text: str | None) -> None:
    if text is not None:
        column[number] = text
    elif column:
        column.pop(number, None)


class StateView(Lazy[ItemState]):
    """The states of some items as they are at this moment, each made when it is looked at."""

    __slots__ = ("_states", "numbers")

    def __init__(self, states: States, numbers: Sequence[int]) -> None:
        self._states = states
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def _at(self, number: int) -> ItemState:
        return self._states.state(self.numbers[number])

    def __iter__(self) -> Iterator[ItemState]:
        return map(self._states.state, self.numbers, self.items)

    @property
    def items(self) -> Sequence[UploadItem]:
        """Their items."""
        return self._states.items(self.numbers)

    @property
    def delivered(self) -> StateView:
        """Those that the receiver has said that it took."""
        return self._where(_DELIVERED)

    @property
    def undelivered(self) -> StateView:
        """The others."""
        return self._where(bytes(code for code in range(len(_OUTCOMES)) if code not in _DELIVERED))

    @property
    def skipped(self) -> StateView:
        """Those that an earlier run delivered."""
        return self._choose(array("I", filter(self._states.skipped, self.numbers)))

    def having(self, outcome: Outcome) -> StateView:
        """Those of one outcome."""
        return self._where(bytes((_CODE[outcome],)))

    def without(self, outcome: Outcome) -> StateView:
        """Those of another outcome."""
        return self._where(bytes(code for code in range(len(_OUTCOMES)) if code != _CODE[outcome]))

    def _where(self, codes: bytes) -> StateView:
        outcomes, numbers = self._states.outcomes, self.numbers
        if isinstance(numbers, range):
            some = outcomes[numbers.start : numbers.stop : numbers.step]
            wanted = len(some) - len(some.translate(None, codes))
            if wanted in (0, len(some)):
                return self if wanted else StateView(self._states, ())
        return self._choose(array("I", (number for number in numbers if outcomes[number] in codes)))

    def _choose(self, numbers: Sequence[int]) -> StateView:
        return self if len(numbers) == len(self) else StateView(self._states, numbers)
