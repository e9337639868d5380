"""What the contracts of all transports compare: batches, outcomes and bytes."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xnatctl.inventory.walk import scan_path
from xnatctl.model.events import Event, EventKind
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, UploadItem
from xnatctl.testing.exam import write_exam
from xnatctl.testing.watch import Mistake, expect

#: What a transport may say; the other outcomes are core's.
SAYABLE = frozenset(
    {
        Outcome.ACCEPTED,
        Outcome.AMBIGUOUS,
        Outcome.FILTERED,
        Outcome.REJECTED,
        Outcome.FAILED,
        Outcome.CHANGED,
    }
)
#: What the script of a server answers: a lost answer, 401, 413, 503, 429, and so on.
FAILURES = (
    FailureClass.ANSWER_LOST,
    FailureClass.AUTHENTICATION,
    FailureClass.TOO_LARGE,
    FailureClass.TRANSIENT,
    FailureClass.THROTTLED,
    FailureClass.REFUSED,
    FailureClass.FILTERED,
)


def instances(directory: Path) -> tuple[UploadItem, ...]:
    """Real instances of two series."""
    write_exam(directory, series=2, instances=7, seed=11)
    return tuple(scan_path(str(directory)).items)


def content_of(item: UploadItem) -> bytes:
    """The bytes of a file on disk."""
    return Path(item.file).read_bytes()


def cut(
    batches: Callable[[Sequence[UploadItem], int], Iterable[Batch]], items: Sequence[UploadItem], workers: int
) -> list[Batch]:
    """The batches of a transport: every item once, and an end."""
    found = list(itertools.islice(batches(items, workers), len(items) + 1))
    expect(len(found) <= len(items), f"`batches` yields more batches than there are files ({len(items)}); does it end?")
    expect(all(isinstance(batch, Batch) for batch in found), "`batches` yields something else than a Batch")
    held = Counter(item.path for batch in found for item in batch.items)
    known = {item.path for item in items}
    if lost := sorted(known - set(held)):
        raise Mistake(f"`batches` loses {_files(lost)}; every file must be in one batch")
    if twice := sorted(path for path, number in held.items() if number > 1):
        raise Mistake(f"`batches` repeats {_files(twice)}; every file must be in one batch")
    if foreign := sorted(set(held) - known):
        raise Mistake(f"`batches` adds {_files(foreign)}, which core did not ask for")
    expect(all(batch.items for batch in found), "`batches` yields an empty batch")
    ids = [batch.id for batch in found]
    expect(len(set(ids)) == len(ids), "`batches` gives two batches the same id")
    return found


def cut_again(batches: Callable[[Sequence[UploadItem], int], Iterable[Batch]], items: Sequence[UploadItem]) -> None:
    """Batches for several numbers of workers, each the same when they are cut again."""
    for workers in (1, 3, 8):
        first, second = cut(batches, items, workers), cut(batches, items, workers)
        same = [(b.id, [i.path for i in b.items]) for b in first] == [(b.id, [i.path for i in b.items]) for b in second]
        expect(same, "`batches` cuts the same files in another way the second time; a resumed run needs equal batches")


def outcomes_of(batch: Batch, result: object) -> dict[str, ItemOutcome]:
    """What `send` returned for a batch: one outcome for each item, of a kind that a transport may say."""
    if isinstance(result, BatchResult):
        said: Sequence[Any] = result.outcomes
    else:
        raise Mistake(f"`send` returned {type(result).__name__} instead of BatchResult")
    return one_for_each(batch, said)


def one_for_each(batch: Batch, said: Sequence[Any]) -> dict[str, ItemOutcome]:
    """The outcomes by path. Raises Mistake unless each item has one."""
    found: dict[str, ItemOutcome] = {}
    paths = {item.path for item in batch.items}
    for outcome in said:
        expect(isinstance(outcome, ItemOutcome), f"`send` returned {type(outcome).__name__} instead of ItemOutcome")
        expect(
            outcome.outcome is not Outcome.VERIFIED,
            f"`send` says that {outcome.path} is verified; only core verifies, so say accepted",
        )
        expect(outcome.outcome in SAYABLE, f"`send` says {outcome.outcome}, an outcome that a transport cannot know")
        expect(outcome.path in paths, f"`send` returned an outcome for {outcome.path}, which is not in the batch")
        if (before := found.get(outcome.path)) is not None:
            raise Mistake(
                f"`send` returned two outcomes for {outcome.path}: {before.outcome} and {outcome.outcome}; each file "
                "has one"
            )
        found[outcome.path] = outcome
    if silent := sorted(paths - set(found)):
        raise Mistake(f"`send` returned no outcome for {_files(silent)}; each file has one")
    return found


def expect_all(outcomes: Mapping[str, ItemOutcome], wanted: Outcome, why: str) -> None:
    """Raise Mistake unless all outcomes are the one that is wanted."""
    for path, said in outcomes.items():
        reason = f" ({said.reason})" if said.reason else ""
        expect(said.outcome is wanted, f"`send` says {said.outcome}{reason} for {path}, {why}")


def expect_passed_on(outcomes: Mapping[str, ItemOutcome], failure: FailureClass, wanted: Outcome) -> None:
    """Raise Mistake when a transport turned the answer of the server into another one."""
    for path, said in outcomes.items():
        if said.outcome is wanted and said.failure is failure:
            continue
        if wanted is Outcome.AMBIGUOUS and said.outcome is not Outcome.AMBIGUOUS:
            raise Mistake(
                f"`send` calls an ambiguous answer {said.outcome}: the server may have stored {path}, and may not; "
                f"return what `deliver` returned (here {wanted}, {failure})"
            )
        raise Mistake(
            f"`send` says {said.outcome} ({said.failure}) for {path} where the server answered {wanted} ({failure}); "
            "return what `deliver` returned"
        )


def expect_arrived(
    items: Sequence[UploadItem],
    arrived: Mapping[str, Sequence[bytes]],
    content_of: Callable[[UploadItem], bytes] = content_of,
) -> None:
    """Compare what arrived, by name, with the disk."""
    for item in items:
        copies = arrived.get(item.name, ())
        expect(copies, f"`send` says accepted for {item.path}, and its bytes did not arrive under the name {item.name}")
        content = content_of(item)
        for copy in copies:
            if copy != content:
                raise Mistake(
                    f"`send` delivered other bytes than the file {item.path} holds: {difference(copy, content)}"
                )
        expect(len(copies) == 1, f"`send` delivered {item.path} {len(copies)} times")


def difference(found: bytes, wanted: bytes) -> str:
    """How two contents differ."""
    if len(found) != len(wanted):
        return f"{len(found)} bytes instead of {len(wanted)}"
    first = next(number for number, (one, two) in enumerate(zip(found, wanted, strict=True)) if one != two)
    return f"the first difference is at byte {first}"


def in_parallel(tasks: Sequence[Callable[[], None]], seconds: float) -> None:
    """Run tasks in threads of their own; raises the first error, Mistake for one that does not end."""
    errors: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    if errors:
        raise errors[0]
    expect(not any(thread.is_alive() for thread in threads), f"`send` did not return within {seconds:g} s in a worker")


def expect_events(events: Sequence[object], items: Sequence[UploadItem]) -> None:
    """Raise Mistake for events that observers cannot read."""
    sent = 0
    for event in events:
        expect(isinstance(event, Event), f"`emit` was called with {type(event).__name__} instead of Event")
        assert isinstance(event, Event)
        expect(isinstance(event.kind, EventKind), f"`emit` was called with the unknown kind {event.kind!r}")
        number = event.data.get("bytes", 0) if isinstance(event.data, Mapping) else None
        expect(
            isinstance(number, int) and number >= 0,
            f"`emit` was called with data that observers cannot read: {event.kind} with bytes={number!r}",
        )
        assert isinstance(number, int)
        sent += number if event.kind is EventKind.BYTES_SENT else 0
    size = sum(item.size for item in items)
    expect(sent <= 2 * size, f"the events say that {sent} bytes were sent; the files have {size}")


def _files(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"
