"""`python -m random_trial FIRST LAST DIRECTORY` runs the seeds FIRST to LAST - 1 and prints what broke.

Each seed repeats its trial.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from random_trial.trial import Trial
from random_trial.world import Broken


def main() -> None:
    """Run seeds, and print the log of each trial that broke or got stuck."""
    import sys

    from children import Nursery

    first, last, base = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    nursery = Nursery()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XNAT", "XDG_"))}
    environment |= {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "NO_COLOR": "1", "COLUMNS": "200"}
    os.environ["PYTHON_KEYRING_BACKEND"] = environment["PYTHON_KEYRING_BACKEND"]
    hasty = str(Path(sys.modules["children"].__file__ or "").with_name("hasty.py"))
    for seed in range(first, last):
        trial = Trial(seed, base / str(seed), nursery, environment, (hasty,))
        begun = time.monotonic()
        verdict = "ok"
        try:
            trial.whole()
        except Broken as error:
            verdict = f"BROKEN {error}"
        except Exception as error:
            import traceback

            verdict = f"DRIVER {error!r} {traceback.format_exc()}"
        stuck = [line for line in trial.log if line.startswith("STUCK")]
        print(f"== seed {seed} {time.monotonic() - begun:.1f} s: {verdict[:600]} {stuck}", flush=True)
        if verdict != "ok" or stuck:
            print("\n".join("     " + line for line in trial.log), flush=True)
        shutil.rmtree(trial.directory, ignore_errors=True)
    nursery.close()


if __name__ == "__main__":
    main()
