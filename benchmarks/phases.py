"""Run our command with a clock on its phases.

usage: python phases.py FILE.json ARGUMENT...

What is timed is the main thread's way through the phases, each without those inside it: wall clock, and what the whole
process used of the processor meanwhile, in user and system mode, whatever thread it was. `BENCH_STARTED` is the time at
which the process was started (CLOCK_MONOTONIC), so that the interpreter's own start counts too.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

#: Phases in the order in which they are told, and the functions in which they are spent.
PHASES: dict[str, tuple[str, ...]] = {
    "interpreter": (),
    "imports": (),
    "command line": (),
    "inventory": ("xnatctl.inventory.walk:scan_path",),
    "plan": ("xnatctl.delivery.planning:plan_session_upload",),
    "login": ("xnatctl.cli.app:App.connect", "xnatctl.xnat.client:XnatClient.close"),
    "questions": (
        "xnatctl.delivery.session.runner:SessionRunner._look",
        "xnatctl.delivery.session.runner:find_delivered",
    ),
    "journal": (
        "xnatctl.delivery.journal.store:Store.__init__",
        "xnatctl.delivery.journal.store:Store.close",
        "xnatctl.delivery.journal.journal:Journal.begin",
        "xnatctl.delivery.journal.journal:Journal.open",
        "xnatctl.delivery.journal.journal:Journal.enter",
    ),
    "sending": ("xnatctl.delivery.engine.worker_pool:Engine.send",),
    "settling": ("xnatctl.delivery.session.runner:SessionRunner._settle",),
    "comparing": ("xnatctl.delivery.session.verifier:SessionVerifier.verify",),
    "report": ("xnatctl.delivery.context:fill_items", "xnatctl.cli.app:App.render"),
}


def _now() -> tuple[float, float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime, used.ru_stime


class Clock:
    """Charges time to the innermost phase of the main thread."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        self._stack = ["interpreter"]
        self._since = (float(os.environ.get("BENCH_STARTED", time.monotonic())), 0.0, 0.0)

    def _charge(self) -> None:
        now = _now()
        spent = self.spent[self._stack[-1]]
        for index in range(3):
            spent[index] += now[index] - self._since[index]
        self._since = now

    def enter(self, phase: str) -> None:
        self._charge()
        self._stack.append(phase)

    def leave(self) -> None:
        self._charge()
        self._stack.pop()

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        main = threading.main_thread()

        @functools.wraps(function)
        def call(*positional: Any, **named: Any) -> Any:
            if threading.current_thread() is not main:
                return function(*positional, **named)
            self.enter(phase)
            try:
                return function(*positional, **named)
            finally:
                self.leave()

        return call


def watch(clock: Clock) -> list[str]:
    """Put the clock on imports, and on the functions of the phases as soon as their modules are there.

    Returns the list of those that were not met yet.
    """
    waiting = {target: phase for phase, targets in PHASES.items() for target in targets}
    left = list(waiting)
    bootstrap: Any = sys.modules["_frozen_importlib"]
    hook = "_find_and_load"  # what an import statement calls for a module that is not there yet
    load = clock.timed("imports", getattr(bootstrap, hook))

    def look() -> None:
        for target in [*left]:
            module, _, path = target.partition(":")
            owner: Any = sys.modules.get(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent, None)
            if owner is not None and hasattr(owner, name):
                left.remove(target)
                setattr(owner, name, clock.timed(waiting[target], getattr(owner, name)))

    def find_and_load(name: str, *rest: Any) -> Any:
        module = load(name, *rest)
        look()
        return module

    setattr(bootstrap, hook, find_and_load)
    return left


def main() -> None:
    target, *arguments = sys.argv[1:]
    clock = Clock()
    clock.enter("command line")
    unmet = watch(clock)
    sys.argv[1:] = arguments
    code = 1
    try:
        importlib.import_module("xnatctl.cli.main").main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        clock.leave()
        with open(target, "w") as file:
            renamed = [name for name in unmet if name.partition(":")[0] in sys.modules]
            json.dump({"phases": clock.spent, "renamed": renamed}, file)
    sys.exit(code)


if __name__ == "__main__":
    main()
