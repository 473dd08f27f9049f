"""Ranks of different kinds are refused in a sentence, on every rank."""

from __future__ import annotations

import pytest

from minitrain.distributed import Group, run_ranks
from minitrain.distributed.agreement import refuse_differences
from minitrain.errors import CheckpointError, ConfigError
from minitrain.runs import RunConfig, start_run
from minitrain.runs.ranks import settings_for
from minitrain.training import Callback
from tests.distributed.small_trainings import small_trainer


def test_equal_ranks_go_on():
    run_ranks(3, lambda group: refuse_differences(group, {"a": 1, "b": "x"}, ""))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"a": 2}, "rank 1 has a=2 and rank 0 has a=1: do it"),
        ({}, "rank 1 has a=not set and rank 0 has a=1: do it"),
        ({"a": 1, "c": 3}, "rank 1 has c=3 and rank 0 has c=not set: do it"),
    ],
)
def test_a_difference_is_named_on_every_rank(facts, message):
    def work(group: Group) -> None:
        with pytest.raises(ConfigError, match=message):
            refuse_differences(group, facts if group.rank == 1 else {"a": 1}, "do it")

    run_ranks(3, work)


def test_what_rank_0_alone_has_is_a_difference():
    def work(group: Group) -> None:
        with pytest.raises(ConfigError, match="rank 1 has a=not set and rank 0 has a=1: do it"):
            refuse_differences(group, {"a": 1} if group.is_main else {}, "do it")

    run_ranks(3, work)


def test_runs_with_other_settings_are_refused():
    def work(group: Group) -> None:
        config = RunConfig.from_dict({"seed": 1 + group.rank, "trainer": {"gradient_accumulation_steps": 2}})
        with pytest.raises(ConfigError, match="rank 1 has seed=2 and rank 0 has seed=1: start all ranks with the same"):
            settings_for(group, config)

    run_ranks(2, work)


def test_the_settings_of_a_run_on_ranks_say_how_gradients_add_up():
    def work(group: Group) -> None:
        config = RunConfig.from_dict({"trainer": {"gradient_accumulation_steps": 2}})
        assert settings_for(group, config).trainer.gradient_sum == "tree"
        config = RunConfig.from_dict({"trainer": {"gradient_sum": "in_place"}})
        with pytest.raises(ConfigError, match="several ranks add in a tree"):
            settings_for(group, config)

    run_ranks(2, work)


def test_ranks_that_the_settings_do_not_allow_are_refused_at_once():
    with pytest.raises(ConfigError, match=r"use 1 or 2 ranks|use 1, 2 or 4 ranks"):
        RunConfig.from_dict({"distributed": "processes", "ranks": 3, "trainer": {"gradient_accumulation_steps": 4}})
    with pytest.raises(ConfigError, match="distributed=processes or distributed=ray"):
        RunConfig.from_dict({"ranks": 2, "trainer": {"gradient_accumulation_steps": 4}})


class Meddling(Callback):
    """Changes a weight on one rank."""

    def __init__(self, does: bool) -> None:
        self.does = does

    def on_train_begin(self, view, setup, run):
        self.model = setup.model

    def on_step_end(self, view, update):
        if self.does and view.step == 2:
            next(iter(self.model.parameters())).data[...] += 1


def test_weights_that_drift_apart_are_noticed_when_they_are_saved(tmp_path):
    def work(group: Group) -> None:
        with pytest.raises(CheckpointError, match="step 3: the weights of rank 1 are not those of rank 0"):
            small_trainer(group, tmp_path / "run", Meddling(group.rank == 1)).train()

    run_ranks(2, work, patience=20)


def test_one_process_does_not_train_what_is_for_several():
    config = RunConfig.from_dict(
        {"distributed": "processes", "ranks": 2, "trainer": {"gradient_accumulation_steps": 2}}
    )
    with pytest.raises(ConfigError, match="ranks=2 are started by `minitrain train`"):
        start_run(config)
