"""One random trial: an upload that is run again and again while others act."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

from random_trial.judge import Judge, Run
from random_trial.world import Broken

HELD = 120.0


class Trial(Judge):
    """`whole` plays the trial of a seed."""

    def start(self, *, machine: str = "home", words: list[str] | None = None) -> Any:
        base = self.directory / machine
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

    def whole(self) -> None:
        """Play the trial."""
        self.prepare()
        self.before()
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
