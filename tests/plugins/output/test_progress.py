"""Progress: what is shown of a run at each moment, on terminals of any width, in logs, and with -q. No clock decides."""

from __future__ import annotations

import io
import sys

import pytest
from rich.cells import cell_len
from screen import Screen
from systems import needs_terminals

from xnatctl.model.events import Event, EventKind
from xnatctl_output import outlets, progress
from xnatctl_output.outlets import Lines, Terminal
from xnatctl_output.progress import Progress
from xnatctl_output.wording import duration

MIB = 1 << 20


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class Shown:
    """A progress with a clock in the test's hand."""

    def __init__(self, monkeypatch, *, width=80, tty=True, color=False, encoding="utf-8"):
        self.clock, self.raw, self.screen = Clock(), Tty() if tty else io.StringIO(), Screen()
        if tty:
            self.raw.encoding = encoding
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "stderr", self.raw)
        self.progress = Progress(Terminal(color=color) if tty else Lines(self.clock), self.clock)

    def tell(self, kind, message="", **data):
        self.progress.see(Event(kind=kind, message=message, data=data))

    def run(self, *sizes):
        self.tell(EventKind.RUN_STARTED, files=len(sizes), bytes=sum(sizes))

    def batch(self, name, *sizes, resource=""):
        self.tell(EventKind.BATCH_STARTED, batch=name, resource=resource, files=len(sizes), bytes=sum(sizes))

    def sent(self, name, count, resource=""):
        self.tell(EventKind.BYTES_SENT, batch=name, resource=resource, bytes=count)

    def done(self, name, *sizes, outcome="accepted", again=False, resource=""):
        for number, size in enumerate(sizes):
            data = {"path": f"{name}/{number}", "outcome": outcome, "bytes": size, "again": again}
            self.tell(EventKind.ITEM_DONE, batch=name, resource=resource, **data)
        self.tell(EventKind.BATCH_DONE, batch=name, resource=resource, files=len(sizes))

    def after(self, seconds, step=0.5):
        """The lines after so much time; it is drawn as often as in life."""
        for _ in range(round(seconds / step)):
            self.clock.now += step
            self.progress.tick()
        return self.lines

    @property
    def lines(self):
        self.screen.feed(self.raw.getvalue())
        self.raw.seek(0)
        self.raw.truncate()
        return self.screen.lines


def test_bytes_move_while_one_request_is_being_sent(monkeypatch):
    shown = Shown(monkeypatch)
    shown.run(100 * MIB)
    shown.batch("a", 100 * MIB)
    seen = []
    for _ in range(20):
        shown.sent("a", MIB)
        seen.append(shown.after(1))
    assert seen[0][0] == "Sending  0 of 1 file  1.0 of 100.0 MiB", "a rate after one second says nothing"
    assert seen[19][0] == "Sending  0 of 1 file  20.0 of 100.0 MiB  1.0 MiB/s  80 s left"
    assert [lines[1][-4:] for lines in seen] == [f"{number:2d} %" for number in range(1, 21)]
    shown.done("a", 100 * MIB)
    assert shown.after(0.5)[1].endswith("100 %")
    shown.progress.close()
    assert shown.lines == []
    assert not shown.screen.hidden


