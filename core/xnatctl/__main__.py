"""The program `xnatctl`, also as `python -m xnatctl`. Its imports take long enough to be interrupted."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit; Ctrl-C before the command begins ends it as later ones do."""
    try:
        from xnatctl.cli.main import main as run

        run()
    except KeyboardInterrupt:
        begin = "\n" if sys.stderr.isatty() else ""  # below the ^C that the terminal wrote
        sys.stderr.write(f"{begin}Error: Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
