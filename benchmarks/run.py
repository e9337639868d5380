"""Ours and the public tools side by side, in turns, on sinks that count what arrived.

usage: python benchmarks/run.py [--only tar,zip,...] [--load ct,mr,multiframe] [--rounds N] [--scale F] [--quick]
                                [--data DIR] [--json FILE]
       python benchmarks/run.py goals [--rounds N] [--data DIR]
       python benchmarks/run.py profile --load mr --mode tar [--rounds N] [--scale F] [--data DIR]

Each round runs every tool once; a ratio is ours to the other in the same round, given as the median of the rounds with
its spread. No figure is a pass mark: the exit code is 1 only when ours did not deliver every byte.
`goals` runs what there are goals for, and says at the end what came to what. `profile` looks at one upload of ours
instead; see profiling.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import many_plugins
import profiling
import tools
import workloads
from measure import Run, run, sink
from tools import Tool
from workloads import Load


@dataclass(frozen=True)
class Comparison:
    """Tools that do the same to one sink; the first is the one that the others are held against."""

    name: str
    kind: str
    options: tuple[str, ...]
    loads: tuple[str, ...]
    make: Callable[[Path], Sequence[Tool | None]]
    rounds: int = 5


_ALL = ("ct", "mr", "multiframe")


def _tar(data: Path) -> Sequence[Tool | None]:
    python = tools.peer_environment(data)
    return [
        tools.ours("ours, tar"),
        python and tools.peer("existing uploader, tar -w 4", python, "-w", "4"),
        python and tools.peer("existing uploader, tar -w 1", python, "-w", "1"),
        tools.curl(),
        tools.tar_curl(),
    ]


def _zip(data: Path) -> Sequence[Tool | None]:
    python, other = tools.peer_environment(data), tools.xnatpy_environment(data)
    options = ("--mode", "zip", "--compress", "always")
    return [
        tools.ours("ours, zip, always compressed", *options),
        tools.ours("the same by zlib", *options, without=("isal",)),
        python and tools.peer("existing uploader, zip -w 4", python, "--mode", "zip", "-w", "4"),
        other and tools.xnatpy(other),
    ]


def _gradual(data: Path) -> Sequence[Tool | None]:
    python = tools.peer_environment(data)
    mode = ("--mode", "gradual")
    return [tools.ours("ours, gradual", *mode), python and tools.peer("existing uploader, gradual -w 4", python, *mode)]


def _cstore(data: Path) -> Sequence[Tool | None]:
    python = tools.peer_environment(data)
    return [
        tools.ours_dicom("ours, C-STORE"),
        python and tools.peer_dicom("existing uploader, C-STORE -w 4", python, "-w", "4"),
        tools.dcmsend(nodelay=True),
        tools.storescu(),
    ]


def _nagle(data: Path) -> Sequence[Tool | None]:
    return [tools.ours_dicom("ours, C-STORE"), tools.dcmsend(nodelay=False)]


def _links(_: Path) -> Sequence[Tool | None]:
    return [
        tools.ours("ours, --compress auto"),
        tools.ours("--compress never", "--compress", "never"),
        tools.ours("--compress always", "--compress", "always"),
    ]


COMPARISONS = (
    Comparison("tar", "xnat", (), _ALL, _tar),
    Comparison("zip", "xnat", (), _ALL, _zip, rounds=3),
    Comparison("gradual", "xnat", ("--close-after", "100"), ("ct", "mr"), _gradual, rounds=3),
    Comparison("gradual-20ms", "xnat", ("--file-time", "20", "--close-after", "100"), ("ct",), _gradual, rounds=3),
    Comparison("cstore", "dicom", (), _ALL, _cstore, rounds=3),
    Comparison("cstore-nagle", "dicom", (), ("ct",), _nagle, rounds=1),
    Comparison("link-12", "xnat", ("--rate", "12.5"), ("ct",), _links, rounds=3),
    Comparison("link-50", "xnat", ("--rate", "50"), ("ct",), _links, rounds=3),
    Comparison("link-125", "xnat", ("--rate", "125"), ("ct",), _links, rounds=3),
    Comparison("link-300", "xnat", ("--rate", "300"), ("ct",), _links, rounds=3),
)


@dataclass
class Line:
    """One tool's runs in one comparison. `wrong` says what did not arrive as it was; `ratios` are ours to it."""

    tool: str
    runs: list[Run]
    wrong: str
    ratios: list[float]

    def median(self, name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in self.runs))


