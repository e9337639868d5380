"""The command with short limits for calls of plugins, and waits a tenth as long: `impatient.py ARGUMENTS...`."""

from __future__ import annotations

from hasty import main

from xnatctl.plugin import guard, guarded, registry

if __name__ == "__main__":
    guard.QUICK = guarded.QUICK = registry.QUICK = 1.0  # type: ignore[misc, attr-defined]
    guard.PATIENT = guarded.PATIENT = registry.PATIENT = 3.0  # type: ignore[misc, attr-defined]
    guard.OBSERVING = registry.OBSERVING = 1.0  # type: ignore[misc, attr-defined]
    main()
