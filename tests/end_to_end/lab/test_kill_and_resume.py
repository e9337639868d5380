"""kill -9 at any moment, then the same command again: nothing lost, nothing twice, nothing sent without need."""

from __future__ import annotations

import shutil
import time
import zipfile

import pytest

pytestmark = pytest.mark.once

MODES = ["tar", "zip", "gradual"]
#: Files that one worker may have in flight: a batch of 60 files over 4 workers, or one.
MOST = {"tar": 25, "zip": 25, "gradual": 1}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("place", ["--direct-archive", pytest.param("--prearchive", marks=pytest.mark.lab)])
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_each_journal_write(lab, spread, assert_exactly, mode, place):
    lab.upload(mode, place)
    where = "archive" if place == "--direct-archive" else "prearchive"
    points = [(number, when) for number in range(1, lab.writes() + 1) for when in ("before", "after")]
    assert len(points) >= 10
    chosen, killed = spread(points, 5), 0
    for point, when in chosen:
        lab.start_over()
        if not lab.crash(point, when):
            continue
        killed += 1
        lab.finish(workers=4, most=MOST[mode])
        assert_exactly(lab.sandbox, lab.exam.digests, place=where, label="e")
    assert killed >= len(chosen) * 3 // 4


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", ["1.8.11", pytest.param("1.8.3", marks=pytest.mark.lab)])
@pytest.mark.parametrize("mode", ["tar", *(pytest.param(mode, marks=pytest.mark.lab) for mode in ("zip", "gradual"))])
def test_killed_at_random_moments(lab, dice, full, assert_exactly, mode, version):
    """1.8.11 archives directly, 1.8.3 by way of the prearchive; the server takes its time over both."""
    lab.sandbox.state.version = version
    lab.sandbox.switches.build_seconds = lab.sandbox.switches.archive_seconds = 0.2
    lab.upload(mode)
    begun = time.monotonic()
    assert lab.run()[0] == 0
    length = time.monotonic() - begun
    for _ in range(34 if full else 4):
        lab.start_over()
        lab.kill_after(dice.uniform(0.15, length))
        lab.finish(workers=4, most=MOST[mode])
        assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_killed_again_and_again(lab, dice, full, assert_exactly, mode):
    """Each run gets a little further; the journal opens every time."""
    lab.upload(mode)
    for _ in range(20 if full else 6):
        lab.kill_after(dice.uniform(0.2, 1.2))
        lab.quiet()
        lab.journal()
    lab.finish(workers=4, most=MOST[mode])
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


@pytest.mark.lab
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
def test_killed_with_several_paths_and_finished_in_another_order(lab, dice, spread, assert_exactly, mode):
    """The same paths in another order are the same upload: one journal, and nothing that it knows goes again."""
    folder = lab.exam.directory
    with zipfile.ZipFile(folder / "two.zip", "w") as packed:
        for file in sorted((folder / "series 2").iterdir()):
            packed.write(file, file.name)
    shutil.rmtree(folder / "series 2")
    paths = [str(folder / "series 1"), str(folder / "two.zip"), *map(str, sorted((folder / "series 3").iterdir()))]
    lab.upload(mode)
    before, after = lab.arguments[:2], lab.arguments[3:]
    lab.arguments = (*before, *paths, *after)
    points = [(number, when) for number in range(1, lab.writes() + 1) for when in ("before", "after")]
    for point, when in spread(points, 6):
        lab.start_over()
        lab.arguments = (*before, *dice.sample(paths, len(paths)), *after)
        if not lab.crash(point, when):
            continue
        lab.arguments = (*before, *dice.sample(paths, len(paths)), *after)
        lab.finish(workers=4, most=MOST[mode])
        assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")
