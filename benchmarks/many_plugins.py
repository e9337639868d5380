"""What installed plugins cost a command that imports none of them: `plugins list` with 50 and with none.

usage: python benchmarks/many_plugins.py [--plugins N] [--rounds N] [--data DIR]

The plugins are distributions as an installer lays them out, each with requirements, a line `requires_api` and a command
of its own. Both commands run in each round, in turns. The fastest rounds are compared, by CPU time: other programs on
the machine make rounds slower, never faster. The exit code is 1 when the goal does not hold.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import tools
from measure import run

#: Milliseconds that 50 plugins may add.
GOAL = 15.0
_PAGE = '''"""Declarations of a plugin."""

from xnatctl.api import CommandSpec, TransportSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="site{number}", summary="to a site", target="bench_site{number}.transport:Site")]


@hookimpl
def xnatctl_commands():
    return [CommandSpec(path="site{number} list", summary="List the site.", target="bench_site{number}.cli:listing")]
'''
_METADATA = """Metadata-Version: 2.4
Name: bench-site{number}
Version: 1.{number}
Summary: Sends to a site
Requires-Python: >=3.11
Requires-Dist: xnatctl<99,>=0.1
Requires-Dist: httpx>=0.28

"""


def install(site: Path, count: int) -> None:
    """Lay out so many distributions with a plugin each, in a folder of their own."""
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    for number in range(count):
        package = site / f"bench_site{number}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(_PAGE.format(number=number))
        info = site / f"bench_site{number}-1.{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_METADATA.format(number=number) + "A description of several pages.\n" * 100)
        (info / "entry_points.txt").write_text(f"[xnatctl]\nsite{number} = bench_site{number}.plugin\n")


def listing(data: Path, count: int, rounds: int) -> tuple[float, float, list[float]]:
    """CPU milliseconds of the fastest round without and with plugins, and the differences of all rounds."""
    folders = {"none": data / "no-plugins", "many": data / "many-plugins"}
    install(folders["none"], 0)
    install(folders["many"], count)
    spent: dict[str, list[float]] = {name: [] for name in folders}
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
        for _ in range(rounds + 1):
            for name, folder in folders.items():
                around = {"PATH": "/usr/bin:/bin", "HOME": home, "PYTHONPATH": str(folder)}
                done = run([[tools.program(), "plugins", "list"]], around)
                listed = count > 0 and f"site{count - 1} " in done.said
                if done.code or listed is not (name == "many"):
                    raise SystemExit(f"plugins list did not work: exit {done.code}\n{done.said}")
                spent[name].append(done.cpu * 1000)
    for found in spent.values():
        del found[0]  # it wrote byte code and filled caches
    differences = [many - none for none, many in zip(spent["none"], spent["many"], strict=True)]
    return min(spent["none"]), min(spent["many"]), differences


def report(data: Path, count: int, rounds: int) -> tuple[str, bool]:
    """The lines for people, and whether the goal holds."""
    none, many, differences = listing(data, count, rounds)
    more = many - none
    holds = more <= GOAL * count / 50
    lines = [
        "plugins",
        f"plugins list, no plugin     {none:.1f} ms CPU",
        f"plugins list, {count:<3} plugins   {many:.1f} ms CPU",
        f"difference                  {more:.1f} ms (median of the rounds {statistics.median(differences):.1f})",
        f"goal                        {GOAL * count / 50:g} ms: {'holds' if holds else 'does not hold'}",
        "",
    ]
    return "\n".join(lines), holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "xnatctl-bench")
    arguments = parser.parse_args()
    text, holds = report(arguments.data, arguments.plugins, arguments.rounds)
    print(text)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
