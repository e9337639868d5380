"""One random trial: an upload, other people and faults at random moments, and what must hold after every run.

`python random_trial.py FIRST LAST` runs the seeds FIRST to LAST - 1 and prints what broke; each seed repeats its trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kept import assert_kept

from xnatctl.testing.exam import EXPLICIT, IMPLICIT, write_exam
from xnatctl_sandbox.server import Sandbox

HELD = 120.0
VERSIONS = ("1.7.7", "1.8.2", "1.8.3", "1.8.4", "1.8.11", "1.8.11")
PROJECTS = {"DEMO": 4, "MANUAL": 0, "OVER": 5}
#: Codes that say that nothing was sent.
NOTHING_SENT = (2, 7, 8)


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Run:
    """What a run of the command left behind."""

    code: int
    err: str
    report: Any
    imports: int
    writes: int


@dataclass
class Trial:
    """A server, a disk, and one upload that is run again and again while others act."""

    seed: int
    home: Path
    nursery: Any
    environment: dict[str, str]
    program: tuple[str, ...] = ("-m", "xnatctl")
    log: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.log.append(text)
        if os.environ.get("TRIAL_VERBOSE"):
            print("     " + text, flush=True)

    # the world

    def prepare(self) -> None:
        """Draw server, disk, command and what the server holds before."""
        dice = self.dice = random.Random(f"{self.seed}")
        self.home.mkdir(parents=True, exist_ok=True)
        self.version = dice.choice(VERSIONS)
        self.sandbox = Sandbox(self.home / "xnat", version=self.version)
        self.sandbox.start()
        self.sandbox.add_project("OVER", prearchive_code=5, roles={"alice": "owner"})
        self.sandbox.add_user("carol", "carol")
        for project in ("DEMO", "MANUAL", "OVER"):
            self.sandbox.state.projects[project].roles["carol"] = "owner"
        self.project = dice.choice(["DEMO", "DEMO", "MANUAL", "OVER"])
        syntaxes = dice.choice([(EXPLICIT,), (EXPLICIT, IMPLICIT)])
        device = dice.random() < 0.5
        self.ours = write_exam(
            self.home / "ours", series=dice.choice([1, 2, 3]), instances=dice.choice([1, 3, 5]), seed=self.seed,
            clutter=False, transfer_syntaxes=syntaxes, device_headers=device,
        )  # fmt: skip
        self.theirs = write_exam(self.home / "theirs", series=2, instances=3, seed=self.seed + 1_000_000, clutter=False)
        self.acts = 0
        self.done = False
        self.foreign: dict[tuple[str, ...], int] = {}
        self.mangled = False  # the server changes what it stores
        self.resources: dict[str, dict[str, str]] = {}
        self.site()
        self.command()
        self.before()

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
            self.resources["Physio"] = {p.name: _sha(p) for p in folder.iterdir()}
        if self.prearchive:
            words += ["--prearchive"]
        if dice.random() < 0.15:
            words += ["--verify", "checksum"]
        if dice.random() < 0.1 and "gradual" not in words:
            words += ["--compress", "always"]
        self.words = words
        self.say(" ".join(words[1:]))

    def before(self) -> None:
        dice = self.dice
        for _ in range(dice.choice([0, 0, 1, 1, 2])):
            self.act(("store_theirs", "store_half", "store_changed", "store_row", "store_other_series", "store_all"))

    # other people

    def act(self, among: tuple[str, ...] = ()) -> None:
        """Somebody else does something; an act that is not possible at this moment is none."""
        names = among or tuple(name[4:] for name in dir(self) if name.startswith("_do_"))
        name = self.dice.choice(names)
        try:
            getattr(self, f"_do_{name}")()
            self.say(f"  others: {name}")
            self.acts += 1
        except ValueError as error:
            self.say(f"  others: {name}: {error}")
        self.remember()

    def remember(self) -> None:
        """What is not ours to change: other studies, other sessions, and with append and none all that is archived."""
        self.merged = {label for label, studies in self._studies() if len(studies) > 1}
        self.foreign = self._foreign()

    def _foreign(self) -> dict[tuple[str, ...], int]:
        found: Counter[tuple[str, ...]] = Counter()
        entries = self.sandbox.instances()
        # A direct archive writes into the folder of the session; where it fails, XNAT takes its files out again.
        direct = {entry["session"] for entry in entries if entry["place"] == "direct"}
        for entry in entries:
            uid = entry["sop_instance_uid"]
            if entry["session"] in direct and uid in self.ours.instances:
                continue
            ours = uid in self.ours.instances
            policy = self.overwrite != "delete" and entry["place"] == "archive" and "split" not in self.verb
            if not ours or entry["session"] in ("other", "renamed", "moved", "renamed_row") or policy:
                # a row may be archived by the server; its content must stay
                found[(uid, entry["sha256"] if not self.mangled else "", entry["session"])] += 1
        return found

    def _store(self, files: list[Any], place: str, **more: Any) -> None:
        label = more.pop("label", "e")
        self.sandbox.others.store(files, label=label, project=self.project, place=place, **more)

    def _place(self) -> str:
        return self.dice.choice(["archive", "archive", "prearchive"])

    def _do_store_theirs(self) -> None:
        self._store([str(i.path) for i in self.theirs.instances.values()], self._place())

    def _do_store_theirs_other_subject(self) -> None:
        self._store([str(i.path) for i in self.theirs.instances.values()], self._place(), subject="t")

    def _do_store_half(self) -> None:
        files = [str(i.path) for i in self.ours.instances.values()]
        self._store(files[: (len(files) + 1) // 2], self._place())

    def _do_store_all(self) -> None:
        self._store([str(i.path) for i in self.ours.instances.values()], self._place())

    def _do_store_all_elsewhere(self) -> None:
        self._store([str(i.path) for i in self.ours.instances.values()], self._place(), label="other")

    def _do_store_changed(self) -> None:
        """Other content under one of our UIDs: cut, or another pixel."""
        uid = self.dice.choice(list(self.ours.instances))
        data = self.ours.instances[uid].path.read_bytes()
        data = data[:-100] if self.dice.random() < 0.6 else data[:-4] + b"abcd"
        self._store([data], self._place(), overwrite=self.dice.choice(["append", "delete"]))

    def _do_store_row(self) -> None:
        self._store([str(i.path) for i in list(self.ours.instances.values())[:1]], "prearchive")

    def _do_store_other_series(self) -> None:
        import io

        import pydicom

        ds = pydicom.dcmread(next(iter(self.ours.instances.values())).path)
        number = self.dice.randrange(1, 4) if self.dice.random() < 0.4 else 77
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.826.0.1.77.{number}", number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.77.{number}.1"
        target = io.BytesIO()
        ds.save_as(target)
        self._store([target.getvalue()], self._place())

    def _uid(self) -> str:
        return self.dice.choice(list(self.ours.instances))

    def _do_cut(self) -> None:
        self.sandbox.others.cut(self._uid(), lose=self.dice.choice([1, 200]), noticed=True)

    def _do_drop_instance(self) -> None:
        self.sandbox.others.drop_instance(self._uid())

    def _do_forget_uid(self) -> None:
        self.sandbox.others.forget_uid(self._uid())

    def _do_forget(self) -> None:
        self.sandbox.others.forget(self._uid())

    def _do_drop_scan(self) -> None:
        self.sandbox.others.drop_scan(self.dice.choice(["1", "2"]), project=self.project)

    def _do_delete_session(self) -> None:
        if not self.sandbox.others.delete_session("e", project=self.project):
            raise ValueError("none")

    def _do_rename_session(self) -> None:
        self.sandbox.others.change_session("e", project=self.project, to_label="renamed")

    def _do_other_subject(self) -> None:
        self.sandbox.others.change_session("e", project=self.project, to_subject="t")

    def _do_delete_row(self) -> None:
        if not self.sandbox.others.delete_row("e", project=self.project):
            raise ValueError("none")

    def _do_move_row(self) -> None:
        self.sandbox.others.move_row("e", "MANUAL" if self.project != "MANUAL" else "DEMO", project=self.project)

    def _do_rename_row(self) -> None:
        self.sandbox.others.rename_row("e", "renamed_row", project=self.project)

    def _do_archive_row(self) -> None:
        self.sandbox.others.archive_row("e", project=self.project, overwrite=self.dice.choice(["append", "delete"]))

    def _do_archive_row_elsewhere(self) -> None:
        how = self.dice.choice([{"to_label": "moved"}, {"to_subject": "t"}])
        self.sandbox.others.archive_row("e", project=self.project, **how)

    def _do_idle(self) -> None:
        self.sandbox.advance_clock(400)
        self.sandbox.tick()

    def _do_resource_file(self) -> None:
        """A colleague puts a file of his own where one of ours is to go."""
        import urllib.request

        found = [e for e in self.sandbox.state.experiments_of(self.project) if e.label == "e"]
        if not found or not self.resources:
            raise ValueError("no session")
        name = self.dice.choice(["a.log", "b.log", "theirs.log"])
        url = f"{self.sandbox.url}/data/experiments/{found[0].id}/resources/Physio/files/{name}?inbody=true"
        request = urllib.request.Request(url, data=b"colleague's", method="PUT")
        import base64

        request.add_header("Authorization", "Basic " + base64.b64encode(b"carol:carol").decode())
        request.add_header("Content-Type", "application/octet-stream")
        try:
            urllib.request.urlopen(request, timeout=30).read()
        except OSError as error:
            raise ValueError(str(error)) from None

    # runs

    def start(self, *, machine: str = "home", words: list[str] | None = None) -> Any:
        base = self.home / machine
        environment = {
            **self.environment, "HOME": str(base), "XDG_STATE_HOME": str(base / "state"),
            "XDG_CONFIG_HOME": str(base / "config"), "XDG_CACHE_HOME": str(base / "cache"),
            "XNAT_URL": self.sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice",
        }  # fmt: skip
        base.mkdir(exist_ok=True)
        return self.nursery.start(*self.program, *(words or self.words), env=environment, cwd=base)

    def run(self, trouble: str) -> Run:
        """One run of the command under one kind of trouble, and what must hold after it."""
        dice, faults = self.dice, self.sandbox.faults
        first = len(self.sandbox.requests)
        self.remember()
        self.say(f"run: {trouble}")
        other = None
        if trouble == "held":
            match = dice.choice(
                [{"path": "/"}, {"path": "/"}, {"path": "services/import"}, {"path": "prearchive/projects/.+"},
                 {"path": "services/archive|direct-archive"}, {"path": "/experiments"}, {"path": "/scans"},
                 {"method": "POST"}, {"path": "/files"}]
            )  # fmt: skip
            nth = dice.randrange(1, 40 if match == {"path": "/"} else 5)
            self.say(f"  held: {match} {nth}")
            faults.load([{"match": match, "nth": nth, "times": 1, "action": "delay", "seconds": HELD}])
            (rule,) = faults._rules
            child = self.start()
            while child.poll() is None and not rule["_done"]:
                time.sleep(0.01)
            if rule["_done"]:
                last = self.sandbox.requests[-1]
                self.say(f"  at {last['method']} {last['path']}")
                if not (last["method"] == "GET" and "/scans/" in last["path"]) and not last["path"].endswith(
                    ("/JSESSION", "/files", "/scans")
                ):
                    for _ in range(dice.choice([1, 1, 2])):
                        self.act()
            faults.end()
        elif trouble == "kill":
            child = self.start()
            nth, seen = dice.randrange(1, 45), len(self.sandbox.requests)
            while child.poll() is None and len(self.sandbox.requests) - seen < nth:
                time.sleep(0.002)
            child.send_signal(dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
        elif trouble == "faults":
            rate = dice.choice([0.05, 0.05, 0.15])
            rules = [
                {"action": "store-then-cut"}, {"action": "cut-before-body"}, {"action": "rst"},
                {"action": "status", "status": 503}, {"action": "status", "status": 500, "page": "xnat"},
                {"action": "store-then-status", "status": 502, "page": "proxy"},
                {"action": "store-then-status", "status": 500},
                {"action": "status", "status": 404}, {"action": "status", "status": 403},
                {"action": "cut-at-byte", "bytes": dice.randrange(3000)},
                {"action": "expire-session", "login": "alice"},
                {"action": "status", "status": 200, "page": "plain", "text": ""},
                {"action": "status", "status": 200, "page": "proxy"},
                {"action": "status", "status": 200, "page": "login"},
                {"action": "truncate-file", "members": ".*", "bytes": -dice.choice([1, 500]), "match": {"path": "import|files"}},
                {"action": "lose-file", "members": ".*", "match": {"path": "import|files"}},
                {"action": "catalog-conflict", "match": {"method": "PUT", "path": "/files"}},
            ]  # fmt: skip
            chosen = dice.sample(rules, dice.choice([1, 2, 4]))
            self.say(f"  faults: {rate} {chosen}")
            faults.load([{"probability": rate, "seed": dice.randrange(10**6), **rule} for rule in chosen])
            child = self.start()
        elif trouble == "two":
            other = self.start(machine="second")
            self.acts += 1
            child = self.start()
        else:
            child = self.start()
        try:
            out, err = child.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            raise Broken("the run does not end: " + child.err.decode()[-500:]) from None
        if other is not None:
            second = other.communicate(timeout=150)
        faults.end()
        while not self.sandbox.is_quiet():
            time.sleep(0.01)
        requests = self.sandbox.requests[first:]
        run = self.judge(child.wait(), out, err, requests, alone=other is None, mild=trouble in ("", "two"))
        if other is not None:
            self.judge(other.wait(), *second, requests, alone=False, mild=True)
        return run

    # invariants

    def judge(self, code: int, out: bytes, err_bytes: bytes, requests: list[Any], *, alone: bool, mild: bool) -> Run:
        err = err_bytes.decode(errors="replace")
        report = json.loads(out) if out.strip() else None
        imports = sum("services/import" in r["path"] for r in requests)
        writes = sum(r["method"] == "PUT" and "/files" in r["path"] for r in requests)
        run = Run(code, err, report, imports, writes)
        message = ""
        if report and report.get("error"):
            message = f"{report['error'].get('message')} | {report['error'].get('hint')}"
        self.say(f"  exit {code}, {imports} imports, {writes} files: {message}")
        if report:
            self.say(f"    {_short(report)}")
        for word in ("Traceback", "Unexpected", "unexpected error"):
            if word in err or (report and word in json.dumps(report.get("error"))):
                raise Broken(f"{word}: {err[-1500:]}")
        if code not in (0, 3, 4, 5, 6, 7, 130, 143, -9, 2):
            raise Broken(f"exit code {code}")
        if alone and code in NOTHING_SENT and (imports or writes):
            raise Broken(f"code {code} after {imports} imports and {writes} files")
        if code in NOTHING_SENT and report and report["counts"]["sent"]:
            raise Broken(f"code {code}, and {report['counts']['sent']} were sent")
        if alone and "othing was sent" in err + json.dumps(report) and (imports or writes):
            raise Broken("'nothing was sent' after imports")
        if code == 0:
            self.done = True
            self.proven(report)
        self.nobody_harmed()
        return run

    def proven(self, report: Any) -> None:
        """Exit code 0: every instance is, whole, where it was wanted."""
        place = "prearchive" if self.prearchive else "archive"
        held: dict[str, list[Any]] = {}
        for entry in self.sandbox.instances():
            held.setdefault(entry["sop_instance_uid"], []).append(entry)
        # What others put there before was not delivered, and below the level of checksums the report says so; in the
        # prearchive the content of what they put in the place of ours is compared with nothing.
        weak = ("counted", "uid") if self.prearchive and self.acts else ()
        unproven = {
            item["sop_instance_uid"] for item in report["items"] if item["level"] in weak
            or ("not delivered by this upload" in str(item["note"]) and item["level"] != "checksum")
        }  # fmt: skip
        for uid, instance in self.ours.instances.items():
            copies = [
                e for e in held.get(uid, ())
                if (e["place"] == place or (self.prearchive and e["place"] == "archive"))
                and e["project"] == self.project and e["session"] == "e"
                and (e["catalogued"] or e["place"] == "prearchive")
            ]  # fmt: skip
            if not copies:
                raise Broken(f"exit 0 and {uid} is not in {place}: {held.get(uid)}")
            if uid not in unproven and not any(self._whole(copy, instance) for copy in copies):
                raise Broken(f"exit 0 and {uid} has other content in {copies[0]['place']}")
        counts = report.get("counts") or {}
        if counts and counts["found"] != counts["sent"] + counts["skipped"] + counts["failed"]:
            raise Broken(f"counts do not add up: {counts}")
        if self.verb == "upload-exam" and not self.prearchive:
            for label, files in self.resources.items():
                (session,) = [e for e in self.sandbox.state.experiments_of(self.project) if e.label == "e"]
                found = {
                    name: _sha(Path(resource.directory) / name)
                    for resource in session.resources if resource.label == label for name in resource.entries
                }  # fmt: skip
                if {name: found.get(name) for name in files} != files:
                    raise Broken(f"exit 0 and the resource {label} is {found}, not {files}")

    def _whole(self, copy: Any, instance: Any) -> bool:
        if self.mangled:
            return _pixels(copy["path"]) == _pixels(instance.path)
        try:
            assert_kept(copy["path"], instance.path)
        except AssertionError:
            return False
        return True

    def nobody_harmed(self) -> None:
        """No session holds two studies, unless others made it so, and nothing of others is gone or changed."""
        for label, studies in self._studies():
            if len(studies) > 1 and label not in self.merged:
                raise Broken(f"two studies in session {label}: {studies}")
        now = self._foreign()
        for key, number in self.foreign.items():
            if now[key] < number:
                raise Broken(f"not ours, and gone or changed: {key}")

    def _studies(self) -> Iterator[tuple[str, Counter[str]]]:
        """The studies of each archived session, by label; not of those that still receive a direct archive."""
        for experiment in self.sandbox.state.experiments.values():
            studies: Counter[str] = Counter()
            for path in experiment.directory.glob("SCANS/*/DICOM/*.*"):
                if (uid := _study(path)) is not None:
                    studies[uid] += 1
            if experiment.label not in {row.name for row in self.sandbox.state.direct}:
                yield experiment.label, studies

    def whole(self) -> None:
        """Play the trial."""
        self.prepare()
        try:
            dice = self.dice
            for _ in range(dice.choice([1, 2, 2, 3])):
                trouble = dice.choice(["held", "held", "held", "kill", "kill", "faults", "faults", "two"])
                self.run(trouble)
                if dice.random() < 0.3:
                    self.act()
            self.converge()
        finally:
            self.sandbox.faults.end()
            self.nursery.end_children()
            self.sandbox.stop()

    def converge(self) -> None:
        """Two undisturbed reruns end with 0, or name what a person decides."""
        runs = []
        for _ in range(3):
            runs.append(self.run(""))
            if runs[-1].code == 0:
                break
        last = runs[-1]
        if last.code == 0:
            if len(runs) == 3:
                raise Broken("three reruns were needed")
            again = self.run("")
            if again.code == 7 and self.overwrite == "none":
                return
            if again.code != 0:
                raise Broken(f"0, and {again.code} when run again")
            if again.imports:
                raise Broken(f"0, and {again.imports} imports when run again")
            return
        error = (last.report or {}).get("error") or {}
        if (
            "their number proves nothing" in str(error)
            or "CONFLICT" in str(error)
            or "not in the archive after" in str(error)
        ):
            self.say(f"  {error}")
            for _ in range(2):  # what is stored with an odd size is sent again once, and waits again
                try:
                    self.sandbox.others.archive_row("e", project=self.project, overwrite="delete")
                except ValueError as problem:
                    self.say(f"  archived by hand: {problem}")
                    return
                after = self.run("")
                if after.code in (0, 7):
                    return
            raise Broken(f"archived by hand, and then {after.code}")
        word = "STUCK" if last.code != 7 else "refused"
        if last.code == 7 and self.overwrite == "none" and self.done:
            return
        if not self.acts and last.code != 7:
            raise Broken(f"nobody else did anything, and the end is {last.code}: {error.get('message')}")
        self.say(f"{word} {last.code}: {error.get('message')} | {error.get('hint')}")


def _short(report: Any) -> str:
    verification = report.get("verification") or {}
    kept = {key: verification.get(key) for key in ("ok", "levels", "missing", "different", "extra", "remapped")}
    return json.dumps({"counts": report.get("counts"), "verification": kept, "warnings": report.get("warnings")})[:1500]


def _sha(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _pixels(path: Path | str) -> bytes | None:
    import pydicom

    try:
        return bytes(pydicom.dcmread(path).PixelData)
    except Exception:
        return None


def _study(path: Path) -> str | None:
    import pydicom

    try:
        return str(pydicom.dcmread(path, specific_tags=["StudyInstanceUID"], force=True).StudyInstanceUID)
    except Exception:
        return None


def main() -> None:
    """Run seeds, and print the log of each trial that broke or got stuck."""
    import sys

    from children import Nursery

    first, last, base = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    nursery = Nursery()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XNAT", "XDG_"))}
    environment |= {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "NO_COLOR": "1", "COLUMNS": "200"}
    os.environ["PYTHON_KEYRING_BACKEND"] = environment["PYTHON_KEYRING_BACKEND"]
    hasty = str(Path(sys.modules["children"].__file__ or "").with_name("hasty.py"))
    for seed in range(first, last):
        trial = Trial(seed, base / str(seed), nursery, environment, (hasty,))
        begun = time.monotonic()
        verdict = "ok"
        try:
            trial.whole()
        except Broken as error:
            verdict = f"BROKEN {error}"
        except Exception as error:
            import traceback

            verdict = f"DRIVER {error!r} {traceback.format_exc()}"
        stuck = [line for line in trial.log if line.startswith("STUCK")]
        print(f"== seed {seed} {time.monotonic() - begun:.1f} s: {verdict[:600]} {stuck}", flush=True)
        if verdict != "ok" or stuck:
            print("\n".join("     " + line for line in trial.log), flush=True)
        shutil.rmtree(trial.home, ignore_errors=True)
    nursery.close()


if __name__ == "__main__":
    main()
