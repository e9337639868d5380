"""The job script for SLURM: bash reads it, sbatch's options are as SLURM documents them, and nothing breaks out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from systems import needs_bash

from xnatctl.api import UsageError
from xnatctl_campaign.slurm import SlurmJob, array_width, job_script, seconds_of

JOB = SlurmJob(
    name="brain 2026",
    command=(sys.executable, "-m", "xnatctl", "campaign", "run", "/data/brain 2026"),
    tasks=4,
    at_once=4,
    sessions=1,
)


def options(script):
    return dict(re.findall(r"^#SBATCH (--[a-z-]+)=(.*)$", script, re.MULTILINE))


def test_the_whole_script():
    script = job_script(replace(JOB, time="12:00:00", partition="short", output_dir="/logs/50%", more=("--account=a",)))
    assert options(script) == {
        "--job-name": "brain_2026",
        "--array": "1-4%4",
        "--nodes": "1",
        "--ntasks": "1",
        "--cpus-per-task": "1",
        "--signal": "B:USR1@120",
        "--open-mode": "append",
        "--time": "12:00:00",
        "--partition": "short",
        "--output": '"/logs/50%%/%x-%A_%a.log"',
        "--account": "a",
    }
    last = script.splitlines()[-1]
    assert shlex.split(last) == [
        "exec",
        *JOB.command,
        *("--sessions", "1", "--shard", "auto/4", "--max-duration", f"{12 * 3600 - 600}s"),
    ]


def test_without_a_time_limit_only_the_signal_stops_it():
    script = job_script(JOB)
    assert "--time" not in script
    assert "--max-duration" not in script


@needs_bash
@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1))
def test_any_name_of_a_folder_is_one_argument(name):
    script = job_script(replace(JOB, name=name, command=("printf", r"%s\0", name)))
    assert options(script)["--job-name"]
    run = subprocess.run(
        ["bash"], input=script.replace("--sessions 1 --shard auto/4", "").encode(), stdout=subprocess.PIPE, check=True
    )
    assert run.stdout == name.encode() + b"\0"


@needs_bash
def test_signals_reach_the_command_itself(tmp_path):
    """`--signal=B:` goes to the process of the batch script, which the command has become."""
    child = "import os, sys; print(os.getpid(), flush=True)"
    job = replace(JOB, command=(sys.executable, "-c", child))
    path = tmp_path / "job.sh"
    path.write_text(job_script(job))
    with subprocess.Popen(["bash", path], stdout=subprocess.PIPE) as batch:
        assert batch.stdout is not None
        assert int(batch.stdout.read()) == batch.pid
    assert not subprocess.run(["bash", "-n", path], check=False).returncode


@pytest.mark.parametrize(
    ("budget", "each", "rows", "width"), [(4, 1, 100, 4), (8, 3, 100, 2), (8, 8, 100, 1), (8, 1, 3, 3), (4, 1, 0, 1)]
)
def test_the_width_keeps_to_the_budget(budget, each, rows, width):
    assert array_width(budget, each, rows) == width


def test_a_task_above_the_budget_is_refused():
    with pytest.raises(UsageError, match="more than the 4 sessions"):
        array_width(4, 5, 100)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("12:00:00", 43200),
        ("2-0", 172800),
        ("1-12:30", 131400),
        ("1-12:30:05", 131405),
    ],
)
def test_time_limits_of_sbatch(time, seconds):
    assert seconds_of(time) == seconds


@pytest.mark.parametrize("time", ["", "12h", "1:2:3:4", "-5", "1-", "4", "0:30", "1 00:00:00", "1\n#SBATCH --wrap=x"])
def test_other_time_limits_are_refused(time):
    with pytest.raises(UsageError, match="--time"):
        seconds_of(time)


@pytest.mark.parametrize(
    "change",
    [
        {"partition": "a b"},
        {"partition": "a\n#SBATCH --wrap=x"},
        {"output_dir": '/a"b'},
        {"output_dir": "/a\nb"},
        {"more": ("--array=1-9",)},
        {"more": ("-A x",)},
        {"more": ("--account=a\nrm",)},
        {"more": ("account",)},
    ],
)
def test_what_sbatch_would_not_understand_is_refused(change):
    with pytest.raises(UsageError):
        job_script(replace(JOB, **change))


def test_a_short_task_still_has_time_for_its_last_rows():
    for time in ("5", "20", "40", "60", "2-0"):
        script = job_script(replace(JOB, time=time))
        duration = int(shlex.split(script.splitlines()[-1])[-1].removesuffix("s"))
        assert 0.6 * seconds_of(time) <= duration <= seconds_of(time) - 120


def test_no_variable_of_the_environment_is_in_the_script(monkeypatch):
    monkeypatch.setenv("XNAT_PASSWORD", "hunter2-secret")
    assert os.environ["XNAT_PASSWORD"] not in job_script(JOB)