def test_what_buffers_swallow_at_once_is_no_speed(monkeypatch):
    """A slow link: the system takes 16 MiB in an instant, then 0.5 MiB a second."""
    shown = Shown(monkeypatch, width=200)
    shown.run(1000 * MIB)
    shown.batch("a", 1000 * MIB)
    shown.sent("a", 16 * MIB)
    for _ in range(40):
        shown.sent("a", MIB // 2)
        line = shown.after(1)[0]
        assert "/s" not in line or "  512.0 KiB/s" in line
    assert line.endswith("512.0 KiB/s  32 min left")


def test_what_is_sent_again_does_not_count_twice_and_nothing_goes_beyond_all(monkeypatch):
    shown = Shown(monkeypatch, width=200)
    shown.run(10 * MIB, 30 * MIB)
    for name in ("a", "b"):
        shown.batch(name, 10 * MIB if name == "a" else 30 * MIB)
    shown.sent("a", 5 * MIB)
    shown.sent("b", 30 * MIB)
    assert "  35.0 of 40.0 MiB" in shown.after(1)[0]
    shown.done("b", 30 * MIB, outcome="failed")
    assert "  5.0 of 40.0 MiB" in shown.after(1)[0], "what was lost is to be sent again"
    shown.batch("b", 30 * MIB)
    shown.sent("b", 90 * MIB)  # a transport that counts what it says wrongly
    assert "  35.0 of 40.0 MiB" in shown.after(1)[0]
    shown.done("b", 30 * MIB)
    shown.done("a", 10 * MIB)
    shown.batch("a", 10 * MIB)
    shown.sent("a", 10 * MIB)
    line, bar = shown.after(1)
    assert "2 of 2 files  40.0 of 40.0 MiB" in line
    assert bar.endswith(" 100 %")


def test_batches_of_the_same_name_in_two_resources_are_two(monkeypatch):
    shown = Shown(monkeypatch, width=200)
    shown.run(10 * MIB, 10 * MIB)
    for resource in ("BIDS", "NIFTI"):
        shown.batch("0", 10 * MIB, resource=resource)
        shown.sent("0", 4 * MIB, resource=resource)
    shown.done("0", 10 * MIB, resource="BIDS")
    assert "1 of 2 files  14.0 of 20.0 MiB" in shown.after(1)[0]


def test_answers_that_come_one_by_one_take_the_place_of_what_was_sent(monkeypatch):
    shown = Shown(monkeypatch, width=200)
    shown.run(*[MIB] * 10)
    shown.batch("a", *[MIB] * 10)
    for number in range(5):
        shown.sent("a", MIB)
        data = {"path": str(number), "outcome": "accepted", "bytes": MIB}
        shown.tell(EventKind.ITEM_DONE, batch="a", resource="", **data)
        assert f"{number + 1} of 10 files  {number + 1}.0 of 10.0 MiB" in shown.after(1)[0]


def test_a_transport_that_says_nothing_moves_by_batches(monkeypatch):
    shown = Shown(monkeypatch, width=200)
    shown.run(*[10 * MIB] * 12)
    for number in range(6):
        shown.batch(str(number), 10 * MIB)
        line = shown.after(10)[0]
        assert "waiting" not in line
        assert "nothing sent" not in line
        shown.done(str(number), 10 * MIB)
    assert shown.after(0.5)[0] == "Sending  6 of 12 files  60.0 of 120.0 MiB  1015.5 KiB/s  60 s left"


def test_a_link_that_stands_still_and_a_server_that_takes_its_time_are_told_apart(monkeypatch):
    shown = Shown(monkeypatch)
    shown.run(10 * MIB)
    shown.batch("a", 10 * MIB)
    for _ in range(9):
        shown.sent("a", MIB)
        shown.after(1)
    assert "MiB/s" in shown.lines[0]
    assert shown.after(70)[0].endswith("9.0 of 10.0 MiB  nothing sent for 1:10")
    shown.sent("a", MIB)
    assert shown.after(5)[0].endswith("10.0 of 10.0 MiB  waiting for the server 0:04")
    assert shown.lines[1].endswith(" 99 %"), "what no answer confirms is not all"


def test_work_of_the_server_shows_motion_and_time(monkeypatch):
    shown = Shown(monkeypatch)
    shown.tell(EventKind.SETTLING, "waiting until the session is in the archive", state="waiting")
    assert shown.after(0.2, step=0.2) == [], "what is done at once is not shown"
    frames = [shown.after(0.5)[0] for _ in range(4)]
    assert len({frame[0] for frame in frames}) == 4
    shown.after(120)
    assert shown.lines[0][1:] == " Waiting until the session is in the archive  2:02"
    shown.tell(EventKind.SETTLING, "archiving as x", state="archiving")
    assert shown.after(1)[0][1:] == " Archiving as x  0:01"
    shown.tell(EventKind.VERIFYING, state="comparing")
    assert shown.after(1)[0][1:] == " Comparing  0:01"
    shown.tell(EventKind.RUN_DONE, status="complete")
    assert shown.after(1) == []


def test_files_are_counted_while_a_tree_is_looked_at(monkeypatch):
    shown = Shown(monkeypatch)
    for files in (1, 1234567):
        shown.tell(EventKind.PREPARING, "examining files", files=files)
        shown.after(1)
    assert shown.lines[0][1:] == " Examining files: 1,234,567  0:02"


def test_a_resource_that_is_compared_does_not_hide_those_that_are_sent(monkeypatch):
    shown = Shown(monkeypatch)
    shown.run(MIB, MIB)
    shown.batch("0", MIB, resource="A")
    shown.tell(EventKind.VERIFYING, "comparing resource B")
    assert shown.after(1)[0].startswith("Sending")
    shown.done("0", MIB, resource="A")
    assert shown.after(1)[0][1:] == " Comparing resource B  0:01"


def test_lines_that_stay_go_above(monkeypatch):
    shown = Shown(monkeypatch)
    shown.run(MIB)
    shown.batch("a", MIB)
    shown.after(1)
    shown.tell(EventKind.WARNING, "mind \x1b[31mthis\nand that [bold]")
    shown.tell(EventKind.RETRY, "busy", seconds=0.8)
    print("from elsewhere", file=sys.stderr)
    above = [
        "Warning: mind \\x1b[31mthis\\x0aand that [bold]",
        "sending a batch again in 0.8 s: busy",
        "from elsewhere",
    ]
    assert shown.after(1)[:3] == above
    assert shown.lines[3].startswith("Sending")
    shown.progress.close()
    assert shown.lines == above


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20, 8, 1])
def test_every_line_fits(monkeypatch, width):
    """Also of a great upload, and with characters two columns wide."""
    shown = Shown(monkeypatch, width=width)
    size = 3 * 1024**4
    shown.tell(EventKind.RUN_STARTED, files=1_234_567, bytes=size)
    shown.batch("a", size)
    for _ in range(20):
        shown.sent("a", 100 * MIB)
        lines = shown.after(1)
        assert all(cell_len(line) <= max(1, width - 3) for line in lines), lines
    assert width < 40 or "left" in lines[0]
    assert width < 60 or "/s" in lines[0]
    assert width < 80 or "files" in lines[0]
    shown.tell(EventKind.RUN_DONE)
    shown.tell(EventKind.SETTLING, "アーカイブ" * 20, state="archiving")
    lines = shown.after(100)
    assert all(cell_len(line) <= max(1, width - 3) for line in lines), lines
    assert width < 20 or lines[0].endswith("...  1:40")


