"""Claims: who works on which row, across processes and machines that share nothing but the campaign folder.

A claim is a file that is made exclusively (O_CREAT | O_EXCL). Its owner rewrites a counter in it, the beat, every sixth
of the lease. Another process takes a row over by making the file of the next generation, exclusively again, once the
claim has ended, its process has ended on this machine, or the beat did not change for one lease by the clock of the
process that takes over. So no clocks of two machines are compared.

The owner stops at half a lease: a claim whose last beat is older counts as lost, for good, and so does one that has a
successor. `docs/explanation/campaigns.md` says why this holds on network file systems, and where its limits are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from xnatctl.api import JournalError
from xnatctl.api.system import time_with_sleep
from xnatctl_campaign import claim_file
from xnatctl_campaign.claim_file import ClaimName, ClaimRecord
from xnatctl_campaign.holder import Holder

#: Rows whose claims share a folder.
_SHARED: Final = 1000
#: Beats in one lease.
_BEATS: Final = 6
#: Looks in one lease at whether a claim is lost.
_WATCHES: Final = 30
#: Generations of a slot that are kept. A process that is slower than so many others notices it when it has claimed.
_KEPT: Final = 16


class Holding(StrEnum):
    """Whether a row is claimed."""

    FREE = "free"  # no worker claimed it
    HELD = "held"  # a worker claimed it, and nothing says that it is dead
    DEAD = "dead"  # its worker died
    ENDED = "ended"  # its worker ended


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimState:
    """The latest claim of a row. `worker` and `host` are empty if unknown."""

    row: int
    generation: int
    holding: Holding
    worker: str = ""
    host: str = ""


@dataclass(slots=True)
class _Sighting:
    """The beat of a claim of another process, and when it was first seen, by the monotonic clock."""

    generation: int
    beat: int
    since: float


class Claim:
    """A claim that this process holds. Thread-safe."""

    def __init__(self, name: ClaimName, generation: int, lease: float, begun: float) -> None:
        self.name = name.name
        self.generation = generation
        self._name = name
        self._path = name.path(generation)
        self._lease = lease
        self._lock = threading.Lock()  # one write at a time
        self._beat = 1
        self._beaten = begun
        self._lost = False
        self._ended = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def ended(self) -> bool:
        """True after `end`."""
        return self._ended

    def lost(self) -> bool:
        """Whether another process may hold the row by now, so that this one must write nothing more. Asks no file."""
        if not self._lost and time_with_sleep() - self._beaten > self._lease / 2:
            self._lost = True  # for good: a later beat may come after another process decided
        return self._lost

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call back once, from another thread and soon, if the claim is lost before it ends."""
        self._callbacks.append(callback)

    def watch(self) -> None:
        """Call back if the claim is lost. Asks no file, so that a file system that hangs does not hold this up."""
        while self._callbacks and self.lost() and not self._ended:
            self._callbacks.pop()()

    def beat(self) -> None:
        """Show that the owner lives. A beat that cannot be written is missed, and written later."""
        with self._lock:
            if self._ended or self.lost():
                return
            begun = time_with_sleep()
            try:
                claim_file.rewrite(self._path, self._beat + 1, ended=False)
                succeeded = self._name.latest() > self.generation
            except FileNotFoundError:
                self._lost = True  # someone removed it
                return
            except OSError:
                return
            self._beat += 1
            if succeeded or self.lost():  # the process may have been stopped since it began
                self._lost = True
            else:
                self._beaten = begun

    def end(self) -> None:
        """End the claim; the row is free at once. The file stays, so that generations only grow."""
        with self._lock:
            if not self._ended:
                self._ended = self._lost = True
                with suppress(OSError):  # others find that the beat does not change any more
                    claim_file.rewrite(self._path, self._beat + 1, ended=True)


