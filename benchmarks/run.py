"""Ours and the public tools side by side, in turns, on sinks that count what arrived.

usage: python benchmarks/run.py [--only tar,zip,...] [--load ct,mr,multiframe] [--rounds N] [--scale F] [--quick]
                                [--data DIR] [--json FILE]
       python benchmarks/run.py profile --load mr --mode tar [--rounds N] [--scale F] [--data DIR]

Each round runs every tool once; a ratio is ours to the other in the same round, given as the median of the rounds with
its spread. No figure is a pass mark: the exit code is 1 only when ours did not deliver every byte.
`profile` looks at one upload of ours instead; see profiling.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    programs = {"ours": tools.program()} | ({"existing uploader": str(python.parent / "xnatctl")} if python else {})
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
        around = {"PATH": "/usr/bin:/bin", "HOME": home}
        for word in ("--version", "--help"):
            walls: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(rounds):
                for name, command in programs.items():
                    walls[name].append(run([[command, word]], around).wall)
            medians = {name: statistics.median(found) for name, found in walls.items()}
            for name, median in medians.items():
                rows.append(f"{word:<10} {name:<18} {median:.3f} s  ours / it {medians['ours'] / median:.2f}")
    return "\n".join(["startup", *rows, ""])


def main() -> int:
    arguments = _arguments()
    data = arguments.data
    data.mkdir(parents=True, exist_ok=True)
    if arguments.what == "profile":
        for mode in arguments.mode.split(","):
            for name in (arguments.load or "mr").split(","):
                load = workloads.make(data, name, _count(name, arguments.scale))
                print(profiling.profile(mode, load, arguments.rounds or 5), flush=True)
        return 0
    wanted = arguments.only.split(",") if arguments.only else [*(entry.name for entry in COMPARISONS), "startup"]
    kept: list[dict[str, Any]] = []
    right = True
    for comparison in COMPARISONS:
        if comparison.name not in wanted:
            continue
        found = [tool for tool in comparison.make(data) if tool is not None and _there(tool, data)]
        for name in comparison.loads:
            if arguments.load and name not in arguments.load.split(","):
                continue
            load = workloads.make(data, name, _count(name, arguments.scale))
            lines = compare(comparison, load, found, arguments.rounds or comparison.rounds, arguments.sink_options)
            print(table(comparison, load, lines), flush=True)
            right &= not any(line.wrong for line in lines if line.tool.startswith(tools.OURS))
            kept.append(
                {"comparison": comparison.name, "load": asdict(load), "lines": [asdict(line) for line in lines]}
            )
    if "startup" in wanted:
        print(startup(data, 3 * (arguments.rounds or 5)))
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1))
    return 0 if right else 1


def _there(tool: Tool, data: Path) -> bool:
    """Whether its programs are installed."""
    named = {"curl": ("curl",), "tar | curl": ("tar", "curl"), "dcmsend": ("dcmsend",), "storescu": ("storescu",)}
    missing = [
        p for start, programs in named.items() if tool.name.startswith(start) for p in programs if not shutil.which(p)
    ]
    if missing:
        print(f"({tool.name} is left out: no {missing[0]})")
    return not missing


def _count(name: str, scale: float) -> int:
    full = {"ct": 1000, "mr": 10_000, "multiframe": 20}[name]
    return max(1, round(full * scale))


def _arguments() -> argparse.Namespace:
    names = ",".join(entry.name for entry in COMPARISONS)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("compare", "profile"), default="compare")
    parser.add_argument("--mode", default="tar", help=f"of {','.join(profiling.KINDS)}; what is profiled")
    parser.add_argument("--only", help=f"of {names},startup")
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
