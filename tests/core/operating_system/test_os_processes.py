"""Sockets, signals, waits, child processes and streams, also where POSIX's calls are missing."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from systems import is_wine, needs_signals

from xnatctl.operating_system import console, processes, signals, sockets, waiting


@pytest.fixture(params=["poll", "select"])
def pair(request, monkeypatch):
    """Two connected sockets, and a waiter of the first, as on a system with or without `poll`."""
    if request.param == "select":
        monkeypatch.delattr(sockets.select, "poll", raising=False)
    elif not hasattr(sockets.select, "poll"):
        pytest.skip("the system has no poll")
    one, other = socket.socketpair()
    one.setblocking(False)
    yield one, other, sockets.SocketWaiter(one)
    one.close()
    other.close()


def test_a_socket_is_waited_for(pair):
    one, other, waiter = pair
    assert not waiter.wait(sockets.READABLE, 0)
    assert not waiter.wait(sockets.READABLE, 0.01)
    assert waiter.wait(sockets.WRITABLE, 0)
    assert waiter.wait(sockets.READABLE | sockets.WRITABLE, 0)
    other.sendall(b"x")
    assert waiter.wait(sockets.READABLE, 60)
    assert one.recv(1) == b"x"
    assert not waiter.wait(sockets.READABLE, 0)
    other.close()
    assert waiter.wait(sockets.READABLE, 60)
    assert one.recv(1) == b""


def test_a_full_socket_is_not_writable(pair):
    one, other, waiter = pair
    with pytest.raises(BlockingIOError):
        while True:
            one.send(bytes(65536))
    assert not waiter.wait(sockets.WRITABLE, 0)
    while not waiter.wait(sockets.WRITABLE, 0):
        other.recv(65536)


def test_a_wait_longer_than_one_call_ends_when_data_come(pair):
    """Without `poll` a wait consists of short ones."""
    _, other, waiter = pair
    threading.Timer(0.6, other.sendall, [b"x"]).start()
    assert waiter.wait(sockets.READABLE, 60)


def test_a_wait_ends_when_another_thread_shuts_the_socket_down(pair):
    """`select` of Windows does not notice, so it asks."""
    one, _, waiter = pair
    stopped = threading.Event()

    def stop():
        stopped.set()
        one.shutdown(socket.SHUT_RDWR)

    threading.Timer(0.1, stop).start()
    assert waiter.wait(sockets.READABLE, 600, stopped.is_set)


def test_a_limit_of_the_kernel_ends_a_read():
    one, other = socket.socketpair()
    with one, other:
        sockets.limit_in_kernel(one, receive=0.01, send=0.01)
        with pytest.raises((BlockingIOError, TimeoutError)):
            one.recv(1)


@needs_signals
def test_the_signals_that_end_a_program():
    assert set(signals.ENDING) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    assert signals.is_from_keyboard(signal.SIGINT)
    assert not signals.is_from_keyboard(signal.SIGTERM)


def test_a_function_is_called_later_without_an_alarm_clock(monkeypatch):
    monkeypatch.setattr(signals, "HAS_ALARM", False)
    called = threading.Event()
    signals.call_after(0.01, called.set)
    assert called.wait(60)


def test_a_wait_for_a_thread_ends_when_it_is_set(monkeypatch):
    monkeypatch.setattr(waiting.sys, "platform", "win32")
    event = threading.Event()
    assert not waiting.wait_for(event, 0.25)
    assert not waiting.wait_for(event, 0)
    threading.Timer(0.3, event.set).start()
    assert waiting.wait_for(event, 60)


@pytest.mark.skipif(is_wine(), reason="taskkill of Wine ends no tree of processes")
def test_a_group_ends_with_what_it_started():
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **processes.own_group())
    assert process.stdout is not None
    with process:
        assert int(process.stdout.readline())
        processes.end_group(process)
        assert process.stdout.read() == b""  # the grandchild held the pipe open


@pytest.mark.skipif(sys.platform == "win32", reason="documents are UTF-8 there, see the next test")
def test_streams_take_any_character():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
    console.prepare_output(stream)
    stream.write("é\n")
    stream.flush()
    assert raw.getvalue() == b"\\xe9\n"


@pytest.mark.parametrize(("variable", "expected"), [(None, "é\n".encode()), ("cp1252", b"\xe9\n")])
def test_documents_are_utf_8_with_lf_on_windows(monkeypatch, variable, expected):
    monkeypatch.setattr(console.sys, "platform", "win32")
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if variable:
        monkeypatch.setenv("PYTHONIOENCODING", variable)
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252", newline="\r\n")
    console.prepare_output(stream)
    stream.write("é\n")
    stream.flush()
    assert raw.getvalue() == expected


def test_a_file_obeys_no_escapes():
    assert not console.obeys_escapes(io.StringIO())
    assert processes.usable_processors() >= 1
    descriptor = console.open_nothing()
    assert os.read(descriptor, 1) == b""
    os.close(descriptor)
    assert time.monotonic()
