"""The shards of a campaign: every row in exactly one, whatever numbers the batch system gives to its tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.api import UsageError
from xnatctl_campaign.shard import Shard, parse_shard


@given(st.integers(1, 60), st.integers(1, 500))
def test_each_row_belongs_to_one_shard(count, row):
    assert sum(parse_shard(f"{index}/{count}", {}).holds(row) for index in range(1, count + 1)) == 1


def test_a_given_shard():
    shard = parse_shard("3/8", {"SLURM_ARRAY_TASK_ID": "5"})
    assert (shard, str(shard)) == (Shard(3, 8), "3/8")
    assert [row for row in range(1, 20) if shard.holds(row)] == [3, 11, 19]


def slurm(number, first, last, count, step=None):
    names = {"ID": number, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items() if value is not None}


def sge(number, first, last, step):
    return {"SGE_TASK_ID": number, "SGE_TASK_FIRST": first, "SGE_TASK_LAST": last, "SGE_TASK_STEPSIZE": step}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (slurm(1, 1, 8, 8), "1/8"),
        (slurm(8, 1, 8, 8, 1), "8/8"),
        (slurm(0, 0, 15, 16), "1/16"),
        (slurm(12, 0, 12, 4, 4), "4/4"),
        (slurm(7, 1, 7, 4, 2), "4/4"),
        (slurm(3, 3, 3, 1), "1/1"),
        (sge("4", "1", "10", "1"), "4/10"),
        (sge("5", "1", "10", "2"), "3/5"),
        ({**sge("undefined", "undefined", "undefined", "undefined"), **slurm(2, 1, 4, 4)}, "2/4"),
        ({"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "10"}, "3/10"),
        ({"LSB_JOBINDEX": "5", "LSB_JOBINDEX_END": "9", "LSB_JOBINDEX_STEP": "4"}, "2/3"),
        ({"LSB_JOBINDEX": "0", **slurm(1, 1, 2, 2)}, "1/2"),
    ],
)
def test_both_numbers_from_the_batch_system(environment, shard):
    assert str(parse_shard("auto", environment)) == shard


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({"PBS_ARRAY_INDEX": "3"}, "3/8"),
        ({"PBS_ARRAYID": "8"}, "8/8"),
        (slurm(7, 3, 7, 2), "7/8"),  # `sbatch --array=3,7`: two of eight tasks, submitted again
    ],
)
def test_the_number_of_tasks_from_the_user(environment, shard):
    assert str(parse_shard("auto/8", environment)) == shard


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/8", {}, "outside of 1 to 8"),
        ("9/8", {}, "outside of 1 to 8"),
        ("1/0", {}, "no shards"),
        ("3", {}, "neither I/N"),
        ("3/8/2", {}, "neither I/N"),
        ("-1/8", {}, "neither I/N"),
        ("", {}, "neither I/N"),
        ("٣/٨", {}, "neither I/N"),
        ("auto", {}, "no job array"),
        ("auto", {"LSB_JOBINDEX": "0", "SGE_TASK_ID": "undefined"}, "no job array"),
        ("auto", {**slurm(1, 1, 2, 2), "PBS_ARRAY_INDEX": "1"}, "ambiguous"),
        ("auto", {"PBS_ARRAY_INDEX": "3"}, "how many tasks"),
        ("auto", slurm(7, 3, 7, 2), "not evenly spaced"),
        ("auto", slurm(9, 1, 8, 8), "not evenly spaced"),
        ("auto", slurm(2, 1, 8, 8, 0), "not evenly spaced"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN is not set"),
        ("auto", slurm("x", 1, 8, 8), "SLURM_ARRAY_TASK_ID=x is not a number"),
        ("auto", {"LSB_JOBINDEX": "3"}, "LSB_JOBINDEX_END is not set"),
        ("auto", {"LSB_JOBINDEX": "2", "LSB_JOBINDEX_END": "9", "LSB_JOBINDEX_STEP": "4"}, "not evenly spaced"),
        ("auto/8", {"PBS_ARRAYID": "0"}, "PBS_ARRAYID=0 with --shard auto/8 is outside of 1 to 8"),
    ],
)
def test_what_does_not_name_a_shard_is_refused(text, environment, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_shard(text, environment)
    assert caught.value.hint
