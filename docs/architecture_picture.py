"""Draws the packages and their imports.

Run `python docs/architecture_picture.py > docs/explanation/pictures/architecture.svg`; a test compares the two. The
rows are the layers of the import contract in `pyproject.toml`, the arrows are the import statements. An arrow is left
out where a longer way of arrows leads to the same package.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from drawing import Box, line, picture

ROOT = Path(__file__).parents[1]
#: What each box holds, below its name.
HOLDS = {
    "plugins": "our own, and those of others",
    "api": "what plugins import",
    "testing": "contract suites, test data",
    "cli": "commands, options, output",
    "delivery": "planning and running uploads",
    "inventory": "what is on disk",
    "packing": "request bodies",
    "settings": "profiles, credentials",
    "xnat": "REST interface, HTTP",
    "plugin": "hooks, specs, registry",
    "model": "plan, outcome, event, report",
    "log": "the log file",
    "operating_system": "POSIX and Windows",
    "redaction": "masks secrets",
    "errors": "exceptions, exit codes",
}
WIDTH, HEIGHT, GAP, RISE, MARGIN = Box.width, Box.height, 22, 44, 16
Graph = dict[str, set[str]]


def files() -> Iterator[tuple[str, Path]]:
    """(module, path) of core and of our plugins."""
    for base in (ROOT / "core", ROOT / "plugins"):
        for path in sorted(base.rglob("*.py")):
            yield ".".join(path.relative_to(base).with_suffix("").parts), path


def imported(module: str, path: Path) -> Iterator[str]:
    """What a module imports, as `package.module` or `package.module.name`."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def box(module: str) -> str | None:
    """The box of a module: a package or module right below `xnatctl`, or `plugins`."""
    first, *rest = module.split(".")
    if first.startswith("xnatctl_"):
        return "plugins"
    return rest[0] if first == "xnatctl" and rest and rest[0] in HOLDS else None


def graph() -> Graph:
    """Box -> the boxes that it imports."""
    found: Graph = {name: set() for name in HOLDS}
    for module, path in files():
        if (here := box(module)) is not None:
            found[here] |= {there for name in imported(module, path) if (there := box(name)) not in (None, here)}
    return found


def layers() -> list[list[str]]:
    """The rows of the picture, the highest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c.get("containers") == ["xnatctl"])
    rows = [[name.strip() for name in layer.replace(":", "|").split("|")] for layer in contract["layers"]]
    return [["plugins"], *([name for name in row if name in HOLDS] for row in rows)]


def without_shortcuts(arrows: Graph) -> Graph:
    """Only the arrows that no longer way replaces."""

    def reach(name: str) -> set[str]:
        return arrows[name] | {far for near in arrows[name] for far in reach(near)}

    return {
        name: {near for near in below if not any(near in reach(other) for other in below)}
        for name, below in arrows.items()
    }


def gaps_of(boxes: list[int]) -> list[int]:
    """Where an arrow can pass a row, given the left edges of its boxes."""
    return [boxes[0] - GAP // 2, *(left + WIDTH + GAP // 2 for left in boxes)]


def curve(x: int, y: int, to_x: int, to_y: int) -> str:
    """The next piece of a path, vertical at both ends."""
    return f" C{x} {(y + to_y) // 2} {to_x} {(y + to_y) // 2} {to_x} {to_y}"


def packages() -> str:
    """The SVG."""
    arrows = without_shortcuts(graph())
    rows = layers()
    across = max(map(len, rows)) * (WIDTH + GAP) - GAP + 2 * MARGIN
    down = len(rows) * (HEIGHT + RISE) - RISE + 2 * MARGIN
    place = {
        name: (
            (across - len(row) * (WIDTH + GAP) + GAP) // 2 + column * (WIDTH + GAP),
            MARGIN + level * (HEIGHT + RISE),
        )
        for level, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    parts = []
    levels = {name: level for level, row in enumerate(rows) for name in row}
    for name in HOLDS:
        for below in sorted(arrows[name]):
            (x, y), (to_x, to_y) = place[name], place[below]
            x, to_x, y = x + WIDTH // 2, to_x + WIDTH // 2, y + HEIGHT
            path = f"M{x} {y}"
            for row in rows[levels[name] + 1 : levels[below]]:
                top = place[row[0]][1]
                wanted = x + (to_x - x) * (top - y) // (to_y - y)
                gap = min(gaps_of([place[other][0] for other in row]), key=lambda at: abs(at - wanted))
                path += curve(x, y, gap, top) + f" V{top + HEIGHT}"
                x, y = gap, top + HEIGHT
            path += curve(x, y, to_x, to_y)
            parts.append(line(path))
    for name, (x, y) in place.items():
        parts += Box(x, y, name, (HOLDS[name],), "theirs" if name == "plugins" else "ours").svg()
    return picture(across, down, "Packages of xnatctl: an arrow leads to what is imported", parts)


if __name__ == "__main__":
    print(packages(), end="")
