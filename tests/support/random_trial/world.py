"""What a trial begins with: a server, a disk and a command, drawn from the seed."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnatctl.testing.exam import EXPLICIT, IMPLICIT, write_exam
from xnatctl_sandbox.server import Sandbox

VERSIONS = ("1.7.7", "1.8.2", "1.8.3", "1.8.4", "1.8.11", "1.8.11")


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class World:
    """A server, a disk, and the command of an upload."""

    seed: int
    directory: Path
    nursery: Any
    environment: dict[str, str]
    program: tuple[str, ...] = ("-m", "xnatctl")
    log: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.log.append(text)
        if os.environ.get("TRIAL_VERBOSE"):
            print("     " + text, flush=True)

    def prepare(self) -> None:
        """Draw server, disk and command."""
        dice = self.dice = random.Random(f"{self.seed}")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.version = dice.choice(VERSIONS)
        self.sandbox = Sandbox(self.directory / "xnat", version=self.version)
        self.sandbox.start()
        self.sandbox.add_project("OVER", prearchive_code=5, roles={"alice": "owner"})
        self.sandbox.add_user("carol", "carol")
        for project in ("DEMO", "MANUAL", "OVER"):
            self.sandbox.state.projects[project].roles["carol"] = "owner"
        self.project = dice.choice(["DEMO", "DEMO", "MANUAL", "OVER"])
        syntaxes = dice.choice([(EXPLICIT,), (EXPLICIT, IMPLICIT)])
        device = dice.random() < 0.5
        self.ours = write_exam(
            self.directory / "ours", series=dice.choice([1, 2, 3]), instances=dice.choice([1, 3, 5]), seed=self.seed,
            clutter=False, transfer_syntaxes=syntaxes, device_headers=device,
        )  # fmt: skip
        self.theirs = write_exam(
            self.directory / "theirs", series=2, instances=3, seed=self.seed + 1_000_000, clutter=False
        )
        self.acts = 0
        self.done = False
        self.foreign: dict[tuple[str, ...], int] = {}
        self.same_length: set[str] = set()  # UIDs under which others stored other content of the same length
        self.mangled = False  # the server changes what it stores
        self.resources: dict[str, dict[str, str]] = {}
        self.site()
        self.command()

    def site(self) -> None:
        dice, switches = self.dice, self.sandbox.switches
        draw = dice.random()
        if draw < 0.10:
            switches.site_script = {"PatientName": "ANONYMOUS^SOMEBODY^LONG"[: dice.choice([3, 23])]}
            self.mangled = True
        elif draw < 0.15:
            switches.project_scripts = {
                self.project: {"StudyDescription": None, "PatientID": "X" * dice.choice([1, 60])}
            }
            self.mangled = True
        elif draw < 0.2:
            switches.rewrites_heads = False
        if dice.random() < 0.2:
            self.sandbox.state.site["checksums"] = False
        for name, most in (
            ("build_seconds", 0.3),
            ("archive_seconds", 0.4),
            ("write_seconds", 0.02),
            ("queue_seconds", 0.1),
        ):
            if dice.random() < 0.2:
                setattr(switches, name, dice.random() * most)
        if dice.random() < 0.06:
            switches.direct_archive_fails = True
        if dice.random() < 0.05:
            switches.catalog_seconds = 0.05
        if dice.random() < 0.1:
            switches.keeps_cut_files = True
        if dice.random() < 0.1:
            switches.stale_stats = True
        self.say(
            f"version {self.version}, project {self.project}, switches {switches}, site checksums {self.sandbox.state.site['checksums']}"
        )

    def command(self) -> None:
        dice = self.dice
        self.verb = dice.choice(["upload", "upload", "upload", "upload-exam", "upload --split-studies"])
        self.prearchive = dice.random() < 0.25
        self.overwrite = dice.choice(["delete", "delete", "append", "none"])
        words = ["session", *self.verb.split(), str(self.ours.directory), "-P", self.project, "-S", "s", "-E", "e"]
        words += ["--mode", dice.choice(["tar", "zip", "gradual"]), "--workers", dice.choice(["1", "4"])]
        words += ["--overwrite", self.overwrite, "-o", "json", "--retry-for", "5", "--lock-wait", "5"]
        if self.verb == "upload-exam":
            words += ["--wait", "3"]
            folder = self.ours.directory / "Physio"
            folder.mkdir()
            for name in ("a.log", "b.log", "c c.log"):
                (folder / name).write_bytes(f"{name} {self.seed}".encode() * 50)
            self.resources["Physio"] = {p.name: sha256_of(p) for p in folder.iterdir()}
        if self.prearchive:
            words += ["--prearchive"]
        if dice.random() < 0.15:
            words += ["--verify", "checksum"]
        if dice.random() < 0.1 and "gradual" not in words:
            words += ["--compress", "always"]
        self.words = words
        self.say(" ".join(words[1:]))


def sha256_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
