"""The part of a campaign that one of several runs takes: the value of `--shard`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from xnatctl.api import UsageError

_GIVEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_AUTO = re.compile(r"auto(?:/([0-9]{1,9}))?")
#: Variables that tell a task of a job array its number, and the scheduler that sets them.
_NUMBERS = {
    "SLURM_ARRAY_TASK_ID": "SLURM",
    "PBS_ARRAY_INDEX": "PBS",
    "PBS_ARRAYID": "Torque",
    "SGE_TASK_ID": "Grid Engine",
    "LSB_JOBINDEX": "LSF",
}
#: What Grid Engine and LSF set in a job that is no array.
_NO_ARRAY = ("", "undefined", "0")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`; the first is 1."""

    index: int
    count: int

    def holds(self, row: int) -> bool:
        """Whether a row, by its number from 1, belongs to this shard. Each row belongs to exactly one of `count`."""
        return (row - 1) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The shard that `I/N`, `auto` or `auto/N` means.

    `auto` takes both numbers from the variables of the batch system, `auto/N` only the number of this task. Raises
    UsageError for another text, and when the variables do not say which part this is.
    """
    if given := _GIVEN.fullmatch(text):
        return _checked(int(given[1]), int(given[2]), f"--shard {text}")
    if not (auto := _AUTO.fullmatch(text)):
        raise UsageError(
            f"--shard {text} is neither I/N, such as 3/8, nor auto.",
            hint="I counts from 1. auto takes the numbers from the job array of SLURM, Grid Engine or LSF.",
        )
    variable = _variable(text, environment)
    number = _number(variable, environment)
    if auto[1]:
        return _checked(number, int(auto[1]), f"{variable}={number} with --shard {text}")
    return _from_array(variable, number, environment)


def _checked(index: int, count: int, origin: str) -> Shard:
    if not 1 <= index <= count:
        raise UsageError(
            f"{origin} is outside of 1 to {count}." if count else f"{origin} has no shards.",
            hint="The shards of N are 1/N to N/N, so number the tasks of a job array from 1.",
        )
    return Shard(index, count)


def _variable(text: str, environment: Mapping[str, str]) -> str:
    """The one variable that gives the number of this task."""
    found = [
        name
        for name in _NUMBERS
        if name in environment and not (name.startswith(("SGE_", "LSB_")) and environment[name] in _NO_ARRAY)
    ]
    if not found:
        raise UsageError(
            f"--shard {text} found no job array: none of {', '.join(_NUMBERS)} is set.",
            hint="Submit the job as an array, or give the shard as --shard I/N.",
        )
    if len(found) > 1:
        raise UsageError(
            f"--shard {text} is ambiguous: {' and '.join(found)} are set.", hint="Give the shard as --shard I/N."
        )
    return found[0]


def _from_array(variable: str, number: int, environment: Mapping[str, str]) -> Shard:
    """The shard of a task whose batch system tells the bounds of the array."""
    match _NUMBERS[variable]:
        case "SLURM":
            first = _number("SLURM_ARRAY_TASK_MIN", environment)
            last = _number("SLURM_ARRAY_TASK_MAX", environment)
            step = _number("SLURM_ARRAY_TASK_STEP", environment, 1)
            count = _number("SLURM_ARRAY_TASK_COUNT", environment)
        case "Grid Engine":
            first = _number("SGE_TASK_FIRST", environment)
            last = _number("SGE_TASK_LAST", environment)
            step = _number("SGE_TASK_STEPSIZE", environment, 1)
            count = (last - first) // max(step, 1) + 1
        case "LSF":  # it does not tell the first index
            first, step = 1, _number("LSB_JOBINDEX_STEP", environment, 1)
            last = _number("LSB_JOBINDEX_END", environment)
            count = (last - first) // max(step, 1) + 1
        case scheduler:
            raise UsageError(
                f"{scheduler} does not tell a task how many tasks the array has.",
                hint="Give the number of tasks as --shard auto/N, and number the tasks from 1.",
            )
    if step < 1 or (last - first) // step + 1 != count or (number - first) % step or not first <= number <= last:
        raise UsageError(
            f"The job array of {_NUMBERS[variable]} is not evenly spaced, or its variables contradict each other "
            f"({variable}={number}, first {first}, last {last}, step {step}, {count} tasks).",
            hint="Number the tasks 1 to N. To submit some tasks of N again, use --shard auto/N.",
        )
    return Shard((number - first) // step + 1, count)


def _number(name: str, environment: Mapping[str, str], default: int | None = None) -> int:
    text = environment.get(name, "").strip()
    if not text and default is not None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UsageError(
            f"{name}={text} is not a number." if text else f"{name} is not set.",
            hint="Give the shard as --shard I/N.",
        )
    return int(text)
