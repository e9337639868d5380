"""Where the time of one upload goes: its phases, its functions over all threads, its system calls.

Several runs of the same upload, because each way of looking costs something. The phases come from a clock inside the
process (`phases.py`). The functions come from py-spy, which looks at the process from outside some hundred times a
second: a profiler that is called at every function call makes small functions look expensive, and one that lives inside
the interpreter only sees threads where they let go of it. It looks without stopping the process, because stopping four
threads that hand one interpreter to each other makes them do little else: in one try that took twice the CPU. Only the
thread that has the interpreter counts, whichever it is: the others wait, or are in system calls, SQLite, deflate and
hashing, which let go of it, and no sampler tells the two apart for certain. What all of that takes is the rest of the
CPU time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools
from measure import Run, Sink, run, sink
from phases import PHASES
from workloads import Load

_HERE = Path(__file__).parent
#: Looks a second; with more, they take turns with the process on a small machine.
_RATE = 250
#: Functions that are named.
_FUNCTIONS = 24


#: Threads wait for each other many times as often while strace slows down whoever has the interpreter.
_DISTORTED = ("futex", "total")


@dataclass(frozen=True)
class Kind:
    """A way to send, to a sink of a kind with options."""

    sink: str
    options: tuple[str, ...]
    command: tuple[str, ...]


KINDS = {
    "tar": Kind("xnat", (), ()),
    "zip": Kind("xnat", (), ("--mode", "zip", "--compress", "always")),
    "gradual": Kind("xnat", ("--close-after", "100"), ("--mode", "gradual")),
    "cstore": Kind("dicom", (), ()),
}


def profile(mode: str, load: Load, rounds: int) -> str:
    """The tables for one way to send one work-load."""
    kind = KINDS[mode]
    tool = tools.ours_dicom(mode) if kind.sink == "dicom" else tools.ours(mode, *kind.command)
    with sink(kind.sink, *kind.options) as target:
        runs = _Runs(target, load, tool.command(load, target, Path())[0][1:])
        plain = [runs.plain() for _ in range(rounds)]
        timed = [runs.phases() for _ in range(rounds)]
        parts = [_head(mode, load, plain), _phases([found for _, found in timed], [run for run, _ in timed], load)]
        cpu, user = (statistics.median(of) for of in zip(*((r.cpu, r.cpu - r.system) for r in plain), strict=True))
        parts.append(_functions([line for _ in range(rounds) for line in runs.samples()], rounds, (cpu, user), load))
        parts.append(_calls(runs.calls(), load))
    return "\n\n".join(parts) + "\n"


class _Runs:
    """The same upload again and again, looked at in different ways."""

    def __init__(self, target: Sink, load: Load, arguments: Sequence[str]) -> None:
        self._target, self._load, self._arguments = target, load, arguments

    def _run(self, command: Sequence[str]) -> Run:
        self._target.reset()
        with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
            around = {**tools.surroundings(Path(home), self._target), "BENCH_STARTED": str(time.monotonic())}
            found = run([[*command, *self._arguments]], around)
        if found.code or self._target.counts()["instances"] != self._load.files:
            raise SystemExit(f"{' '.join(command[:3])} ended with {found.code}:\n{found.said}")
        return found

    def plain(self) -> Run:
        return self._run([tools.program()])

    def phases(self) -> tuple[Run, Mapping[str, Any]]:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            found = self._run([sys.executable, str(_HERE / "phases.py"), file.name])
            return found, json.loads(file.read())

    def samples(self) -> Sequence[str]:
        """Lines of `thread;frame;...;frame count`; empty without py-spy."""
        spy = Path(sys.executable).parent / "py-spy"
        if not spy.exists():
            return []
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            self._run(
                [str(spy), "record", "--rate", str(_RATE), "--format", "raw", "--function", "--nonblocking",
                 "--gil", "--threads", "--output", file.name, "--", sys.executable, tools.program()]
            )  # fmt: skip
            return file.read().decode().splitlines()

    def calls(self) -> Sequence[str]:
        """What strace counted; empty without it."""
        if shutil.which("strace") is None:
            return []
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            self._run(["strace", "-f", "-c", "-U", "calls,name", "-o", file.name, tools.program()])
            return file.read().decode().splitlines()


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right, as Markdown."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(
            text.ljust(width) if not column else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ) + " |"
        for row in rows
    ]  # fmt: skip
    rule = (
        "|"
        + "|".join("-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths))
        + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def _head(mode: str, load: Load, plain: Sequence[Run]) -> str:
    wall, cpu, system = (statistics.median(getattr(run, name) for run in plain) for name in ("wall", "cpu", "system"))
    each = 1e6 / load.files
    busy = os.getloadavg()[0]
    return (
        f"{mode}: {load.name}, {load.files} files, {load.bytes / 1e6:.0f} MB; median of {len(plain)}: "
        f"wall {wall:.2f} s, user {cpu - system:.2f} s, system {system:.2f} s "
        f"({(cpu - system) * each:.0f} and {system * each:.0f} us a file); load average {busy:.1f}"
    )


def _phases(found: Sequence[Mapping[str, Any]], runs: Sequence[Run], load: Load) -> str:
    if renamed := found[0]["renamed"]:
        raise SystemExit(f"phases.py names what is no longer there: {', '.join(renamed)}")
    rows = [("phase", "wall ms", "user ms", "system ms", "CPU us a file")]
    total = [0.0, 0.0, 0.0]
    ends = [run.wall - sum(spent[0] for spent in one["phases"].values()) for run, one in zip(runs, found, strict=True)]
    for phase in PHASES:
        spent = [statistics.median(one["phases"].get(phase, (0, 0, 0))[index] for one in found) for index in range(3)]
        total = [sum(pair) for pair in zip(total, spent, strict=True)]
        if spent[0] > 0.0005:
            rows.append(_phase(phase, spent, load))
    end = statistics.median(ends)
    rows.append(("exit", f"{1e3 * end:.0f}", "", "", ""))
    rows.append(_phase("all", [total[0] + end, *total[1:]], load))
    return _table(rows)


def _phase(name: str, spent: Sequence[float], load: Load) -> tuple[str, ...]:
    each = 1e6 * (spent[1] + spent[2]) / load.files
    return (name, *(f"{1e3 * seconds:.0f}" for seconds in spent), f"{each:.1f}")


def _functions(samples: Sequence[str], rounds: int, used: tuple[float, float], load: Load) -> str:
    """Those that hold the interpreter longest, themselves and with what they call."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in samples:
        frames, _, count = line.rpartition(" ")
        _, *names = [_short(name) for name in frames.split(";")]
        if names:
            own[names[-1]] += int(count)
            below.update(dict.fromkeys(names, int(count)))
    total = sum(own.values())
    if not total:
        return "(functions are left out: no py-spy)"
    cpu, user = used
    # On a busy machine a thread is also found that has the interpreter and no processor.
    each = 1e6 * min(1 / _RATE / rounds, user / total) / load.files
    whole = 1e6 * cpu / load.files
    rows = [("function, with the interpreter", "itself us a file", "with what it calls")]
    rows += [(name, f"{count * each:.1f}", f"{below[name] * each:.1f}") for name, count in own.most_common(_FUNCTIONS)]
    shown = sum(count for _, count in own.most_common(_FUNCTIONS))
    rows.append((f"{len(own) - _FUNCTIONS} others", f"{(total - shown) * each:.1f}", ""))
    rows.append(("outside of it: system, SQLite, deflate, digests", f"{max(0.0, whole - total * each):.1f}", ""))
    rows.append((f"all ({total} samples)", f"{whole:.1f}", ""))
    return _table(rows)


def _short(name: str) -> str:
    """`function (package/module.py:line)` without the line, and without what is the same in all."""
    return re.sub(r":\d+\)$", ")", name).replace("xnatctl/", "")


def _calls(lines: Sequence[str], load: Load) -> str:
    found = [line.split() for line in lines]
    counted = [(int(words[0]), words[1]) for words in found if len(words) == 2 and words[0].isdigit()]
    counted = [(count, name) for count, name in counted if name not in _DISTORTED]
    rows = [("system call", "calls", "a file")]
    rows += [(name, str(count), f"{count / load.files:.2f}") for count, name in sorted(counted, reverse=True)[:14]]
    return _table(rows) if counted else "(system calls are left out: no strace)"
