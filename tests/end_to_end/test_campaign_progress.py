"""What `campaign run` shows while it works, at a terminal and elsewhere. The server waits for the test."""

from __future__ import annotations

import pytest
from campaigns import freeze, write_exams
from seen import Seen

IMPORT = {"method": "POST", "path": "services/import$"}


@pytest.fixture
def campaign(tmp_path, sandbox):
    return freeze(tmp_path / "c", write_exams(tmp_path / "exams", 6), sandbox.url)


@pytest.fixture
def see(tmp_path, alice):
    started = []

    def see(*command, **more):
        home = {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
        started.append(Seen(*command, env={**home, **alice}, cwd=tmp_path, **more))
        return started[-1]

    yield see
    for seen in started:
        seen.process.kill()
        seen.close()


@pytest.mark.once
def test_a_terminal_shows_the_whole_and_the_rows_in_work(see, sandbox, campaign):
    sandbox.faults.load([{"match": IMPORT, "per": "query", "nth": "every", "action": "delay", "seconds": 600}])
    seen = see("campaign", "run", campaign.directory, "--sessions", "3", "--only", "1-5")
    lines = seen.until("DEMO/S1/E1  sending", "DEMO/S2/E2  sending", "DEMO/S3/E3  sending")
    assert lines[-4].startswith("0 of 5 rows proven, 0 of 15 files, ")
    assert sorted(line.split("  ")[1] for line in lines[-3:]) == ["row 1", "row 2", "row 3"]
    sandbox.faults.end()
    assert seen.end() == []  # erased


@pytest.mark.once
def test_a_low_terminal_shows_fewer_rows(see, sandbox, campaign):
    sandbox.faults.load([{"match": IMPORT, "nth": "every", "action": "delay", "seconds": 600}])
    seen = see("campaign", "run", campaign.directory, lines=6, columns=60)
    lines = seen.until("and 3 others")
    assert len(lines) <= 4
    assert all(len(line) < 60 for line in lines)
    sandbox.faults.end()
    assert seen.end() == []


def test_elsewhere_there_are_plain_lines_and_none_with_q(xnatctl, alice, sandbox, campaign):
    done = xnatctl("campaign", "run", campaign.directory, "--only", "1-2", env=alice)
    assert "\x1b" not in done.err
    quiet = xnatctl("campaign", "run", campaign.directory, "-q", env=alice)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
