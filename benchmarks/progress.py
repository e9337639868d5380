"""What the progress display costs: the same upload without it, in plain lines, and on a terminal, in turns.

usage: python benchmarks/progress.py [--mode tar,gradual] [--load mr] [--scale F] [--rounds N] [--data DIR]

A ratio is to the upload without progress (`-q`) in the same round; printed are medians with their spreads. CPU seconds
are those of the process, and can be relied on where the machine is busy.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import tools
import workloads
from measure import Sink, sink
from run import load_count
from workloads import Load

#: Variant -> words of the command. The document goes nowhere; `-q` alone would print another one.
_VARIANTS = {"without": ("-q", "-o", "json"), "lines": ("-o", "json"), "terminal": ("-o", "json")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", default="tar,gradual")
    parser.add_argument("--load", default="mr")
    parser.add_argument("--scale", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "xnatctl-bench")
    arguments = parser.parse_args()
    load = workloads.make(arguments.data, arguments.load, load_count(arguments.load, arguments.scale))
    for mode in arguments.mode.split(","):
        runs: dict[str, list[tuple[float, float]]] = {variant: [] for variant in _VARIANTS}
        with sink("xnat") as target:
            for _ in range(arguments.rounds):
                for variant, kept in runs.items():
                    kept.append(_upload(load, target, mode, variant))
        print(f"{mode}, {load.files} files, {load.bytes / 1e6:.0f} MB, {arguments.rounds} rounds")
        for variant, kept in runs.items():
            _show(variant, kept, runs["without"])


def _show(variant: str, kept: list[tuple[float, float]], base: list[tuple[float, float]]) -> None:
    for number, what in enumerate(("wall", "CPU")):
        values = [run[number] for run in kept]
        ratios = sorted(run[number] / other[number] for run, other in zip(kept, base, strict=True))
        print(
            f"  {variant:<9} {what:<5} {statistics.median(values):7.3f} s   ratio {statistics.median(ratios):.3f} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f}), of the medians "
            f"{statistics.median(values) / statistics.median(run[number] for run in base):.3f}, "
            f"of the least {min(values) / min(run[number] for run in base):.3f}"
        )


def _upload(load: Load, target: Sink, mode: str, variant: str) -> tuple[float, float]:
    """Wall clock and CPU seconds of one upload. Raises SystemExit when it fails."""
    target.reset()
    (command,) = tools.ours("", "--mode", mode).command(load, target, Path())
    words = [word for word in command if word != "-q"]
    screen, theirs = pty.openpty() if variant == "terminal" else (None, None)
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
        environment = {**tools.surroundings(Path(home), target), "TERM": "xterm"}
        started = time.monotonic()
        child = subprocess.Popen(
            [*words, *_VARIANTS[variant]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if theirs is None else theirs,
        )
        if screen is not None and theirs is not None:
            os.close(theirs)
            reading = threading.Thread(target=_read, args=(screen,))
            reading.start()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        if screen is not None:
            reading.join()
            os.close(screen)
    if child.returncode or target.counts()["instances"] != load.files:
        raise SystemExit(f"{variant}: exit {child.returncode}, or not all files arrived")
    return wall, used.ru_utime + used.ru_stime


def _read(screen: int) -> None:
    """What a terminal draws, until the process has ended."""
    try:
        while os.read(screen, 65536):
            pass
    except OSError:
        return


if __name__ == "__main__":
    main()
