"""The command with every wait a tenth as long: `hasty.py ARGUMENTS...`.

What is waited for, how often and in which order stays; the lengths themselves are tests/core/delivery's.
"""

from __future__ import annotations

from xnatctl.delivery.stopping import StopToken
from xnatctl.xnat.http import retry

_FACTOR = 0.1


def main() -> None:
    """Shorten the waits, and run."""
    whole = StopToken.wait
    StopToken.wait = lambda self, seconds: whole(self, seconds * _FACTOR)  # type: ignore[method-assign]
    retry._WAITS = tuple(wait * _FACTOR for wait in retry._WAITS)  # type: ignore[misc]
    from xnatctl.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