def compare(comparison: Comparison, load: Load, found: Sequence[Tool], rounds: int, extra: Sequence[str]) -> list[Line]:
    """Run the tools in turns."""
    lines = [Line(tool.name, [], wrong="", ratios=[]) for tool in found]
    with sink(comparison.kind, *comparison.options, *extra) as target, sink("xnat", *extra) as site:
        known = target if comparison.kind == "xnat" else site
        for _ in range(rounds):
            for tool, line in zip(found, lines, strict=True):
                target.reset()
                with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
                    pipeline = tool.command(load, target, Path(home))
                    surroundings = {**tools.surroundings(Path(home), known), **tool.environment}
                    line.runs.append(run(pipeline, surroundings))
                code = line.runs[-1].code
                line.wrong = line.wrong or (f"exit {code}" if code else _wrong(target.counts(), load, comparison.kind))
                line.ratios.append(lines[0].runs[-1].wall / line.runs[-1].wall)
    return lines


def _wrong(counts: dict[str, float], load: Load, kind: str) -> str:
    """What is not as it was sent: a sender that decodes and encodes again changes bytes."""
    if counts["instances"] != load.files or counts["unreadable"]:
        return f"{counts['instances']:.0f} of {load.files} files"
    size = load.bytes if kind == "xnat" else load.datasets
    return "" if counts["instance_bytes"] == size else "other bytes"


def table(comparison: Comparison, load: Load, lines: Sequence[Line]) -> str:
    """For people."""
    options = f" (sink {' '.join(comparison.options)})" if comparison.options else ""
    head = f"{comparison.name}: {load.name}, {load.files} files, {load.bytes / 1e6:.0f} MB{options}"
    titles = ("tool", "wall s", "spread", "CPU s", "peak MB", "temp MB", "ours / it", "spread", "arrived")
    rows = [titles]
    for line in lines:
        walls = [run.wall for run in line.runs]
        rows.append((
            line.tool, f"{line.median('wall'):.2f}", f"{min(walls):.2f}-{max(walls):.2f}", f"{line.median('cpu'):.2f}",
            f"{line.median('memory') / 1e6:.0f}", f"{line.median('temporary') / 1e6:.0f}",
            f"{statistics.median(line.ratios):.2f}", f"{min(line.ratios):.2f}-{max(line.ratios):.2f}",
            f"NOT ALL: {line.wrong}" if line.wrong else "all",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    drawn = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([head, *drawn, ""])


def startup(data: Path, rounds: int) -> str:
    """What it takes to say the version and the help."""
    python = tools.peer_environment(data)
    commands = {
        (word, name): [command, word]
        for word in ("--version", "--help")
        for name, command in (
            ("ours", tools.program()),
            ("existing uploader", str(python.parent / "xnatctl") if python else ""),
        )
        if command
    }
    commands["--help", "import click, pluggy"] = [sys.executable, "-c", "import click, pluggy"]
    walls: dict[tuple[str, str], list[float]] = {key: [] for key in commands}
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
        around = {"PATH": "/usr/bin:/bin", "HOME": home}
        for _ in range(rounds):
            for key, command in commands.items():
                walls[key].append(run([command], around).wall)
    rows = []
    for (word, name), found in walls.items():
        ratio = statistics.median(ours / it for ours, it in zip(walls[word, "ours"], found, strict=True))
        rows.append(f"{word:<10} {name:<22} {statistics.median(found):.3f} s  ours / it {ratio:.2f}")
    return "\n".join(["startup", *rows, ""])


def main() -> int:
    arguments = _arguments()
    data = arguments.data
    data.mkdir(parents=True, exist_ok=True)
    if arguments.what == "profile":
        return _profile(arguments)
    aims = arguments.what == "goals"
    every = [entry.name for entry in COMPARISONS if not aims or any(entry.name == goal[0] for goal in GOALS)]
    wanted = arguments.only.split(",") if arguments.only else [*every, "startup", "plugins"]
    kept = _compare_all(arguments, wanted)
    if "startup" in wanted:
        print(startup(data, 3 * (arguments.rounds or 5)))
    if "plugins" in wanted:
        print(many_plugins.report(data, 50, 3 * (arguments.rounds or 5))[0])
    if aims:
        print(goals(kept))
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                [
                    {"comparison": name, "load": asdict(load), "lines": [asdict(line) for line in lines]}
                    for name, load, lines in kept
                ],
                indent=1,
            )
        )
    wrong = [line for _, _, lines in kept for line in lines if line.wrong and line.tool.startswith(tools.OURS)]
    return 1 if wrong else 0


def _profile(arguments: argparse.Namespace) -> int:
    for mode in arguments.mode.split(","):
        for name in (arguments.load or "mr").split(","):
            load = workloads.make(arguments.data, name, load_count(name, arguments.scale))
            print(profiling.profile(mode, load, arguments.rounds or 5), flush=True)
    return 0


