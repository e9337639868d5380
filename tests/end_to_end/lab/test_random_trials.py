"""Random trials of uploads beside other people, faults and kills (`tests/support/random_trial`); a seed repeats its trial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from random_trial.trial import Trial

pytestmark = pytest.mark.once


@pytest.mark.lab
@pytest.mark.timeout(7200)  # all trials; each has limits of its own
def test_random_trials(nursery, environment, tmp_path, full):
    """Few by default; `XNATCTL_LAB_SEED` is the first seed."""
    import children

    first = int(os.environ.get("XNATCTL_LAB_SEED", "6000"))
    hasty = str(Path(children.__file__).with_name("hasty.py"))
    for seed in range(first, first + (200 if full else 4)):
        trial = Trial(seed, tmp_path / str(seed), nursery, environment, (hasty,))
        print(f"XNATCTL_LAB_SEED={seed}")
        try:
            trial.whole()
        except AssertionError:
            print("\n".join(trial.log))
            raise
