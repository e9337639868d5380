"""Formats the state of a command: one or two lines that fit a terminal, or one plain line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xnatctl_output.state import State

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_DECIMALS = (0, 1, 1, 2, 2)  # with one, a number of GiB would stand still for minutes
_WHEEL, _PLAIN_WHEEL = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
#: Priorities of parts: those with the highest number are dropped first.
_Parts = Sequence[tuple[int, str]]


def screen(state: State, width: int, *, turn: int, unicode: bool, cells: Callable[[str], int]) -> list[str]:
    """One or two lines of at most `width` columns; `turn` counts up, `cells` measures a text in columns."""
    if state.sending:
        return [_fitted(_sending(state), width, cells), _bar(state, width, unicode=unicode)]
    wheel = _WHEEL if unicode else _PLAIN_WHEEL
    begin, end = f"{wheel[turn % len(wheel)]} ", f"{_looked_at(state)}  {clock(state.seconds)}"
    work = state.work[:1].upper() + state.work[1:]
    return [_cropped(begin + _cropped(work, width - len(begin + end), cells) + end, width, cells)]


def plain(state: State) -> str:
    """The same as one line for a log."""
    return arrived(state) if state.sending else f"{state.work}{_looked_at(state)} ({duration(state.seconds)})"


def arrived(state: State) -> str:
    """How many files arrived, as one line for a log."""
    _, files, *rest = (text for _, text in _sending(state))
    return ", ".join([f"{files} sent", *rest])


def _sending(state: State) -> _Parts:
    tally = state.tally
    parts = [
        (5, "Sending"),
        (4, f"{tally.done_files:,} of {tally.files:,} file{'' if tally.files == 1 else 's'}"),
        (2, sizes(tally.sent, tally.bytes)),
    ]
    if still := state.still:
        return [*parts, (1, f"{'waiting for the server' if tally.waits else 'nothing sent for'} {clock(still)}")]
    if (speed := state.speed()) is not None and speed >= 1:
        parts.append((3, f"{size(speed)}/s"))
        if (left := state.left()) is not None:
            parts.append((1, f"{duration(left)} left"))
    return parts


def _looked_at(state: State) -> str:
    return f": {state.looked_at:,}" if state.looked_at else ""


def _fitted(parts: _Parts, width: int, cells: Callable[[str], int]) -> str:
    """The parts, without those for which there is no room."""
    left = list(parts)
    while len(left) > 1 and cells("  ".join(text for _, text in left)) > width:
        left.remove(max(left))
    return _cropped("  ".join(text for _, text in left), width, cells)


def _bar(state: State, width: int, *, unicode: bool) -> str:
    tally = state.tally
    part = tally.sent / tally.bytes if tally.bytes else tally.done_files / max(1, tally.files)
    percent = f" {min(99 if tally.done_files < tally.files else 100, int(part * 100)):3d} %"
    room = max(0, width - len(percent))
    halves = int(part * 2 * room)
    done = ("━" if unicode else "#") * (halves // 2) + ("╸" if unicode and halves % 2 else "")
    return (done.ljust(room, " " if unicode else ".") + percent)[-width:]


def _cropped(text: str, width: int, cells: Callable[[str], int]) -> str:
    """The beginning of a text that is too long, with dots behind it."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 3:
        text = text[:-1]
    return (text + "...")[: max(0, width)]


def size(value: float) -> str:
    """Bytes in IEC units."""
    number, unit = _scaled(value)
    return f"{number} {unit}"


def sizes(part: int, whole: int) -> str:
    """`part` of `whole`."""
    number, unit = _scaled(part)
    total, unit_of_all = _scaled(whole)
    return f"{number} of {total} {unit}" if unit == unit_of_all else f"{number} {unit} of {total} {unit_of_all}"


def _scaled(value: float) -> tuple[str, str]:
    power = 0
    while value >= 1024 and power < len(_UNITS) - 1:
        value /= 1024
        power += 1
    return f"{value:.{_DECIMALS[power]}f}", _UNITS[power]


def clock(seconds: float) -> str:
    """Such as 0:07, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """A duration as text, rounded like an estimate."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 24 * 60 else f"{minutes / 60 / 24:.1f} days"
