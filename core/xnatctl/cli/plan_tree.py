"""The tree view of a plan with several destinations: each top-level entry and its destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unicodedata import combining, east_asian_width

from xnatctl.cli.console import printable
from xnatctl.model.document import Column
from xnatctl.model.plan import Stage, UploadItem, UploadPlan
from xnatctl.model.words import counted, human_size

COLUMNS = (
    Column(key="path"),
    Column(key="goes_to"),
    Column(key="files", numeric=True, count=True),
    Column(key="bytes", numeric=True),
    Column(key="note"),
)
#: Most top-level files of one target that are listed by name; the others are counted.
_DRAWN = 12
#: Widest name that the text beside it is aligned with.
_NAME_WIDTH = 20
#: Names listed per reason.
_NAMED = 3
_EMPTY = "empty folder"


@dataclass(slots=True)
class _Share:
    """The part of an entry that goes to one target; sizes in bytes."""

    files: int = 0
    size: int = 0
    series: dict[str, str] = field(default_factory=dict)

    def add(self, item: UploadItem) -> None:
        self.files += 1
        self.size += item.size
        if item.series_instance_uid:
            self.series[item.series_instance_uid] = item.modality or "modality unknown"

    @property
    def note(self) -> str:
        if not self.series:
            return ""
        kinds = Counter(self.series.values())
        return ", ".join(f"{count:,} {kind} series" for kind, count in sorted(kinds.items()))


@dataclass(slots=True)
class _Entry:
    """A top-level folder or file: parts by target, and skipped names by (verb, reason)."""

    folder: bool = False
    shares: dict[str, _Share] = field(default_factory=dict)
    left: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def targets(plan: UploadPlan) -> Iterator[tuple[Stage, str]]:
    """The sending stages, each with its target as text."""
    for stage in plan.sending:
        if stage.resource is not None:
            yield stage, f"resource {stage.resource.label}"
        else:
            yield stage, f"session {plan.destination.session}"


def _entries(plan: UploadPlan) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for stage, target in targets(plan):
        for item in stage.items:
            top, slash, _ = item.path.partition("/")
            entry = found.setdefault(top, _Entry())
            entry.folder |= bool(slash)
            entry.shares.setdefault(target, _Share()).add(item)
    cannot_go = [entry for stage in plan.stages for entry in stage.unreadable]
    behind = [("skipped", left) for left in plan.excluded]
    behind += [("cannot be sent", left) for left in (*plan.unsendable, *cannot_go)]
    for verb, left in behind:
        top, slash, rest = left.path.partition("/")
        entry = found.setdefault(top, _Entry())
        entry.folder |= bool(slash) or left.reason == _EMPTY
        reason = "duplicate" if left.reason.startswith("duplicate of ") else left.reason
        entry.left.setdefault((verb, reason), []).append(rest)
    return dict(sorted(found.items(), key=lambda pair: (not pair[1].folder, pair[0])))


def rows(plan: UploadPlan) -> list[dict[str, Any]]:
    """The tree as table rows: one per entry and target, and one per reason for skipping."""
    table = []
    for name, entry in _entries(plan).items():
        path = f"{name}/" if entry.folder else name
        table += [
            {"path": path, "goes_to": target, "files": share.files, "bytes": share.size, "note": share.note}
            for target, share in entry.shares.items()
        ]
        table += [
            {"path": path, "goes_to": "", "files": len(names), "bytes": None, "note": f"{verb}: {reason}"}
            for (verb, reason), names in entry.left.items()
        ]
    return table


def tree_lines(plan: UploadPlan) -> list[str]:
    """The tree as text: folders first, then files, each with its target or the reason for skipping it."""
    nodes = [(_one_line(name), text, [*map(_one_line, below)]) for name, text, below in _nodes(_entries(plan))]
    width = min(_NAME_WIDTH, max((_cells(name) for name, _, _ in nodes), default=0))
    lines = [_one_line(plan.root)]
    for number, (name, text, below) in enumerate(nodes):
        last = number == len(nodes) - 1
        lines.append(f"{'└── ' if last else '├── '}{name}{' ' * (width - _cells(name))}  {text}")
        bar = "    " if last else "│   "
        lines += [f"{bar}{'└── ' if line is below[-1] else '├── '}{line}" for line in below]
    return lines


def _cells(text: str) -> int:
    """The width of a text in terminal columns: two for wide characters, none for combining ones."""
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def _one_line(text: str) -> str:
    """Printable text on one line, because a name may contain a line break."""
    return printable(text).replace("\n", "\\x0a")


def _nodes(entries: Mapping[str, _Entry]) -> Iterator[tuple[str, str, list[str]]]:
    """(name, target or reason, lines below it)."""
    drawn: Counter[str] = Counter()
    more: dict[str, _Share] = {}
    for name, entry in entries.items():
        if entry.folder:
            yield _folder(name, entry)
            continue
        target, share = next(iter(entry.shares.items()), ("", _Share()))
        reason = ": ".join(next(iter(entry.left), ()))
        drawn[target or reason] += 1
        if drawn[target or reason] <= _DRAWN:
            yield name, _goes(target, share, folder=False) if target else reason, []
        else:
            rest = more.setdefault(target or reason, _Share())
            rest.files += 1
            rest.size += share.size
    for what, share in more.items():
        yield (
            f"... {share.files:,} more files",
            _goes(what, share, folder=True) if what.startswith(("resource ", "session ")) else what,
            [],
        )


def _folder(name: str, entry: _Entry) -> tuple[str, str, list[str]]:
    below = [f"{verb}: {_count(names)}{reason}{_names(names)}" for (verb, reason), names in entry.left.items()]
    parts = [_goes(target, share, folder=True) for target, share in entry.shares.items()]
    if not parts and len(entry.left) == 1:
        return f"{name}/", below[0], []
    return f"{name}/", "; ".join(parts) or "not sent", below


def _goes(target: str, share: _Share, *, folder: bool) -> str:
    files = f"{counted(share.files, 'file')}, " if folder else ""
    series = f", {share.note}" if share.note else ""
    return f"-> {target} ({files}{human_size(share.size)}{series})"


def _count(names: list[str]) -> str:
    return f"{len(names):,} x " if len(names) > 1 else ""


def _names(names: list[str]) -> str:
    known = [name for name in names if name]
    if not known:
        return ""
    more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
    return f": {', '.join(known[:_NAMED])}{more}"