def _compare_all(arguments: argparse.Namespace, wanted: Sequence[str]) -> list[tuple[str, Load, list[Line]]]:
    """Every comparison that is wanted, printed as it comes."""
    kept: list[tuple[str, Load, list[Line]]] = []
    for comparison in COMPARISONS:
        if comparison.name not in wanted:
            continue
        found = [tool for tool in comparison.make(arguments.data) if tool is not None and _there(tool, arguments.data)]
        if arguments.what == "goals":
            found = [found[0], *(tool for tool in found[1:] if _goal(comparison.name, tool.name))]
        for name in comparison.loads:
            if arguments.load and name not in arguments.load.split(","):
                continue
            load = workloads.make(arguments.data, name, load_count(name, arguments.scale))
            rounds = arguments.rounds or SLOW.get((comparison.name, name), comparison.rounds)
            lines = compare(comparison, load, found, rounds, arguments.sink_options)
            print(table(comparison, load, lines), flush=True)
            kept.append((comparison.name, load, lines))
    return kept


#: One round is enough where another tool takes minutes: it waits for a timer with every object.
SLOW = {("cstore", "mr"): 1}
#: Comparison, the other tool's name begins with, and the most that ours may take of its time by work-load.
GOALS: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("tar", "existing uploader, tar -w 4", {"ct": 0.40, "mr": 0.25, "multiframe": 0.40}),
    ("tar", "existing uploader, tar -w 1", {"ct": 0.60, "mr": 0.60, "multiframe": 0.60}),
    ("tar", "curl", {"ct": 2, "multiframe": 2}),
    ("tar", "tar | curl", {"mr": 3.5}),
    ("zip", "existing uploader", {"ct": 0.10, "mr": 0.15, "multiframe": 0.10}),
    ("gradual", "existing uploader", {"ct": 0.60, "mr": 0.60}),
    ("gradual-20ms", "existing uploader", {"ct": 0.35}),
    ("cstore", "existing uploader", {"ct": 0.10, "mr": 0.03, "multiframe": 0.25}),
    ("cstore", "dcmsend", {"ct": 1.5, "mr": 1, "multiframe": 2}),
)


def _goal(comparison: str, tool: str) -> Mapping[str, float]:
    """What is wanted of ours against a tool, by work-load."""
    return next((limits for name, other, limits in GOALS if name == comparison and tool.startswith(other)), {})


def goals(kept: Sequence[tuple[str, Load, Sequence[Line]]]) -> str:
    """What came to what, as a table for the page on speed."""
    rows = ["| | goal | came to | spread | |", "|---|---|---|---|---|"]
    for comparison, load, lines in kept:
        for line in lines[1:]:
            limit = _goal(comparison, line.tool).get(load.name)
            if limit is None:
                continue
            found = statistics.median(line.ratios)
            spread = f"{min(line.ratios):.2f} to {max(line.ratios):.2f}"
            verdict = "holds" if found <= limit else "**does not hold**"
            tool = line.tool.replace("|", r"\|")
            rows.append(f"| {comparison}, {load.name}, to {tool} | {limit:g} | {found:.2f} | {spread} | {verdict} |")
    return "\n".join([*rows, f"load average at the end: {os.getloadavg()[0]:.1f}", ""])


def _there(tool: Tool, data: Path) -> bool:
    """Whether its programs are installed."""
    named = {"curl": ("curl",), "tar | curl": ("tar", "curl"), "dcmsend": ("dcmsend",), "storescu": ("storescu",)}
    missing = [
        p for start, programs in named.items() if tool.name.startswith(start) for p in programs if not shutil.which(p)
    ]
    if missing:
        print(f"({tool.name} is left out: no {missing[0]})")
    return not missing


def load_count(name: str, scale: float) -> int:
    """Files of a work-load, of which `scale` is a part."""
    full = {"ct": 1000, "mr": 10_000, "multiframe": 20}[name]
    return max(1, round(full * scale))


def _arguments() -> argparse.Namespace:
    names = ",".join(entry.name for entry in COMPARISONS)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("compare", "goals", "profile"), default="compare")
    parser.add_argument("--mode", default="tar", help=f"of {','.join(profiling.KINDS)}; what is profiled")
    parser.add_argument("--only", help=f"of {names},startup,plugins")
    parser.add_argument("--load", help="of ct,mr,multiframe")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float, default=1.0, help="part of each work-load")
    parser.add_argument("--quick", action="store_true", help="a few files, one round, only tools that are installed")
    parser.add_argument("--python-sink", action="store_true", help="sinks without the C library")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "xnatctl-bench")
    parser.add_argument("--json", type=Path, help="keep every run")
    arguments = parser.parse_args()
    arguments.sink_options = ("--python",) if arguments.python_sink else ()
    if arguments.quick:
        _quicken(arguments)
    return arguments


def _quicken(arguments: argparse.Namespace) -> None:
    """For a look whether everything still works: a hundredth, once, and nothing is installed for it."""
    arguments.scale, arguments.rounds = 0.01, 1
    arguments.only = arguments.only or "tar,gradual"
    arguments.load = arguments.load or "mr"
    tools.peer_environment = tools.xnatpy_environment = lambda _: None


if __name__ == "__main__":
    sys.exit(main())
