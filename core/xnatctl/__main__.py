"""`python -m xnatctl` is the same program as `xnatctl`."""

from __future__ import annotations

from xnatctl.cli.main import main

if __name__ == "__main__":
    main()
