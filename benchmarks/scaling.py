"""How time and memory grow with the number of files and of workers: figures, and a picture of them.

usage: python benchmarks/scaling.py measure [--data DIR] [--rounds N] FILE.json
       python benchmarks/scaling.py draw FILE.json PICTURE.svg        (needs matplotlib)
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tools
import workloads
from measure import Run, run, sink
from tools import Tool
from workloads import Load

COUNTS = (100, 1000, 10_000, 100_000)
WORKERS = (1, 2, 4, 8, 16)
TAR, GRADUAL, PEER = "ours, tar", "ours, gradual", "existing uploader, tar"


def _measured(tool: Tool, load: Load, rounds: int, options: Sequence[str]) -> dict[str, Any]:
    runs: list[Run] = []
    with sink("xnat", *options) as target:
        for _ in range(rounds):
            target.reset()
            with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
                command = tool.command(load, target, Path(home))
                runs.append(run(command, {**tools.surroundings(Path(home), target), **tool.environment}))
            arrived = target.counts()["instances"]
            if runs[-1].code or arrived != load.files:
                raise SystemExit(f"{tool.name}: {arrived} of {load.files} arrived; {runs[-1].said}")
    names = ("wall", "cpu", "memory", "temporary")
    return {name: statistics.median(getattr(one, name) for one in runs) for name in names}


def measure(data: Path, rounds: int) -> list[dict[str, Any]]:
    """By number of files with four workers, then by number of workers."""
    python = tools.peer_environment(data)
    found = []
    for count in COUNTS:
        load = workloads.make(data, "small", count)
        ours = [tools.ours(TAR), tools.ours(GRADUAL, "--mode", "gradual", "--workers", "4")]
        for tool in [*ours, *([tools.peer(PEER, python, "-w", "4")] if python else [])]:
            once = 1 if count > 10_000 else rounds
            found.append({"by": "files", "at": count, "tool": tool.name, **_measured(tool, load, once, ())})
            print(found[-1], flush=True)
    mr, slow = workloads.make(data, "mr"), workloads.make(data, "mr", 1000)
    for workers in WORKERS:
        for tool, load, options in (
            (tools.ours(TAR, "--workers", str(workers)), mr, ()),
            (tools.ours(GRADUAL, "--mode", "gradual", "--workers", str(workers)), slow, ("--file-time", "20")),
        ):
            entry = {"by": "workers", "at": workers, "tool": tool.name, "files": load.files}
            found.append({**entry, **_measured(tool, load, rounds, options)})
            print(found[-1], flush=True)
    return found


def draw(figures: Sequence[dict[str, Any]], target: Path) -> None:
    """Three panels, small in size."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "xnatctl"})
    from matplotlib import pyplot as plt

    figure, (time, memory, workers) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    marks = {TAR: "o-", GRADUAL: "s-", PEER: "x--"}
    for name, mark in marks.items():
        points = [entry for entry in figures if entry["by"] == "files" and entry["tool"] == name]
        counts = [entry["at"] for entry in points]
        time.plot(counts, [1e3 * entry["cpu"] / entry["at"] for entry in points], mark, label=name)
        memory.plot(counts, [entry["memory"] / 1e6 for entry in points], mark, label=name)
        points = [entry for entry in figures if entry["by"] == "workers" and entry["tool"] == name]
        if points:
            first = points[0]["wall"]
            label = f"{name}, 20 ms a file" if name == GRADUAL else name
            workers.plot([e["at"] for e in points], [first / e["wall"] for e in points], mark, label=label)
    for panel, title, across in (
        (time, "CPU per file, ms", "files"),
        (memory, "peak memory, MB", "files"),
        (workers, "faster than one worker, times", "workers"),
    ):
        panel.set(title=title, xlabel=across, xscale="log")
        panel.grid(alpha=0.3)
    time.set(yscale="log")
    memory.set(ylim=(0, None))
    workers.set(ylim=(0, None))
    workers.set_xticks(WORKERS, [str(number) for number in WORKERS])
    time.legend(fontsize=8)
    workers.legend(fontsize=8)
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("measure", "draw"))
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "xnatctl-bench")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.what == "measure":
        arguments.data.mkdir(parents=True, exist_ok=True)
        arguments.files[0].write_text(json.dumps(measure(arguments.data, arguments.rounds), indent=1))
    else:
        draw(json.loads(arguments.files[0].read_text()), arguments.files[1])


if __name__ == "__main__":
    main()
