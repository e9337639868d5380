"""The current state of every item of a run."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
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
_ALL: Final = frozenset(Outcome)
_DELIVERED: Final = frozenset(outcome for outcome in Outcome if outcome.delivered)


def record_name(item: UploadItem, resource: ResourceRef | None = None) -> str:
    """The name of an item in the journal: its member name, preceded by the resource if it belongs to one."""
    return item.name if resource is None else f"{resource.key}/{item.name}"


@dataclass(frozen=True, slots=True)
class ItemState:
    """The current state of one item. `attempts` counts the requests that contained it.

    `resource` is None for an instance; `digest` is that of the bytes that were read for sending, once complete.
    `doubtful`: an attempt of this run may have stored it, whatever the next one returned. `finding` is the result of
    the server's listings for an instance.
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
        """The verification level that the server's listings prove."""
        return self.finding.level


class States:
    """Items by number, in the order in which they were entered. Writers need a lock.

    Fields of every item are lists, and rare fields are dictionaries by number, to save memory.
    """

    def __init__(self) -> None:
        #: The paths in order, and the number of each: a dictionary would add a fifth to the memory of the items.
        self._paths: list[str] = []
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
        """The numbers of items with distinct paths, in order; new items get the next numbers."""
        first = len(self)
        numbers = array("I")
        for item in items:
            number = self.find(item.path)
            numbers.append(len(self) if number is None else number)
            if number is None:
                self.items.append(item)
        paths = [item.path for item in self.items]
        self._by_path = array("I", sorted(range(len(paths)), key=paths.__getitem__))
        self._paths = [paths[number] for number in self._by_path]
        new = len(self) - first
        if resource is not None:
            self._resources.update(dict.fromkeys(range(first, len(self)), resource))
        self._outcomes.extend([_CODES[Outcome.PLANNED]] * new)
        self._attempts.extend([0] * new)
        self._uris += [None] * new
        for column in (self._findings, self._skipped, self._taken):
            column.extend(bytes(new))
        return range(first, len(self)) if new == len(items) else numbers

    def number(self, path: str) -> int:
        """The number of an item. Raises KeyError."""
        number = self.find(path)
        if number is None:
            raise KeyError(path)
        return number

    def find(self, path: str) -> int | None:
        """The number of an item; None if it was not entered."""
        place = bisect_left(self._paths, path)
        return self._by_path[place] if place < len(self._paths) and self._paths[place] == path else None

    def name(self, number: int) -> str:
        """The name of an item in the journal."""
        return record_name(self.items[number], self.resource(number))

    def resource(self, number: int) -> ResourceRef | None:
        """The resource that it belongs to; None for an instance."""
        return self._resources.get(number)

    # changes

    def skip(self, number: int, note: str | None) -> None:
        """Mark an item as delivered by an earlier run."""
        self._outcomes[number] = _CODES[Outcome.ACCEPTED]
        self._skipped[number] = True
        _put(self._notes, number, note)

    def intend(self, number: int) -> None:
        """Mark an item as about to be sent, even if an earlier run proved it."""
        self._outcomes[number] = _CODES[Outcome.SENDING]
        self._attempts[number] += 1
        self._skipped[number] = False
        self._digests.pop(number, None)

    def taken(self, number: int) -> bool:
        """Whether this run delivered an item, whatever was recorded later."""
        return bool(self._taken[number])

    def record(self, number: int, outcome: ItemOutcome) -> Outcome:
        """Record an outcome; returns the outcome that an interrupted run should store."""
        self._outcomes[number] = _CODES[outcome.outcome]
        _put(self._failures, number, outcome.failure if outcome.failure is not FailureClass.NONE else None)
        _put(self._reasons, number, outcome.reason)
        _put(self._notes, number, outcome.note)
        if outcome.uri:
            self._uris[number] = self._shared.setdefault(outcome.uri, outcome.uri)
        if outcome.outcome is Outcome.AMBIGUOUS:
            self._doubtful.add(number)
        elif outcome.outcome.delivered:
            self._taken[number] = True
        doubtful = number in self._doubtful
        if doubtful and outcome.outcome is Outcome.FAILED:
            return Outcome.AMBIGUOUS
        if outcome.failure is FailureClass.DUPLICATE and not doubtful:
            return Outcome.MISSING  # the receiver may have another file with the same UID
        return outcome.outcome

    def digest(self, number: int) -> str | None:
        """The digest of the bytes that were read, while it is kept."""
        return self._digests.get(number)

    def keep_digest(self, number: int, digest: str | None) -> None:
        """Set or drop a digest."""
        _put(self._digests, number, digest)

    def set_finding(self, number: int, finding: int) -> None:
        """Set the finding from the server's listings."""
        self._findings[number] = finding

    def note(self, number: int) -> str | None:
        """The note of a delivered item."""
        return self._notes.get(number)

    def outcome(self, number: int) -> Outcome:
        """The latest outcome."""
        return _OUTCOMES[self._outcomes[number]]

    def having(self, outcomes: Collection[Outcome], numbers: Iterable[int]) -> Sequence[int]:
        """Those of the numbers whose latest outcome is one of `outcomes`."""
        codes, current = frozenset(map(_CODES.__getitem__, outcomes)), self._outcomes
        return array("I", [number for number in numbers if current[number] in codes])

    def skipped(self, number: int) -> bool:
        """Whether an earlier run delivered it."""
        return bool(self._skipped[number])

    def state(self, number: int) -> ItemState:
        """The full state of an item."""
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
    """A lazy view of the current states of some items."""

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
        """The items."""
        return tuple(self._states.items[number] for number in self._numbers)

    @property
    def delivered(self) -> StateView:
        """The states of items that the receiver has accepted."""
        return self._having(_DELIVERED)

    @property
    def undelivered(self) -> StateView:
        """The states of items that were not delivered."""
        return self._having(_ALL - _DELIVERED)

    def having(self, outcome: Outcome) -> StateView:
        """The states with an outcome."""
        return self._having({outcome})

    def without(self, outcome: Outcome) -> StateView:
        """The states without an outcome."""
        return self._having(_ALL - {outcome})

    def _having(self, outcomes: Collection[Outcome]) -> StateView:
        return StateView(self._states, self._states.having(outcomes, self._numbers))
