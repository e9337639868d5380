"""What the exception tree decides."""

import errno

import pytest

from xnatctl.errors import OutOfMemory, PluginUnavailable, is_out_of_memory
from xnatctl.plugin.guard import guarded


class Plugin:
    name = "example"
    origin = "example 1.0"


LACKS = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("/lib/_xxhash.so: failed to map segment from shared object"),
    SystemError("error return without exception set"),
    SystemError("<built-in function f> returned NULL without setting an exception"),
]


@pytest.mark.parametrize("error", LACKS, ids=repr)
def test_a_lack_of_memory_is_no_fault_of_a_plugin(error):
    with pytest.raises(OutOfMemory), guarded("The formatter example", Plugin()):
        try:
            raise error
        except type(error) as cause:
            raise ValueError("cannot render") from cause


@pytest.mark.parametrize("error", [ImportError("no module"), OSError(errno.ENOSPC, "full"), SystemError("bad call")])
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
    with pytest.raises(PluginUnavailable), guarded("The formatter example", Plugin()):
        raise error
