"""The latest word on every item of a run."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from xnatctl.delivery.judgement import Finding
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import ResourceRef
from xnatctl.model.report import Level

T = TypeVar("T")
_OUTCOMES: Final = tuple(Outcome)
_CODES: Final = {outcome: code for code, outcome in enumerate(_OUTCOMES)}


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


class States:
    """Items by number, in the order in which they were entered. Whoever writes sees to it that nobody else does.

    What every item has is kept in lists, and what few have by number: there may be a hundred thousand items.
    """

    def __init__(self) -> None:
        #: The numbers in the order of the paths: a dictionary would take as much as a fifth of the items.
        self._by_path = array("I")
        self.items: list[UploadItem] = []
        self._outcomes = bytearray()
        self._attempts = array("I")
        self._uris: list[str | None] = []
        self._shared: dict[str, str] = {}
        self._findings = bytearray()
        self._skipped = bytearray()
        self._taken = bytearray()
        self._doubtful: set[int] = set()
        self._resources: dict[int, ResourceRef] = {}
        self._failures: dict[int, FailureClass] = {}
        self._reasons: dict[int, str] = {}
        self._notes: dict[int, str] = {}
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.items)

    # items

    def enter(self, items: Sequence[UploadItem], resource: ResourceRef | None) -> Sequence[int]:
        """The numbers of items of different paths, in their order; those that are new get the next ones."""
        first = len(self)
        numbers = array("I")
        for item in items:
            number = self.find(item.path)
            numbers.append(len(self) if number is None else number)
            if number is None:
                self.items.append(item)
        self._by_path = array("I", sorted(range(len(self)), key=self._path))
        new = len(self) - first
        if resource is not None:
            self._resources.update(dict.fromkeys(range(first, len(self)), resource))
        self._outcomes.extend([_CODES[Outcome.PLANNED]] * new)
        self._attempts.extend([0] * new)
        self._uris += [None] * new
        for column in (self._findings, self._skipped, self._taken):
            column.extend(bytes(new))
        return range(first, len(self)) if new == len(items) else numbers

    def _path(self, number: int) -> str:
        return self.items[number].path

    def number(self, path: str) -> int:
        """The number of an item. Raises KeyError."""
        number = self.find(path)
        if number is None:
            raise KeyError(path)
        return number

    def find(self, path: str) -> int | None:
        """The number of an item; None for one that was not entered."""
        place = bisect_left(self._by_path, path, key=self._path)
        if place == len(self._by_path) or self._path(number := self._by_path[place]) != path:
            return None
        return number

    def name(self, number: int) -> str:
        """What it is called in the journal."""
        return record_name(self.items[number], self.resource(number))

    def resource(self, number: int) -> ResourceRef | None:
        """The resource that it belongs to; None for an instance."""
        return self._resources.get(number)

    # words

    def skip(self, number: int, note: str | None) -> None:
        """An earlier run delivered it."""
        self._outcomes[number] = _CODES[Outcome.ACCEPTED]
        self._skipped[number] = True
        _put(self._notes, number, note)

    def intend(self, number: int) -> None:
        """It is about to be sent; proven before, it is missing all the same."""
        self._outcomes[number] = _CODES[Outcome.SENDING]
        self._attempts[number] += 1
        self._skipped[number] = False
        self._digests.pop(number, None)

    def taken(self, number: int) -> bool:
        """Whether it was delivered in this run, whatever was heard since."""
        return bool(self._taken[number])

    def hear(self, number: int, said: ItemOutcome) -> Outcome:
        """What became of it; returns what an interrupted run should remember."""
        self._outcomes[number] = _CODES[said.outcome]
        _put(self._failures, number, said.failure if said.failure is not FailureClass.NONE else None)
        _put(self._reasons, number, said.reason)
        _put(self._notes, number, said.note)
        if said.uri:
            self._uris[number] = self._shared.setdefault(said.uri, said.uri)
        if said.outcome is Outcome.AMBIGUOUS:
            self._doubtful.add(number)
        elif said.outcome.delivered:
            self._taken[number] = True
        doubtful = number in self._doubtful
        if doubtful and said.outcome is Outcome.FAILED:
            return Outcome.AMBIGUOUS
        if said.failure is FailureClass.DUPLICATE and not doubtful:
            return Outcome.MISSING  # what the receiver has may be another file of the same UID
        return said.outcome

    def digest(self, number: int) -> str | None:
        """The digest of the bytes that were read, as long as it is kept."""
        return self._digests.get(number)

    def keep_digest(self, number: int, digest: str | None) -> None:
        """Keep a digest, or let go of it."""
        _put(self._digests, number, digest)

    def find_out(self, number: int, finding: int) -> None:
        """Keep what the server's listings say of it."""
        self._findings[number] = finding

    def note(self, number: int) -> str | None:
        """What is said of it, although it is delivered."""
        return self._notes.get(number)

    def outcome(self, number: int) -> Outcome:
        """The latest outcome."""
        return _OUTCOMES[self._outcomes[number]]

    def skipped(self, number: int) -> bool:
        """Whether an earlier run delivered it."""
        return bool(self._skipped[number])

    def state(self, number: int) -> ItemState:
        """All of it."""
        return ItemState(
            item=self.items[number],
            resource=self.resource(number),
            outcome=self.outcome(number),
            failure=self._failures.get(number, FailureClass.NONE),
            reason=self._reasons.get(number),
            note=self._notes.get(number),
            uri=self._uris[number],
            attempts=self._attempts[number],
            skipped=self.skipped(number),
            digest=self._digests.get(number),
            doubtful=number in self._doubtful,
            finding=Finding(self._findings[number]),
        )


def _put(column: dict[int, T], number: int, value: T | None) -> None:
    if value is not None:
        column[number] = value
    else:
        column.pop(number, None)


class StateView:
    """The states of some items as they are at this moment, each made when it is looked at."""

    __slots__ = ("_numbers", "_states")

    def __init__(self, states: States, numbers: Sequence[int]) -> None:
        self._states = states
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> ItemState:
        return self._states.state(self._numbers[place])

    def __iter__(self) -> Iterator[ItemState]:
        return map(self._states.state, self._numbers)

    @property
    def items(self) -> tuple[UploadItem, ...]:
        """Their items."""
        return tuple(self._states.items[number] for number in self._numbers)

    @property
    def delivered(self) -> StateView:
        """Those that the receiver has said that it took."""
        return self._where(lambda outcome: outcome.delivered)

    @property
    def undelivered(self) -> StateView:
        """The others."""
        return self._where(lambda outcome: not outcome.delivered)

    def having(self, outcome: Outcome) -> StateView:
        """Those of one outcome."""
        return self._where(lambda other: other is outcome)

    def without(self, outcome: Outcome) -> StateView:
        """Those of another outcome."""
        return self._where(lambda other: other is not outcome)

    def _where(self, holds: Callable[[Outcome], bool]) -> StateView:
        outcome = self._states.outcome
        return StateView(self._states, array("I", (number for number in self._numbers if holds(outcome(number)))))
