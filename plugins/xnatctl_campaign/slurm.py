"""The job script of a campaign for SLURM: a job array, of which each task is one run with a shard of the rows."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from xnatctl.api import UsageError

#: SLURM sends SIGUSR1 so long before the time limit, in seconds: the soft stop.
SIGNAL_AT = 120
#: No new row begins in the last ten minutes of a task, or in the last quarter of a short one; in seconds.
_LAST_ROWS = 600
#: A shorter time limit leaves no time to work before SIGUSR1.
_SHORTEST = 300
#: The forms of `sbatch --time`: minutes, minutes:seconds, hours:minutes:seconds, and with days.
_TIME = re.compile(r"(?:(?P<days>\d{1,4})-)?(?P<first>\d{1,6})(?::(?P<second>\d{1,2}))?(?::(?P<third>\d{1,2}))?")
#: Options of sbatch that the script decides itself.
_OURS = ("--array", "--signal", "--ntasks", "--nodes", "--time", "--partition", "--output", "--open-mode")


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmJob:
    """What the script needs. `tasks` is the number of shards, of which `at_once` run at the same time."""

    name: str  # of the campaign; characters that a job name cannot have are replaced
    command: tuple[str, ...]  # what each task runs, without --shard and --max-duration
    tasks: int
    at_once: int
    sessions: int  # of each task
    time: str = ""  # as for sbatch; without it the limit of the partition holds
    partition: str = ""
    output_dir: str = ""  # an existing folder; without it SLURM writes into the folder where sbatch is called
    more: tuple[str, ...] = ()  # further options of sbatch, such as --account=imaging


def array_width(budget: int, sessions_per_task: int, rows: int) -> int:
    """How many tasks may run at once within a budget of sessions. Raises UsageError when not even one may."""
    if sessions_per_task > budget:
        raise UsageError(
            f"--sessions-per-task {sessions_per_task} is more than the {budget} sessions of the server's budget.",
            hint=f"Use --sessions-per-task {budget} or less, or raise server_budget: sessions in the profile.",
        )
    return max(1, min(budget // sessions_per_task, rows))


def job_script(job: SlurmJob) -> str:
    """The whole script. Raises UsageError for a value that SLURM would not understand."""
    command = [*job.command, "--sessions", str(job.sessions), "--shard", f"auto/{job.tasks}"]
    if job.time:
        limit = seconds_of(job.time)
        command += ["--max-duration", f"{limit - max(min(_LAST_ROWS, limit // 4), SIGNAL_AT)}s"]
    return "\n".join(
        (
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in _options(job)),
            "",
            "# Submit:       sbatch FILE",
            "# Again, after: sbatch --dependency=afterany:JOB FILE",
            "# Each task takes its part of the rows. Proven rows are not sent again, so the same job can be submitted",
            "# until every task ends with 0. SLURM passes the variables of the shell that calls sbatch to the tasks;",
            "# the credential comes from there or from the profile, and is not in this file.",
            "",
            "# exec: SIGUSR1 (the soft stop) and SIGTERM go to xnatctl itself.",
            f"exec {shlex.join(command)}",
            "",
        )
    )


def _options(job: SlurmJob) -> list[str]:
    options = [
        f"--job-name={re.sub(r'[^A-Za-z0-9._-]', '_', job.name)}",
        f"--array=1-{job.tasks}%{min(job.at_once, job.tasks)}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={job.sessions}",
        f"--signal=B:USR1@{SIGNAL_AT}",
        "--open-mode=append",
    ]
    if job.time:
        options.append(f"--time={job.time}")
    if job.partition:
        options.append(f"--partition={_word('--partition', job.partition)}")
    if job.output_dir:
        folder = _path(job.output_dir)
        options.append(f'--output="{folder}/%x-%A_%a.log"')
    for option in job.more:
        if not re.fullmatch(r"--[a-z][a-z-]*(=[^\s\"'\\]+)?", option):
            raise UsageError(
                f"--sbatch {option} is not an option of sbatch as --NAME=VALUE.", hint="Such as --sbatch=--account=LAB."
            )
        if option.partition("=")[0] in _OURS:
            raise UsageError(
                f"--sbatch {option} is decided by the script.",
                hint="Use the options of this command, or edit the script.",
            )
        options.append(option)
    return options


def _word(option: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._,@+-]+", text):
        raise UsageError(f"{option} {text!r} has characters that sbatch does not take in a name.")
    return text


def _path(text: str) -> str:
    """A folder as sbatch reads it between quotes; % would begin a replacement."""
    if re.search(r'["\\\n\r]', text):
        raise UsageError(f"--output-dir {text!r} has a quote, a backslash or a line break, which sbatch cannot read.")
    return text.replace("%", "%%").rstrip("/")


def seconds_of(time: str) -> int:
    """A time limit of sbatch in seconds. Raises UsageError for other forms, and for less than five minutes."""
    found = _TIME.fullmatch(time)
    if not found:
        raise UsageError(f"--time {time} is not a time limit of sbatch.", hint="Such as 12:00:00, 90 or 2-00:00:00.")
    days, first, second, third = (int(part) if part else 0 for part in found.groups())
    if found["days"] is not None:
        seconds = days * 86400 + first * 3600 + second * 60 + third  # days-hours[:minutes[:seconds]]
    elif found["third"] is not None:
        seconds = first * 3600 + second * 60 + third
    else:
        seconds = first * 60 + second
    if seconds < _SHORTEST:
        raise UsageError(f"--time {time} is shorter than five minutes, which leaves no time for a session.")
    return seconds