@pytest.mark.parametrize(
    ("color", "encoding", "codes", "bar"), [(True, "utf-8", "AKhlm", "━"), (False, "ascii", "AKhl", "#")]
)
def test_colours_and_characters_are_those_that_the_terminal_has(monkeypatch, color, encoding, codes, bar):
    shown = Shown(monkeypatch, color=color, encoding=encoding)
    shown.run(2 * MIB)
    shown.batch("a", 2 * MIB)
    shown.sent("a", MIB)
    assert shown.after(1)[1].startswith(bar * 30)
    shown.progress.close()
    assert shown.lines == []
    assert set(shown.screen.codes) <= set(codes)


# elsewhere than on a terminal


@pytest.mark.parametrize(
    ("count", "said"),
    [(50, [50]), (100, [100]), (101, [100, 101]), (350, [100, 200, 300, 350]), (4001, [*range(500, 4001, 500), 4001])],
)
def test_a_line_every_hundred_files_or_every_tenth(monkeypatch, capsys, count, said):
    shown = Shown(monkeypatch, tty=False)
    shown.run(*[0] * count)
    for _ in range(count):
        shown.batch("a", 0)
        shown.done("a", 0)
    assert [line.split(",  ")[0].split(" sent")[0] for line in shown.lines] == [
        f"{n:,} of {count:,} files" for n in said
    ]
    assert "\x1b" not in shown.raw.getvalue()