class Claims:
    """The claims of this process. Raises JournalError where the folder cannot be read or written."""

    def __init__(self, directory: Path, worker: str, lease: float) -> None:
        self.worker = worker
        self.lease = lease
        self._directory = directory
        self._holder = Holder.this_process(worker)
        self._seen: dict[ClaimName, _Sighting] = {}
        self._held: list[Claim] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads: tuple[threading.Thread, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all claims of this process."""
        self._closed.set()
        with self._lock:
            held, self._held = self._held, []
        for claim in held:
            claim.end()

    def take(self, row: int) -> Claim | None:
        """Claim a row; None while another worker holds it and may live.

        Ask again later: a call compares the beat of the other worker with that of the call before.
        """
        return self._take(_row_name(self._directory, row))

    def take_slot(self, name: str) -> Claim | None:
        """Claim a slot of the server's budget, such as `sessions-1`; None while another worker holds it.

        Slots are claimed often, so old generations of their files are removed.
        """
        slot = ClaimName(self._directory / "budget", name)
        claim = self._take(slot)
        if claim is not None and claim.generation > _KEPT:
            with _explained(slot.folder):
                for generation in slot.generations():
                    if generation <= claim.generation - _KEPT:
                        slot.path(generation).unlink(missing_ok=True)
        return claim

    def state_of(self, row: int) -> ClaimState:
        """The latest claim of a row."""
        name = _row_name(self._directory, row)
        with _explained(name.folder):
            generation = name.latest()
            return _state(row, generation, claim_file.read(name.path(generation)) if generation else None)

    def _take(self, name: ClaimName) -> Claim | None:
        with _explained(name.folder):
            generation = name.latest()
            if generation and not self._may_follow(name, generation):
                return None
            begun = time_with_sleep()
            if not claim_file.create(name.path(generation + 1), self._holder):
                return None
            claim = Claim(name, generation + 1, self.lease, begun)
            if name.latest() > claim.generation:
                claim.end()  # this process was slow, and the file that it made had been removed
                return None
        self._seen.pop(name, None)
        self._keep(claim)
        return claim

    def _may_follow(self, name: ClaimName, generation: int) -> bool:
        """Whether the claim of a generation has ended or its owner is dead."""
        record = claim_file.read(name.path(generation))
        if record is None:
            return False  # a slot that went on meanwhile
        if record.ended or (record.holder is not None and record.holder.is_gone()):
            return True
        seen, now = self._seen.get(name), time.monotonic()
        if seen is None or (seen.generation, seen.beat) != (generation, record.beat):
            self._seen[name] = _Sighting(generation, record.beat, now)
            return False
        return now - seen.since > self.lease

    def _keep(self, claim: Claim) -> None:
        with self._lock:
            self._held = [other for other in self._held if not other.ended]
            self._held.append(claim)
            if not self._threads:
                # Two: a beat may hang with its file system, and then the claims must be found lost.
                self._threads = (
                    threading.Thread(target=self._repeat, args=(Claim.beat, _BEATS), name="beats", daemon=True),
                    threading.Thread(target=self._repeat, args=(Claim.watch, _WATCHES), name="fence", daemon=True),
                )
                for thread in self._threads:
                    thread.start()

    def _repeat(self, action: Callable[[Claim], None], times: int) -> None:
        """Do something to every claim, so many times in a lease."""
        while not self._closed.wait(self.lease / times):
            with self._lock:
                held = list(self._held)
            for claim in held:
                action(claim)


def claim_states(directory: Path) -> Iterator[ClaimState]:
    """The latest claim of every row that was ever claimed. Raises JournalError."""
    folder = directory / "claims"
    with _explained(folder):
        for shared in sorted(folder.iterdir()):
            for row, generation in sorted((int(name), last) for name, last in claim_file.names_in(shared)):
                yield _state(row, generation, claim_file.read(shared / f"{row}.{generation}"))


def _state(row: int, generation: int, record: ClaimRecord | None) -> ClaimState:
    if record is None:
        return ClaimState(row=row, generation=generation, holding=Holding.FREE)
    holder = record.holder
    if record.ended:
        holding = Holding.ENDED
    else:
        holding = Holding.DEAD if holder is not None and holder.is_gone() else Holding.HELD
    worker, host = (holder.worker, holder.host) if holder is not None else ("", "")
    return ClaimState(row=row, generation=generation, holding=holding, worker=worker, host=host)


def _row_name(directory: Path, row: int) -> ClaimName:
    return ClaimName(directory / "claims" / str(row // _SHARED), str(row))


class _explained:  # noqa: N801 - used as a with statement
    """Turns errors of the file system into JournalError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise JournalError(
                f"Cannot claim in {self._folder}: {error.strerror or error}.",
                hint="Check that this machine can write to the campaign folder.",
            ) from error
