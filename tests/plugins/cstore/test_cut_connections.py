"""A connection that another thread cuts, as an interrupt does: the thread that waits for an answer goes on at once."""

from __future__ import annotations

import select
import threading

import pytest
from ports import connected_pair

from xnatctl_cstore import stream as streams


@pytest.mark.parametrize("ends_waits", [True, False])
def test_a_wait_for_an_answer_ends(ends_waits, monkeypatch):
    """Also where a shutdown by another thread ends no wait: on Windows."""
    if ends_waits and not streams.SHUTDOWN_ENDS_WAITS:
        pytest.skip("a shutdown ends no wait here")
    if not ends_waits:
        monkeypatch.delattr(select, "poll", raising=False)
    monkeypatch.setattr(streams, "SHUTDOWN_ENDS_WAITS", ends_waits)
    ours, theirs = connected_pair()
    with ours, theirs:
        stream = streams.Stream(ours)
        stream.limit(600)
        ended = []

        def wait():
            with pytest.raises(EOFError):
                stream.read(1)
            ended.append(True)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        threading.Event().wait(0.1)  # so that it waits; when it does not yet, the test is easier to pass
        stream.cut()
        thread.join(60)
        assert ended


def test_an_answer_is_read_where_a_shutdown_ends_no_wait(monkeypatch):
    monkeypatch.delattr(select, "poll", raising=False)
    monkeypatch.setattr(streams, "SHUTDOWN_ENDS_WAITS", False)
    ours, theirs = connected_pair()
    with ours, theirs:
        stream = streams.Stream(ours)
        theirs.sendall(b"answer")
        assert stream.read(6) == b"answer"
        stream.limit(0.01)
        with pytest.raises(TimeoutError):
            stream.read(1)
        theirs.close()
        with pytest.raises(EOFError):
            stream.read(1)
