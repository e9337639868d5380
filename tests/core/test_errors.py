"""What the exception tree decides."""

import errno

import pytest

from xnatctl.errors import OutOfMemory, PluginUnavailable, XnatctlError, is_out_of_memory
from xnatctl.plugin.guard import Guard


class Plugin:
    name = "example"
    origin = "example 1.0"
    ours = False


LACKS = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("/lib/_xxhash.so: failed to map segment from shared object"),
    SystemError("error return without exception set"),
    SystemError("<built-in function f> returned NULL without setting an exception"),
]


@pytest.mark.parametrize("error", LACKS, ids=repr)
def test_a_lack_of_memory_is_no_fault_of_a_plugin(error):
    with pytest.raises(OutOfMemory), Guard().around("The formatter example", Plugin()):
        try:
            raise error
        except type(error) as cause:
            raise ValueError("cannot render") from cause


@pytest.mark.parametrize("error", [ImportError("no module"), OSError(errno.ENOSPC, "full"), SystemError("bad call")])
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
    with pytest.raises(PluginUnavailable), Guard().around("The formatter example", Plugin()):
        raise error


def test_an_error_that_is_its_own_cause_is_looked_at_once():
    error = ValueError("no luck")
    with pytest.raises(PluginUnavailable), Guard().around("The stage example", Plugin()):
        raise error from error


@pytest.mark.parametrize(
    "members",
    [{"exit_code": "0"}, {"code": None}, {"__init__": lambda self: None}],
    ids=["exit code", "code", "no message"],
)
def test_an_error_of_a_plugin_without_its_parts_is_a_failure_of_the_plugin(members):
    kind = type("Odd", (XnatctlError,), members)
    error = kind() if "__init__" in members else kind("no luck")
    with pytest.raises(PluginUnavailable, match="plugin example"), Guard().around("The stage example", Plugin()):
        raise error


def test_our_answer_to_a_refused_login_tells_no_password():
    """A mask in a fixed text would tell which word the password is; another short secret is masked all the same."""
    from xnatctl.redaction import MASK, Redactor
    from xnatctl.xnat.http.responses import LOGIN_HINT

    redactor = Redactor()
    for secret in ("wrong", "password", "locked", "hunter"):
        redactor.register_secret(secret)
    assert redactor.redact_output(LOGIN_HINT) == LOGIN_HINT
    assert redactor.redact_output("sent hunter to the server") == f"sent {MASK} to the server"
