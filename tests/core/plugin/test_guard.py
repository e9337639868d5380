"""What code of a plugin raises, prints or waits for changes neither the exit code nor the document."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest
from systems import needs_alarm

from xnatctl.errors import NotFound, PluginUnavailable, Signalled
from xnatctl.plugin.credentials import CredentialRequest
from xnatctl.plugin.guard import Failure, Guard, PluginFailed
from xnatctl.plugin.guarded import GuardedSource
from xnatctl.plugin.specs import CredentialSourceSpec


@dataclass
class Plugin:
    name: str = "example"
    origin: str = "example-dist 1.0"
    ours: bool = False


def call(function, *arguments, guard=None, **options):
    return (guard or Guard()).call("The check x", Plugin(), function, *arguments, **options)


class Own(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(0), SystemExit(), GeneratorExit(), Own()], ids=repr)
def test_what_is_raised_names_plugin_distribution_and_version(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(PluginUnavailable) as caught:
        call(fail)
    assert "The check x (plugin example, example-dist 1.0) failed" in caught.value.message
    assert caught.value.exit_code == 8
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Signalled(15), NotFound("no such thing")], ids=repr)
def test_signals_and_errors_of_ours_pass(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        call(fail)
    assert caught.value is error


def test_the_traceback_is_reported_without_the_text_of_a_secret() -> None:
    told: list[Failure] = []

    def fail() -> None:
        raise ValueError("hunter" + "22")

    for quote in (True, False):
        with pytest.raises(PluginFailed) as caught:
            call(fail, guard=Guard(told.append), quote=quote)
        assert ("hunter22" in caught.value.message) is quote
        assert ("hunter22" in told[-1].trace) is quote
        assert (told[-1].what, told[-1].plugin.origin) == ("The check x", "example-dist 1.0")
        assert "test_guard.py" in told[-1].trace
        assert "test_guard.py" in told[-1].places[-1]
        assert "hunter22" not in "".join(told[-1].places)


def test_an_exception_without_a_text_is_described() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def fail() -> None:
        raise Silent

    with pytest.raises(PluginFailed, match="Silent"):
        call(fail)


def loud() -> None:
    print("by print")
    sys.__stdout__.write("by the first stream\n")  # type: ignore[union-attr]
    os.write(1, b"by the descriptor\n")
    subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)


def test_standard_output_leads_to_stderr_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    guard = Guard()
    print("before")
    with guard.redirected():
        call(loud, guard=guard)
        call(loud, guard=guard)
        print("inside")
    print("after")
    out, err = capfd.readouterr()
    assert out == "before\nafter\n"
    assert err.count("by print") == err.count("by the descriptor") == err.count("by a child") == 2
    assert "inside" in err


def test_standard_output_comes_back_after_a_failure_and_after_a_signal(capfd: pytest.CaptureFixture[str]) -> None:
    guard = Guard()

    def interrupted() -> None:
        print("no document")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(interrupted, guard=guard)
    print("one")
    guard.redirected().__enter__()  # whoever entered it was kept from leaving
    guard.release()
    os.write(1, b"two\n")
    assert capfd.readouterr().out == "one\ntwo\n"


def test_descriptors_are_given_back() -> None:
    guard = Guard()
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        call(lambda: None, guard=guard)
    assert len(os.listdir("/dev/fd")) == before


def test_threads_share_the_redirection(capfd: pytest.CaptureFixture[str]) -> None:
    guard, entered, leave = Guard(), threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        leave.wait()
        os.write(1, b"late\n")

    thread = threading.Thread(target=lambda: call(slow, guard=guard))
    thread.start()
    entered.wait()
    call(loud, guard=guard)
    leave.set()
    thread.join()
    os.write(1, b"document\n")
    assert capfd.readouterr().out == "document\n"


@needs_alarm
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_call_that_should_not_wait_is_stopped(stubborn: bool) -> None:
    def wait() -> None:
        try:
            time.sleep(3600)
        except BaseException:
            if stubborn:
                time.sleep(3600)
            raise

    before = signal.getsignal(signal.SIGALRM)

    with pytest.raises(PluginUnavailable, match=r"took too long and was stopped: the limit is 0\.05 s"):
        call(wait, limit=0.05)
    assert signal.getsignal(signal.SIGALRM) is before


@needs_alarm
def test_an_outer_limit_goes_on_after_an_inner_one() -> None:
    guard = Guard()

    def outer() -> None:
        call(lambda: None, guard=guard, limit=1000)
        time.sleep(3600)

    with pytest.raises(PluginUnavailable, match=r"the limit is 0\.3 s"):
        call(outer, guard=guard, limit=0.3)


@needs_alarm
def test_the_limit_of_a_check_waits_while_a_person_is_asked() -> None:
    class Prompt:
        def get(self, request: CredentialRequest) -> None:
            assert signal.getitimer(signal.ITIMER_REAL)[0] == 0

    spec = CredentialSourceSpec(name="prompt", summary="asks", target="x:y", interactive=True)
    source = GuardedSource(Guard(), "The credential source prompt", Plugin(ours=True), Prompt(), spec)

    def check() -> float:
        assert source.get(CredentialRequest(server="http://x")) is None
        return signal.getitimer(signal.ITIMER_REAL)[0]

    assert 0 < call(check, limit=1000) <= 1000


def test_what_comes_with_core_is_blamed_but_not_led_away(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        print("document")
        raise SystemExit(0)

    with pytest.raises(PluginUnavailable):
        Guard().call("The output format x", Plugin(ours=True), fail)
    assert capfd.readouterr().out == "document\n"


@needs_alarm
def test_a_slow_call_is_named_before_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("xnatctl.plugin.guard.NOTICE", 0.05)
    with pytest.raises(PluginUnavailable, match="took too long"):
        call(lambda: time.sleep(3600), limit=0.3)
    said = capfd.readouterr().err
    assert said.count("Waiting for the check x of plugin") == 1
    assert "example-dist 1.0" in said
    assert "XNATCTL_BLOCK_PLUGINS=" in said
