"""1, 2 and 4 ranks end with the same bytes: weights, moments, averages, and every metric on the way."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.threads import set_threads
from minitrain.checkpoint import read_checkpoint
from minitrain.data import BucketLoader, TokenLoader
from minitrain.distributed import Group, valid_ranks
from minitrain.errors import ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import Adafactor, AdamW, Muon
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.training import EMA, AdaptiveClipping, GradientStatistics, SpikeGuard
from tests.distributed.small_trainings import digest, history, on_ranks, small_trainer


def result(group: Group, **options: Any) -> Any:
    ema = EMA(0.9)
    trainer = small_trainer(group, None, ema, SpikeGuard(warmup=3), GradientStatistics(), **options)
    trainer.train()
    averages = {name: array.tobytes().hex() for name, array in ema.state_dict().items()}
    return digest(trainer), history(trainer), averages, trainer.state.tokens


@pytest.mark.parametrize("optimizer", [AdamW, Muon, Adafactor])
@pytest.mark.parametrize("packed", [True, False])
def test_any_number_of_ranks_ends_with_the_same_bytes(optimizer, packed):
    """With dropout, micro-batches of unequal size, clipping, an average of the weights, and uneven evaluations."""
    work = partial(result, optimizer=optimizer, packed=packed)
    alone = on_ranks(1, work)
    assert on_ranks(2, work) == alone
    assert on_ranks(4, work) == alone
    assert len(alone[1]["val_loss"]) >= 3


@settings(max_examples=8, deadline=None)
@given(
    parts=st.sampled_from([1, 2, 3, 6, 8]),
    batch=st.integers(8, 13),
    precision=st.sampled_from(["float32", "float32", "bfloat16", "float16"]),
    clip=st.sampled_from([None, 0.05, 1.0]),
)
def test_so_it_is_for_other_sizes(parts, batch, precision, clip):
    def work(group: Group) -> Any:
        tokens = np.random.default_rng(5).integers(0, 11, 300)
        return result(
            group,
            gradient_accumulation_steps=parts,
            batch_size=batch,
            max_steps=3,
            precision=precision,
            max_grad_norm=clip,
            train_data=TokenLoader(tokens, 8, batch, seed=1),
        )

    alone = on_ranks(1, work)
    for ranks in valid_ranks(parts)[1:]:
        assert on_ranks(ranks, work) == alone, ranks


def test_ranks_may_share_the_moments():
    """Each keeps its part, the bytes are the same."""
    alone = on_ranks(1, result)[1:]
    for ranks in (2, 4):

        def work(group: Group) -> Any:
            ema = EMA(0.9)
            trainer = small_trainer(group, None, ema, SpikeGuard(warmup=3), GradientStatistics(), zero=1)
            trainer.train()
            kept = sum(piece.data.size for piece in trainer.optimizer.state_dict()["moments"].values())
            assert kept < 1.3 * 2 * trainer.model.parameter_count() / group.size
            averages = {name: array.tobytes().hex() for name, array in ema.state_dict().items()}
            return history(trainer), averages, trainer.state.tokens

        assert on_ranks(ranks, work) == alone


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_shared_moments_are_saved_in_shards_and_read_by_any_number(tmp_path, ranks):
    def whole(group: Group) -> str:
        trainer = small_trainer(group, tmp_path / "whole")
        trainer.train()
        return digest(trainer)

    def first(group: Group) -> None:
        small_trainer(group, tmp_path / "run", max_steps=3, zero=1).train()

    def then(group: Group) -> Any:
        trainer = small_trainer(group, tmp_path / "run", zero=ranks // 4)
        assert trainer.resume() == 3
        trainer.train()
        return None

    on_ranks(2, first)
    on_ranks(ranks, then)
    on_ranks(1, whole)
    one, two = (read_checkpoint(tmp_path / name / "checkpoints/step-00000006") for name in ("whole", "run"))
    for mine, other in ((one.model, two.model), (one.optimizer["moments"], two.optimizer["moments"])):
        assert {name: array.tobytes() for name, array in mine.items()} == {
            name: array.tobytes() for name, array in other.items()
        }


def test_moments_of_whole_matrices_cannot_be_shared():
    whole, unpacked = "it updates whole matrices: set zero=0, or", r"is not packed: call pack\(model\)"
    for optimizer, packed, why in ((Muon, True, whole), (Adafactor, True, whole), (AdamW, False, unpacked)):
        work = partial(result, optimizer=optimizer, packed=packed, zero=1)
        with pytest.raises(ConfigError, match=f"{optimizer.__name__} cannot share its moments.*{why}"):
            on_ranks(2, work)


def test_threads_change_no_byte():
    try:
        found = []
        for threads in (1, 2):
            set_threads(threads)
            found += [on_ranks(ranks, result) for ranks in (1, 2)]
    finally:
        set_threads(None)
    assert all(one == found[0] for one in found)


def test_it_is_the_tree_that_does_it():
    """In one process without a group, gradients add up in place: the bytes are others, the numbers nearly the same."""
    alone, in_place = on_ranks(1, result), result(None)  # type: ignore[arg-type]
    assert in_place[0] != alone[0]
    assert in_place[1]["train_loss"] == pytest.approx(alone[1]["train_loss"], rel=1e-5)


def test_a_number_that_does_not_fit_is_refused_before_anything_is_done():
    with pytest.raises(ConfigError, match="use 1, 2 or 4 ranks"):
        on_ranks(3, result)


def test_a_parameter_that_only_some_ranks_reach():
    """A table of which each micro-batch reaches some rows, and a layer that some micro-batches never call."""

    class Fickle(GPT):
        def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
            super().loss_backward(cache, dtotal)
            if self.skips:
                self.norm.weight.zero_grad()  # as if no backward had come here

        def loss(self, batch: Any, *, key: Any = None) -> Any:
            self.skips = int(batch.inputs.sum()) % 2 == 0
            return super().loss(batch, key=key)

    def work(group: Group) -> Any:
        model = Fickle(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
        return result(group, model=model)

    alone = on_ranks(1, work)
    assert on_ranks(2, work) == on_ranks(4, work) == alone
    assert alone[0] != on_ranks(1, result)[0]


def test_a_rank_without_a_micro_batch_adds_nothing():
    """Batches of long rows have few of them: here 2 or 3 rows, and 4 micro-batches."""

    def work(group: Group) -> Any:
        draw = np.random.default_rng(0)
        lengths = np.repeat([4, 8], [12, 10])
        ids = [draw.integers(0, 11, length + 1).astype(np.int32) for length in lengths]
        rows = [(row[:-1], row[1:]) for row in ids]
        loader = BucketLoader(rows, lengths, max_tokens=24, seed=0, buckets=2)
        sizes = [len(loader.batch(step).inputs) for step in range(4)]
        assert min(sizes) < 4 < max(sizes)
        return result(group, train_data=loader)

    alone = on_ranks(1, work)
    assert on_ranks(2, work) == on_ranks(4, work) == alone


def test_adaptive_clipping_and_rank_0_alone_write_the_folder(tmp_path):
    def work(group: Group) -> Any:
        trainer = small_trainer(group, tmp_path / f"of-{group.size}", AdaptiveClipping(0.02))
        trainer.train()
        return digest(trainer)

    digests = [on_ranks(size, work) for size in (1, 2, 4)]
    assert len(set(digests)) == 1
    folders = [tmp_path / f"of-{size}" for size in (1, 2, 4)]
    records = [
        [{k: v for k, v in one.items() if k not in TIMING} for one in read_metrics(folder / "metrics.jsonl")]
        for folder in folders
    ]
    assert records[0] == records[1] == records[2]
    checkpoints = [read_checkpoint(folder / "checkpoints" / "step-00000006") for folder in folders]
    for other in checkpoints[1:]:
        for path, array in checkpoints[0].model.items():
            assert array.tobytes() == other.model[path].tobytes(), path
        for path, array in checkpoints[0].optimizer["moments"].items():
            assert array.tobytes() == other.optimizer["moments"][path].tobytes(), path


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path, ranks):
    """2 ranks up to step 3, then others to the end: the same bytes as one that was never interrupted."""

    def whole(group: Group) -> str:
        trainer = small_trainer(group, tmp_path / "whole")
        trainer.train()
        return digest(trainer)

    def first(group: Group) -> None:
        small_trainer(group, tmp_path / "run", max_steps=3).train()

    def then(group: Group) -> str:
        trainer = small_trainer(group, tmp_path / "run")
        assert trainer.resume() == 3
        trainer.train()
        return digest(trainer)

    on_ranks(2, first)
    assert on_ranks(ranks, then) == on_ranks(1, whole)