def test_a_line_every_half_minute(monkeypatch):
    shown = Shown(monkeypatch, tty=False)
    shown.run(100 * MIB)
    shown.tell(EventKind.SETTLING, "waiting for an earlier upload")
    assert shown.after(65, step=1) == ["waiting for an earlier upload"] + [
        f"waiting for an earlier upload ({seconds} s)" for seconds in (30, 60)
    ]
    shown.screen = Screen()
    shown.batch("a", 100 * MIB)
    for _ in range(60):
        shown.sent("a", MIB)
        shown.after(1, step=1)
    assert shown.lines == [
        "0 of 1 file sent, 25.0 of 100.0 MiB, 1.0 MiB/s, 75 s left",
        "0 of 1 file sent, 55.0 of 100.0 MiB, 1.0 MiB/s, 45 s left",
    ]


def test_a_file_that_was_sent_twice_counts_once(monkeypatch):
    shown = Shown(monkeypatch, tty=False)
    shown.run(*[1] * 150)
    for again in (False, True):
        shown.batch("a", *[1] * 150)
        shown.done("a", *[1] * 150, again=again)
    assert [line.split(",")[0] for line in shown.lines] == ["100 of 150 files sent", "150 of 150 files sent"]


def test_a_trouble_that_many_meet_is_said_once_and_again_when_it_lasts(monkeypatch):
    shown = Shown(monkeypatch, tty=False)
    shown.run(*[1] * 90)
    for seconds in (0.8, 0.7, 0.8, 1.6, 1.5):
        shown.tell(EventKind.RETRY, "busy", seconds=seconds)
    for number in range(5):
        shown.tell(EventKind.RETRY, "too large", seconds=0)
        shown.done(str(number), 1)
    shown.tell(EventKind.RETRY, "busy", seconds=0.9)
    assert shown.lines == [
        "sending a batch again in 0.8 s: busy",
        "sending a batch again in 1.6 s",
        "sending a batch again: too large",
        "sending a batch again in 0.9 s: busy",
    ]


def test_what_turns_out_to_be_there_already_is_taken_off(monkeypatch):
    """Of a run that begins with images nobody knows yet which files of its resources are on the server."""
    shown = Shown(monkeypatch, tty=False)
    shown.run(10, 10, 10)
    shown.done("a", 10)
    shown.tell(EventKind.STAGE_STARTED, stage="r", skipped=1, skipped_bytes=10)
    shown.done("b", 10)
    assert shown.lines == ["2 of 2 files sent, 20 of 20 B"]


# which of them it is


def test_quiet_is_quiet_but_warnings_are_said(capsys):
    store = {}
    observe = progress.observer(store)
    observe(Event(kind=EventKind.COMMAND_STARTED, data={"quiet": True, "color": False}))
    observe(Event(kind=EventKind.RUN_STARTED, data={"files": 1, "bytes": 1}))
    observe(Event(kind=EventKind.SETTLING, message="the server is archiving"))
    observe(Event(kind=EventKind.RETRY, message="busy", data={"seconds": 1}))
    observe(Event(kind=EventKind.ITEM_DONE, data={"path": "a", "outcome": "accepted", "bytes": 1}))
    assert store["running"]._thread is None
    assert capsys.readouterr().err == ""
    observe(Event(kind=EventKind.WARNING, message="mind \x1b[31mthis"))
    observe(Event(kind=EventKind.COMMAND_DONE))
    assert capsys.readouterr().err == "Warning: mind \\x1b[31mthis\n"


@pytest.mark.parametrize(
    ("tty", "term", "kind"),
    [
        pytest.param(True, "xterm", Terminal, marks=needs_terminals),
        (True, "dumb", Lines),
        (False, "xterm", Lines),
    ],
)
def test_a_terminal_that_can_is_drawn_on(monkeypatch, tty, term, kind):
    monkeypatch.setattr(sys, "stderr", Tty() if tty else io.StringIO())
    monkeypatch.setenv("TERM", term)
    assert type(outlets.outlet_for(quiet=False, color=True, clock=Clock())) is kind


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (7260, "2 h 1 min"), (86400 * 2.5, "2.5 days")],
)
def test_durations_are_no_more_exact_than_can_be_said(seconds, words):
    assert duration(seconds) == words
