"""`campaign submit`: the printed script works as a SLURM array would run it, and its soft stop reaches the run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from campaign_trials import CampaignTrial

pytestmark = pytest.mark.once


@pytest.fixture
def trial(nursery, sandbox, environment, alice, home) -> CampaignTrial:
    return CampaignTrial(
        nursery=nursery,
        sandbox=sandbox,
        environment={**environment, **alice},
        home=home,
        program=("-m", "xnatctl"),
    )


def task(trial, script: Path, number: int, tasks: int) -> subprocess.Popen[bytes]:
    """Start a task of the array, with the variables that sbatch sets."""
    array = {"ID": number, "MIN": 1, "MAX": tasks, "COUNT": tasks, "STEP": 1}
    variables = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in array.items()}
    return subprocess.Popen(
        ["bash", script], env={**trial.environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_the_script_delivers_the_campaign(trial, xnatctl, tmp_path):
    trial.write(4, 2).plan("brain scans")
    result = xnatctl(
        "campaign", "submit", trial.directory, "--slurm", "--sessions-per-task", "2", env=trial.environment
    )
    assert result.code == 0, result.err
    assert "#SBATCH --array=1-2%2\n" in result.out  # the default budget allows four sessions
    assert "alice" not in result.out
    script = tmp_path / "job.sh"
    script.write_text(result.out)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    tasks = [task(trial, script, number, 2) for number in (1, 2)]
    for each in tasks:
        _, err = each.communicate()
        assert each.returncode == 0, err.decode()
    trial.assert_complete()
    assert sorted(trial.arrivals()) == sorted(trial.files)


@pytest.mark.lab
def test_the_signal_before_the_time_limit_lets_the_row_in_work_end(trial, xnatctl, tmp_path):
    trial.sandbox.switches.archive_seconds = 1.0
    trial.write(6, 2).plan()
    script = tmp_path / "job.sh"
    result = xnatctl("campaign", "submit", trial.directory, "--slurm", env=trial.environment)
    assert result.code == 0, result.err
    script.write_text(result.out)
    first = task(trial, script, 1, 4)  # rows 1 and 5
    while not trial.sandbox.concurrency.read()["archiving"]["now"]:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGUSR1)
    _, err = first.communicate()
    assert first.returncode == 5, err.decode()
    assert trial.proven() == {1}


def test_as_a_document_and_what_is_refused(trial, xnatctl):
    trial.write(2, 1).plan()
    submit = ("campaign", "submit", trial.directory)
    document = xnatctl(*submit, "--slurm", "-o", "json", env=trial.environment).document
    assert document["schema"] == "xnatctl.campaign-job/1"
    assert (document["tasks"], document["at_once"], document["sessions_per_task"]) == (2, 2, 1)
    assert document["script"].startswith("#!/bin/bash\n")
    for options, message in (
        ((), "Name the batch system"),
        (("--slurm", "--sessions-per-task", "5"), "more than the 4 sessions"),
        (("--slurm", "--time", "soon"), "not a time limit of sbatch"),
        (("--slurm", "--output-dir", "/missing"), "/missing"),
        (("--slurm", "--sbatch=--array=1-9"), "decided by the script"),
    ):
        result = xnatctl(*submit, *options, env=trial.environment)
        assert (result.code, result.out) == (2, ""), result.err
        assert message in result.err
