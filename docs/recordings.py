"""Records commands at a terminal of 80 columns, as moving SVG pictures for the pages.

`python docs/recordings.py` writes all of them to docs/recordings, `python docs/recordings.py upload` one. The commands
are real: a sandbox answers them, a pseudo-terminal shows what they print, and pyte, a terminal emulator, tells what is
on the screen. A test (`tox -e lab`) compares the last screen of some with what the program prints today.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pyte

from xnatctl.testing import write_exam
from xnatctl_sandbox.server import Sandbox

FOLDER = Path(__file__).parent / "recordings"
COLUMNS, LINES = 80, 60
#: Seconds: how long a command is seen before it runs, the shortest and the longest picture, and the last one.
TYPED, SHORTEST, LONGEST, LAST = 1.2, 0.15, 1.5, 6.0
CHARACTER, LINE, MARGIN, SIZE = 8.4, 19, 14, 14
#: As pyte names the colours of a terminal -> on light paper, on dark paper.
COLOURS = {
    "red": ("#b3261e", "#ff8a80"),
    "green": ("#1b6e34", "#7ddc96"),
    "brown": ("#8a5a00", "#f0c674"),
    "blue": ("#1f4fb0", "#8ab4f8"),
    "magenta": ("#8e2a8b", "#e29be0"),
    "cyan": ("#00677a", "#78d5e6"),
}
#: The colours of states in tables, of the palette of 256 (`xnatctl_output.states`), which pyte gives as numbers.
STATES = {"008700": "green", "af5f00": "brown", "d70000": "red"}
Row = tuple[tuple[int, str, str], ...]  # (column, text, classes) of each run of equal style


@dataclass
class Recording:
    """The screen over time."""

    frames: list[tuple[float, tuple[Row, ...]]] = field(default_factory=list)  # (seconds that it is seen, rows)
    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(COLUMNS, LINES))

    def __post_init__(self) -> None:
        self._stream = pyte.ByteStream(self.screen)

    def show(self, printed: bytes, seconds: float) -> None:
        """What was printed, and for how long the screen stays so."""
        self._stream.feed(printed)
        rows = tuple(row(self.screen.buffer[number]) for number in range(LINES))
        seconds = min(max(seconds, SHORTEST), LONGEST)
        if self.frames and self.frames[-1][1] == rows:
            self.frames[-1] = (min(self.frames[-1][0] + seconds, LONGEST), rows)
        else:
            self.frames.append((seconds, rows))


def row(cells: dict[int, pyte.screens.Char]) -> Row:
    """One line of the screen, in runs of equal style."""
    width = max((column + 1 for column, cell in cells.items() if cell.data.strip()), default=0)
    found, column = [], 0
    for classes, run in groupby((cells[at] for at in range(width)), key=style):
        text = "".join(cell.data for cell in run)
        if text.strip():
            found.append((column, text, classes))
        column += len(text)
    return tuple(found)


def style(cell: pyte.screens.Char) -> str:
    """The classes of a character."""
    colour = STATES.get(cell.fg, cell.fg.removeprefix("bright"))
    return " ".join([*([colour] if colour in COLOURS else []), *(["bold"] if cell.bold else [])])


def record(recording: Recording, command: str, directory: Path, environment: dict[str, str]) -> int:
    """Run a command at a terminal; its exit code."""
    recording.show(f"$ {command}\r\n".encode(), TYPED)
    pid, terminal = pty.fork()
    if pid == 0:  # the child, at the other end of the terminal
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        os.chdir(directory)
        os.execvpe("bash", ["bash", "--norc", "-c", command], environment)  # noqa: S606
    began = time.monotonic()
    printed = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], SHORTEST)
        try:
            piece = os.read(terminal, 65536) if ready else b""
        except OSError:  # the other end is closed
            break
        if ready and not piece:
            break
        printed += piece
        if (now := time.monotonic()) - began >= SHORTEST:
            recording.show(printed, now - began)
            printed, began = b"", now
    recording.show(printed, SHORTEST)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@dataclass(frozen=True)
class Scene:
    """A sandbox, an exam, and somebody at a terminal."""

    sandbox: Sandbox
    directory: Path
    environment: dict[str, str]
    recording: Recording = field(default_factory=Recording)

    def type(self, command: str) -> None:
        """A command that the reader sees, with its exit code where it is not 0."""
        code = record(self.recording, command, self.directory, self.environment)
        if code:
            self.recording.show(f"$ echo $?\r\n{code}\r\n".encode(), LONGEST)

    def prepare(self, command: str) -> None:
        """A command that nobody sees; it may fail."""
        subprocess.run(shlex.split(command), cwd=self.directory, env=self.environment, check=False, capture_output=True)

    def slow_down(self, seconds: float) -> None:
        """The network takes its time, so that progress can be seen."""
        self.imports("every", action="delay", seconds=seconds)

    def imports(self, numbers: str | list[int], **what: object) -> None:
        """What happens to requests of the import service, by their numbers."""
        self.sandbox.faults.load([{"match": {"path": "services/import"}, "nth": numbers, **what}])


#: The server fails after two requests.
GONE = {"numbers": list(range(3, 200)), "action": "status", "status": 503}
UPLOAD = "xnatctl session upload exam -P DEMO -S s01 -E s01_mr"


def upload(scene: Scene) -> None:
    """Progress and result."""
    write_exam(scene.directory / "exam", rows=256, columns=256, clutter=False)
    scene.slow_down(0.6)
    scene.type(f"{UPLOAD} --workers 2")


def failed(scene: Scene) -> None:
    """The server fails in the middle."""
    write_exam(scene.directory / "exam", rows=256, columns=256, clutter=False)
    scene.imports(**GONE)
    scene.type(f"{UPLOAD} --retry-for 2")


def resumed(scene: Scene) -> None:
    """What failed is finished when the server is back."""
    write_exam(scene.directory / "exam", rows=256, columns=256, clutter=False)
    scene.imports(**GONE)
    scene.prepare(f"{UPLOAD} --retry-for 0")
    scene.slow_down(0.6)
    scene.type("xnatctl upload status")
    scene.type("xnatctl upload resume DEMO/s01_mr")


def sessions(scene: Scene) -> None:
    """What a project holds."""
    for number in (1, 2, 3):
        folder = scene.directory / f"exam{number}"
        write_exam(folder, series=number, instances=12, seed=number, clutter=False, study_date=f"2024011{number}")
        scene.prepare(f"xnatctl session upload {folder.name} -P DEMO -S s0{number} -E s0{number}_mr")
    scene.type("xnatctl session list -P DEMO")
    scene.type("xnatctl scan list -P DEMO -E s03_mr")


def exam(scene: Scene) -> None:
    """Images become a session, and the rest its resources."""
    export = scene.directory / "export"
    write_exam(export, series=2, instances=84, clutter=False)
    for name, text in [
        ("Physio/pulse.log", "72 71 73\n"),
        ("Protocol/t1.txt", "TR 2000\n"),
        ("report.pdf", "a report\n"),
    ]:
        (export / name).parent.mkdir(exist_ok=True)
        (export / name).write_text(text, encoding="utf-8")
    scene.slow_down(0.4)
    scene.type("xnatctl session upload-exam export -P DEMO -S s01 -E s01_exam")


def prearchive(scene: Scene) -> None:
    """Sessions that wait for review."""
    for number in (1, 2):
        folder = scene.directory / f"exam{number}"
        write_exam(folder, series=number, instances=12, seed=number, clutter=False, study_date=f"2024011{number}")
        scene.prepare(f"xnatctl session upload {folder.name} -P DEMO -S s0{number} -E s0{number}_mr --prearchive")
    scene.type("xnatctl prearchive list -P DEMO")


SCENES: dict[str, Callable[[Scene], None]] = {
    "upload": upload,
    "upload-failed": failed,
    "upload-resumed": resumed,
    "session-list": sessions,
    "upload-exam": exam,
    "prearchive-list": prearchive,
}


def play(name: str) -> Recording:
    """Everything that the named scene shows."""
    with tempfile.TemporaryDirectory() as place, Sandbox() as sandbox:
        home = Path(place)
        environment = {
            "HOME": place,
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "XNAT_USER": "alice",
            "XNAT_PASS": "alice",
        }
        scene = Scene(sandbox, home, environment)
        scene.prepare(f"xnatctl config set-profile lab --url {sandbox.url}")
        SCENES[name](scene)
    return scene.recording


def spans(recording: Recording) -> Iterator[tuple[int, Row, int, int]]:
    """(line, row, first frame, the frame after its last): what each line shows, and when."""
    frames = [rows for _, rows in recording.frames]
    for number in range(LINES):
        begin = 0
        for shown, same in groupby(rows[number] for rows in frames):
            end = begin + len(list(same))
            if shown:
                yield number, shown, begin, end
            begin = end


def svg(recording: Recording, title: str) -> str:
    """The moving picture. Without animation, or where the reader wants none, it is the last screen."""
    times = [0.0]
    for seconds, _ in recording.frames[:-1]:
        times.append(times[-1] + seconds)
    whole = times[-1] + LAST
    lines: list[str] = []
    rules: dict[str, str] = {}
    height = 0
    for number, shown, begin, end in spans(recording):
        height = max(height, number + 1)
        last = end == len(times)
        name = f"f{begin}-{end}"
        if begin or not last:
            first, after = 100 * times[begin] / whole, 100 if last else 100 * times[end] / whole
            seen = (
                f"{first:.2f}%,{after:.2f}% {{ opacity: 1 }}"
                if last
                else f"{first:.2f}% {{ opacity: 1 }} {after:.2f}% {{ opacity: 0 }}"
            )
            hidden = "0% { opacity: 0 } " if begin else ""
            rules[name] = (
                f"@keyframes {name} {{ {hidden}{seen} }} .{name} {{ animation: {name} {whole:.2f}s step-end infinite }}"
            )
        y = MARGIN + number * LINE + SIZE
        lines.append(f'<g class="{name} {"end" if last else "past"}">')
        for column, text, classes in shown:
            kind = f' class="{classes}"' if classes else ""
            lines.append(
                f'<text x="{MARGIN + column * CHARACTER:.1f}" y="{y}" textLength="{len(text) * CHARACTER:.1f}"{kind}>'
                f"{escape(text)}</text>"
            )
        lines.append("</g>")
    width, tall = 2 * MARGIN + COLUMNS * CHARACTER, 2 * MARGIN + height * LINE
    light = " ".join(f".{name} {{ fill: {pair[0]} }}" for name, pair in COLOURS.items())
    dark = " ".join(f".{name} {{ fill: {pair[1]} }}" for name, pair in COLOURS.items())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {tall}">',
            f"<title>{escape(title)}</title>",
            "<style>",
            f"text {{ font: {SIZE}px monospace; fill: #1f2328; white-space: pre }} .bold {{ font-weight: bold }}",
            f".paper {{ fill: #f6f8fa; stroke: #c8ccd1 }} .past {{ opacity: 0 }} {light}",
            "@media (prefers-color-scheme: dark) {",
            f"text {{ fill: #e6e6e6 }} .paper {{ fill: #16181b; stroke: #3b3f45 }} {dark}",
            "}",
            *rules.values(),
            "@media (prefers-reduced-motion: reduce) { g { animation: none !important } }",
            "</style>",
            f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{tall - 1}" rx="6" class="paper"/>',
            *lines,
            "</svg>",
            "",
        ]
    )


def last_screen(picture: str) -> str:
    """What is on the screen at the end of a recording."""
    lines: dict[int, str] = {}
    for group in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}g"):  # noqa: S314 - a picture of ours
        if group.get("class", "").endswith("end"):
            for text in group:
                line = lines.get(int(text.get("y", "0")), "")
                column = round((float(text.get("x", "0")) - MARGIN) / CHARACTER)
                lines[int(text.get("y", "0"))] = line.ljust(column) + (text.text or "")
    return "".join(f"{line.rstrip()}\n" for _, line in sorted(lines.items()))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SCENES:
        (FOLDER / f"{name}.svg").write_text(svg(play(name), f"Recording of a terminal: {name}"), encoding="utf-8")
