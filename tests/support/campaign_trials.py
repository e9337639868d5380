"""A campaign against the sandbox that is broken on purpose, again and again, until it is complete."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from children import Child
from kept import assert_kept

from xnatctl.testing.exam import write_exam
from xnatctl_campaign.ledger import RowState, latest

#: So often a campaign is run again before a test fails: one request of twenty fails.
_MOST_RUNS = 12


@dataclass
class CampaignTrial:
    """One campaign, its folder and its server."""

    nursery: Any
    sandbox: Any
    environment: Mapping[str, str]
    home: Path
    program: tuple[str, ...]
    files: dict[str, Path] = field(default_factory=dict)  # by SOP Instance UID
    labels: dict[str, str] = field(default_factory=dict)  # of the session, by SOP Instance UID
    rows: int = 0
    directory: Path = Path()
    children: list[Child] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def write(self, rows: int, instances: int) -> CampaignTrial:
        """Write the sources and the manifest: a session with one series for each row."""
        self.rows = rows
        with open(self.home / "manifest.csv", "w", newline="") as file:
            manifest = csv.writer(file)
            manifest.writerow(("path", "project", "subject", "session"))
            for row in range(1, rows + 1):
                exam = write_exam(
                    self.home / "sources" / f"{row}",
                    series=1,
                    instances=instances,
                    seed=10_000 + row,
                    clutter=False,
                    patient_id=f"P{row}",
                )
                manifest.writerow((exam.directory, "DEMO", f"s{row}", f"e{row}"))
                for path in exam.directory.rglob("*"):
                    if path.is_file():
                        self._add(path, f"e{row}")
        assert len(self.files) == rows * instances
        return self

    def _add(self, path: Path, label: str) -> None:
        import pydicom

        uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        self.files[uid] = path
        self.labels[uid] = label

    def row_of(self, uid: str) -> int:
        """The row that an instance belongs to."""
        return int(self.labels[uid].removeprefix("e"))

    def plan(self, name: str = "campaign", lease: float = 5.0) -> CampaignTrial:
        """Freeze the campaign into a new folder."""
        self.directory = self.home / name
        self.log.clear()
        code, _, err = self.finish(
            self._start(
                *("campaign", "plan", str(self.home / "manifest.csv"), str(self.directory)),
                *("--lease", str(lease), "-o", "json"),
            )
        )
        assert code == 0, err
        return self

    def start(self, *more: str) -> Child:
        """Start `campaign run`."""
        child = self._start("campaign", "run", str(self.directory), *more, "-o", "json")
        self.children.append(child)
        return child

    def _start(self, *arguments: str) -> Child:
        return self.nursery.start(*self.program, *arguments, env=self.environment)

    def finish(self, child: Child) -> tuple[int, Any, str]:
        """Wait for a command: exit code, document and standard error."""
        out, err = child.communicate()
        code = child.wait()
        text = err.decode()
        assert "Traceback" not in text, text
        self.log.append(f"exit {code}: {text[-600:]}")
        return code, json.loads(out) if out.strip() else None, text

    def until_done(self, *more: str) -> None:
        """Run until it says 0. Finished rows are never sent again."""
        for _ in range(_MOST_RUNS):
            with self.nothing_proven_is_sent():
                code, _, _ = self.finish(self.start(*more))
            if code == 0:
                return
            assert code in (4, 5, 6), self.log
        raise AssertionError(self.log)

    def nothing_proven_is_sent(self) -> Any:
        """A block during which no instance of a row arrives that was proven at its begin."""
        return _Watch(self)

    def proven(self) -> set[int]:
        """The rows that the ledger proves."""
        return {row for row, entry in latest(self.directory).items() if entry.state is RowState.PROVEN}

    def arrivals(self) -> list[str]:
        """SOP Instance UIDs in the order in which the server stored them, repetitions included."""
        record = self.sandbox.directory / "received.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        return [json.loads(line)["sop_instance_uid"] for line in lines]

    def quiet(self) -> None:
        """Wait until the server has dealt with what killed clients sent."""
        while not self.sandbox.is_quiet():
            time.sleep(0.01)

    def assert_complete(self) -> None:
        """Every instance is archived once, whole, in the session of its row, and no session is there twice."""
        self.quiet()
        stored = [instance for instance in self.sandbox.instances() if instance["place"] == "archive"]
        assert len(self.sandbox.instances()) == len(stored), "something is left in the prearchive"
        uids = [instance["sop_instance_uid"] for instance in stored]
        assert sorted(uids) == sorted(self.files), (len(uids), len(self.files), self.log)
        for instance in stored:
            uid = instance["sop_instance_uid"]
            assert instance["session"] == self.labels[uid]
            assert instance["catalogued"]
            assert_kept(instance["path"], self.files[uid])
        labels = [experiment.label for experiment in self.sandbox.state.experiments.values()]
        assert sorted(labels) == sorted(set(self.labels.values()))
        assert self.proven() == set(range(1, self.rows + 1))

    def start_over(self, name: str) -> None:
        """An empty server, and a new folder."""
        self.quiet()
        for experiment in list(self.sandbox.state.experiments.values()):
            self.sandbox.remove_experiment(experiment)
        import shutil

        self.sandbox.state.prearchive.clear()
        self.sandbox.state.direct.clear()
        shutil.rmtree(self.sandbox.directory / "prearchive", ignore_errors=True)
        self.sandbox.concurrency.reset()
        self.plan(name)

    def work_processes(self) -> list[int]:
        """The processes that deliver rows of this folder: `campaign work`."""
        return sorted(pid for pid, words in _processes() if "work" in words and str(self.directory) in words)

    def no_process_left(self) -> None:
        """Wait until every process of this folder has ended by itself."""
        while any(str(self.directory) in words for _, words in _processes()):
            time.sleep(0.02)


@dataclass
class _Watch:
    """See `CampaignTrial.nothing_proven_is_sent`."""

    trial: CampaignTrial

    def __enter__(self) -> None:
        self._proven = self.trial.proven()
        self._first = len(self.trial.arrivals())

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            sent = {self.trial.row_of(uid) for uid in self.trial.arrivals()[self._first :]}
            assert not sent & self._proven, (sent & self._proven, self.trial.log)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """The processes of this machine that are no zombies, with their arguments."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(words):
                yield int(folder.name), words


def kill_at_random(dice: random.Random, pids: list[int]) -> list[int]:
    """SIGKILL one of some processes, or all of them; returns which."""
    chosen = pids if dice.random() < 0.3 else [dice.choice(pids)] if pids else []
    for pid in chosen:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return chosen
