"""Random trials of uploads beside other people, faults and kills; see `random_trial`. The seed repeats a trial."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once


def _module():
    spec = importlib.util.spec_from_file_location("random_trial", Path(__file__).with_name("random_trial.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.lab
def test_random_trials(nursery, environment, tmp_path, full):
    """Few by default; `XNATCTL_LAB_SEED` is the first seed."""
    import children

    first = int(os.environ.get("XNATCTL_LAB_SEED", "6000"))
    hasty = str(Path(children.__file__).with_name("hasty.py"))
    for seed in range(first, first + (200 if full else 4)):
        trial = _module().Trial(seed, tmp_path / str(seed), nursery, environment, (hasty,))
        print(f"XNATCTL_LAB_SEED={seed}")
        try:
            trial.whole()
        except AssertionError:
            print("\n".join(trial.log))
            raise
