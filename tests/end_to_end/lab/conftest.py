"""The fault laboratory: the real command against the sandbox, killed and cut at chosen points.

`XNATCTL_LAB=full` runs every point instead of a spread of them; `XNATCTL_LAB_SEED` chooses the random ones. A test that
fails prints the seed that repeats it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import children
import pytest
from campaign_trials import CampaignTrial

from xnatctl.delivery.journal.reading import reading
from xnatctl.errors import JournalError

CHILD = Path(__file__).with_name("crash_child.py")
HASTY = Path(children.__file__).with_name("hasty.py")


@dataclass
class Lab:
    """One upload that is broken on purpose, again and again, until it is complete."""

    nursery: Any
    sandbox: Any
    exam: Any
    environment: Mapping[str, str]
    home: Path
    arguments: Sequence[str] = ()
    program: Sequence[str] = ("-m", "xnatctl")
    log: list[str] = field(default_factory=list)

    def upload(self, mode: str, *more: str, workers: int = 4) -> Lab:
        """The command that is going to be broken."""
        self.arguments = (
            *("session", "upload", str(self.exam.directory), "-P", "DEMO", "-S", "s", "-E", "e"),
            *("--mode", mode, "--workers", str(workers), "-o", "json", *more),
        )
        return self

    def hasten(self) -> Lab:
        """From now on every wait is a tenth as long."""
        self.program = (str(HASTY),)
        return self

    def start(self, *prefix: str) -> children.Child:
        """Start the command; `prefix` is what runs it."""
        return self.nursery.start(*(prefix or self.program), *self.arguments, env=self.environment)

    def run(self, *prefix: str) -> tuple[int, Any]:
        """Run the command to its end: exit code and report."""
        process = self.start(*(prefix or self.program))
        out, err = process.communicate()
        self.log.append(f"exit {process.returncode}: {err.decode()[-300:]}")
        return process.returncode, json.loads(out) if out.strip() else None

    def crash(self, point: int, when: str) -> bool:
        """Kill at one journal write; False when this run came to its end with fewer.

        Words of several workers are written together when it so happens, so the number differs from run to run.
        """
        code, _ = self.run(str(CHILD), str(point), when, str(self.home / "writes"))
        if code == 0:
            assert self.written() < point, self.log
            return False
        assert code == -9, (point, when, self.log)
        return True

    def writes(self) -> int:
        """How often an undisturbed run writes its journal."""
        assert self.run(str(CHILD), "0", "never", str(self.home / "writes"))[0] == 0
        return self.written()

    def written(self) -> int:
        """How often the last run that came to its end wrote its journal."""
        return int((self.home / "writes").read_text())

    def kill_after(self, seconds: float) -> int:
        """SIGKILL after so many seconds; returns the exit code, 0 when it was faster."""
        process = self.start()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        self.log.append(f"killed after {seconds:.3f} s: exit {process.returncode}")
        return process.returncode

    def journal(self) -> dict[str, str]:
        """Outcome by SOP Instance UID, read by a reader of its own; empty before the first run."""
        (path, *others) = list((self.home / "state" / "xnatctl" / "journals").glob("*.sqlite")) or [None]
        assert not others
        if path is None:
            return {}
        try:
            with reading(path) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                rows = db.execute("SELECT name, outcome FROM items").fetchall()
        except JournalError as error:
            assert "is empty" in error.message, error.message
            return {}
        return {bytes(name).decode().removesuffix(".dcm"): outcome for name, outcome in rows}

    @staticmethod
    def digest(path: Path) -> str:
        """SHA-256 of a file, in hex."""
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def arrivals(self) -> list[str]:
        """SOP Instance UIDs in the order in which the server stored them, repetitions included."""
        record = self.sandbox.directory / "received.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        return [json.loads(line)["sop_instance_uid"] for line in lines]

    def quiet(self) -> None:
        """Wait until the server has dealt with what a killed client sent."""
        while not self.sandbox.is_quiet():
            time.sleep(0.01)

    def start_over(self) -> None:
        """A new server and a new machine, as far as anybody can tell."""
        for experiment in list(self.sandbox.state.experiments.values()):
            self.sandbox.remove_experiment(experiment)
        self.sandbox.state.prearchive.clear()
        self.sandbox.state.direct.clear()
        import shutil

        shutil.rmtree(self.sandbox.directory / "prearchive", ignore_errors=True)
        shutil.rmtree(self.home / "state", ignore_errors=True)
        self.log.clear()

    def finish(self, *, workers: int, most: int) -> None:
        """Resume what was killed; nothing that the journal knows as delivered goes again.

        `most` is the number of files that may be in flight in one worker.
        """
        self.quiet()
        known = self.journal()
        doubtful = [uid for uid, outcome in known.items() if outcome == "sending"]
        assert len(doubtful) <= workers * most, self.log
        safe = {uid for uid, outcome in known.items() if outcome == "accepted"}
        first = len(self.arrivals())
        code, report = self.run()
        assert code == 0, (self.log, report and report["error"])
        again = set(self.arrivals()[first:])
        assert not again & safe, self.log
        assert report["counts"]["found"] == report["counts"]["sent"] + report["counts"]["skipped"]
        twice = [uid for uid, times in Counter(self.arrivals()[first:]).items() if times > 1]
        assert not twice, self.log


@pytest.fixture
def lab(
    nursery: Any, sandbox: Any, small_exam: Any, environment: dict[str, str], alice: dict[str, str], home: Path
) -> Lab:
    return Lab(nursery=nursery, sandbox=sandbox, exam=small_exam, environment={**environment, **alice}, home=home)


@pytest.fixture
def campaign_trial(
    nursery: Any, sandbox: Any, environment: dict[str, str], alice: dict[str, str], home: Path
) -> CampaignTrial:
    """A campaign that is going to be broken."""
    return CampaignTrial(
        nursery=nursery,
        sandbox=sandbox,
        environment={**environment, **alice},
        home=home,
        program=("-m", "xnatctl"),
    )


@pytest.fixture
def small_exam(tmp_path: Path) -> Any:
    """Three series of 20 instances."""
    from xnatctl.testing.exam import write_exam

    return write_exam(tmp_path / "exam", series=3, instances=20, seed=11, clutter=False)


@pytest.fixture
def full() -> bool:
    """True when every point is wanted, not a spread of them."""
    return os.environ.get("XNATCTL_LAB") == "full"


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that repeat; the seed is in the output of a test that fails."""
    seed = f"{os.environ.get('XNATCTL_LAB_SEED', '2026')}-{request.node.name}"
    print(f"XNATCTL_LAB_SEED={seed.partition('-')[0]}")
    return random.Random(seed)


@pytest.fixture
def spread(full: bool) -> Callable[[Sequence[Any], int], Sequence[Any]]:
    """All of a sequence, or so many of it, evenly spread, first and last among them."""

    def choose(points: Sequence[Any], number: int) -> Sequence[Any]:
        if full or len(points) <= number:
            return points
        return [points[round(i * (len(points) - 1) / (number - 1))] for i in range(number)]

    return choose


@pytest.fixture
def fault_proxy(dice: random.Random) -> Any:
    """A function that puts a `FaultProxy` before a port; all are closed at the end."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("fault_proxy", Path(__file__).with_name("proxy.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: list[Any] = []

    def make(port: int, **options: Any) -> Any:
        made.append(module.FaultProxy(port, dice, **options))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
