"""Which rank a process is, as its launcher says; what it hears if the variables are wrong."""

from __future__ import annotations

import pytest

from minitrain.distributed.environment import Seat, first_host, seat, seconds
from minitrain.errors import ConfigError

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[03-05,9]",
}


def test_a_process_that_was_started_alone_has_no_seat():
    assert seat({}) is None
    assert seat({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"}) is None  # a batch script: no step
    assert seat(SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) is None


def test_minitrain_says_it_itself():
    variables = {"MINITRAIN_RANK": "1", "MINITRAIN_RANKS": "4", "MINITRAIN_ROOT": "h:29500", "MINITRAIN_TOKEN": "x"}
    assert seat(variables) == Seat("tcp", 1, 4, ("h", 29500), "x")
    assert seat({**variables, "PMI_SIZE": "9"}) == Seat("tcp", 1, 4, ("h", 29500), "x")


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"])
def test_mpi_says_the_rest_later(name):
    assert seat({name: "2"}) == Seat("mpi")
    assert seat({**SLURM, name: "2"}) == Seat("mpi")


def test_srun_needs_no_mpi():
    found = seat(SLURM)
    assert found is not None
    assert (found.engine, found.rank, found.size, found.root[0]) == ("tcp", 3, 8, "gpu03")
    assert 20000 <= found.root[1] < 40000
    other = seat({**SLURM, "SLURM_STEP_ID": "3"})
    assert other is not None
    assert other.root[1] != found.root[1]  # two steps at the same time
    assert other.token != found.token
    forced = seat({**SLURM, "PMI_SIZE": "8", "MINITRAIN_TRANSPORT": "tcp"})
    assert forced == found
    chosen = seat({**SLURM, "MINITRAIN_ROOT": "gpu03:5555"})
    assert chosen is not None
    assert chosen.root == ("gpu03", 5555)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("a", "a"), ("a,b", "a"), ("n[1-3]", "n1"), ("n[07,9]", "n07"), ("n[1-2]-ib,x", "n1-ib"), ("", "")],
)
def test_the_first_host_of_a_list(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MINITRAIN_RANKS": "2"}, "MINITRAIN_RANK=''"),
        ({"MINITRAIN_RANKS": "two", "MINITRAIN_RANK": "0"}, "MINITRAIN_RANKS='two'"),
        ({"MINITRAIN_RANKS": "2", "MINITRAIN_RANK": "0", "MINITRAIN_ROOT": "host"}, "as HOST:PORT"),
        ({"MINITRAIN_RANKS": "2", "MINITRAIN_RANK": "0", "MINITRAIN_ROOT": "host:65536"}, "a port is below 65536"),
        ({"MINITRAIN_RANK": "0", "MINITRAIN_ROOT": "host:5555"}, "MINITRAIN_RANK is set, and MINITRAIN_RANKS is not"),
    ],
)
def test_wrong_variables_are_named(variables, message):
    with pytest.raises(ConfigError, match=message):
        seat(variables)


@pytest.mark.parametrize("name", ["MINITRAIN_PATIENCE", "MINITRAIN_SILENCE"])
@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "inf", ""])
def test_a_wrong_number_of_seconds_is_named(name, text):
    with pytest.raises(ConfigError, match=f"{name}='{text}': give a number of seconds above 0"):
        seconds({name: text}, name, 5.0)


def test_seconds_are_read_or_usual():
    assert seconds({"MINITRAIN_SILENCE": "2.5"}, "MINITRAIN_SILENCE", 5.0) == 2.5
    assert seconds({}, "MINITRAIN_SILENCE", 5.0) == 5.0
