"""The trainer makes a step as one graph where it may, ends in the same bytes, and says once where it may not."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend import to_numpy, use_kernels
from minitrain.errors import ConfigError, NonFiniteError, TokenError
from minitrain.losses import MeanSquaredError
from minitrain.models import GPT, GPTConfig
from minitrain.nn import Linear, pack
from minitrain.optim import AdamW
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training import EMA, Callback, GradientStatistics, NaNGuard, Trainer, TrainingConfig
from minitrain.training.steps import choice

STEPS = 8


@pytest.fixture(autouse=True)
def gpu():
    with use_kernels("reference"), emulated_device() as device:
        yield device


def tokens(count, rows=4):
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 11, (2, rows, 4)).astype(np.int32)) for _ in range(count)]


def trainer(graphs, folder=None, *, said=None, data=None, callbacks=(), val=False, dropout=0.0, **settings):
    model = GPT(GPTConfig(vocab_size=11, block_size=4, n_layer=1, n_head=2, n_embd=8, dropout=dropout), seed=0)
    pack(model.to("cuda"))
    usual = {"max_steps": STEPS, "log_every": 4, "save_every": 0, "batch_size": 4}
    return Trainer(
        model=model,
        train_data=tokens(5) if data is None else data,
        val_data=tokens(2) if val else None,
        optimizer=AdamW(model, lr=1e-2),
        scheduler=lambda step: 1e-2 / (1 + step),
        device="cuda",
        run_dir=folder,
        callbacks=callbacks,
        config=TrainingConfig(graphs=graphs, **(usual | settings)),
        progress=False,
        warn=(lambda message: None) if said is None else said.append,
    )


def replays(one):
    return 0 if one.loop.graphs.graphed is None else one.loop.graphs.graphed._graph.replays


def bytes_of(one):
    arrays = [*(p.data for p in one.model.parameters()), *one.optimizer.state_dict()["moments"].values()]
    return b"".join(to_numpy(x).tobytes() for x in arrays)


def records(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def test_a_run_with_everything_ends_in_the_same_bytes(tmp_path):
    """Dropout, micro-batches, evaluations between, an average of the weights, and a smaller last batch."""
    data = [*tokens(5), tokens(1, rows=2)[0]]
    runs, said = {}, []
    for graphs in ("off", "auto"):
        runs[graphs] = trainer(
            graphs,
            tmp_path / graphs,
            said=said,
            data=data,
            callbacks=[EMA(decay=0.9)],
            val=True,
            dropout=0.2,
            max_steps=9,
            validation_frequency=3,
            gradient_accumulation_steps=2,
        )
        runs[graphs].train()
    assert (replays(runs["off"]), replays(runs["auto"])) == (
        0,
        4,
    )  # the third step begins it, the sixth is the smaller batch
    assert bytes_of(runs["auto"]) == bytes_of(runs["off"])
    assert records(tmp_path / "auto") == records(tmp_path / "off")
    assert said == []


def test_a_resumed_run_ends_in_the_same_bytes(tmp_path):
    whole = trainer("off", tmp_path / "whole", dropout=0.2)
    whole.train()
    begun = trainer("auto", tmp_path / "parts", dropout=0.2)
    begun.total_steps = 6
    begun.train()
    assert replays(begun) > 0
    again = trainer("auto", tmp_path / "parts", dropout=0.2, max_steps=STEPS)
    assert again.resume() == 6
    again.train()
    assert bytes_of(again) == bytes_of(whole)
    begun.load_checkpoint(tmp_path / "parts/checkpoints/step-00000006")  # the graph meets older weights
    before = replays(begun)
    begun.total_steps = STEPS
    for _ in begun.loop.steps(STEPS):
        pass
    assert replays(begun) == before + 2
    assert bytes_of(begun) == bytes_of(whole)


def test_callbacks_see_the_gradient_before_the_update(gpu):
    seen = {}
    for graphs in ("off", "auto"):
        one = trainer(graphs, callbacks=[GradientStatistics("blocks.0.*")], log_every=1)
        one.train()
        seen[graphs] = bytes_of(one), one.history.get_metric("grad_norm")
        assert (replays(one) > 0) is (graphs == "auto")
    assert seen["auto"] == seen["off"]


def test_no_step_waits_and_a_replay_launches_little(gpu):
    one = trainer("auto", log_every=1000)
    for update in one.loop.steps(STEPS):
        if update.step == STEPS - 1:
            counting = gpu.counting()
            counts = counting.__enter__()
    counting.__exit__(None, None, None)
    assert replays(one) == 4
    assert (counts.synchronisations, counts.to_host, counts.to_device) == (0, 0, 3)
    assert counts.allocations < 12


class Substeps(Callback):
    reads_numbers = False

    def on_substep_end(self, view, loss):
        """Look at nothing."""


class OwnLoss(MeanSquaredError):
    """A loss of somebody else."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callbacks": [NaNGuard()]}, "NaNGuard looks at the numbers of each step"),
        ({"callbacks": [Substeps()]}, "Substeps looks at each micro-batch"),
        ({"precision": "float16"}, "float16 scales its loss"),
        ({"data": [tokens(1, rows)[0] for rows in (2, 3)]}, "the shapes of the batches differ"),
    ],
)
def test_it_says_once_why_there_is_no_graph(monkeypatch, options, message):
    monkeypatch.setattr(choice, "PATIENCE", 4)
    said = []
    one = trainer("auto", said=said, **options)
    one.train()
    assert replays(one) == 0
    about = [text for text in said if "without a graph" in text]
    assert len(about) == 1
    assert message in about[0]
    silent = []
    trainer("off", said=silent, **options).train()
    assert not [text for text in silent if "graph" in text]


@pytest.mark.parametrize(("graphs", "expected"), [("auto", 0), ("on", 4)])
def test_code_of_your_own_is_captured_on_request(graphs, expected):
    said = []
    rng = np.random.default_rng(0)
    model = Linear(3, 1, rng).to("cuda")
    data = [(rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal((4, 1)).astype("f4")) for _ in range(4)]
    one = Trainer(
        model=model,
        train_data=data,
        loss_fn=OwnLoss(),
        device="cuda",
        config=TrainingConfig(graphs=graphs, max_steps=STEPS),
        progress=False,
        warn=said.append,
    )
    one.train()
    assert replays(one) == expected
    assert [("OwnLoss is code of your own" in text, "trainer.graphs=on" in text) for text in said] == (
        [(True, True)] if graphs == "auto" else []
    )


def test_large_steps_are_left_alone(monkeypatch):
    monkeypatch.setattr(choice, "HIDDEN", 10)
    said = []
    one = trainer("auto", said=said)
    one.train()
    assert (replays(one), said) == (0, [])


def test_a_step_that_cannot_be_captured_is_made_plainly(monkeypatch):
    """The forward waits for the GPU, which a capture refuses with the line; not one step is lost or made twice."""
    plain = trainer("off")
    plain.train()
    said = []
    one = trainer("auto", said=said)
    loss = one.model.loss

    def waits(batch, *, key=None):
        to_numpy(batch[0])
        return loss(batch, key=key)

    monkeypatch.setattr(one.model, "loss", waits)
    one.train()
    assert one.optimizer.steps == STEPS
    assert bytes_of(one) == bytes_of(plain)
    assert len(said) == 1
    assert "the capture failed: " in said[0]
    assert "not permitted when stream is capturing" in said[0]


def test_the_setting_is_checked():
    with pytest.raises(ConfigError, match="graphs"):
        TrainingConfig(graphs="yes")


def test_what_is_not_finite_in_a_replay_is_an_error_of_the_next_record():
    """The record of step 6 has looked at all checks since the capture."""
    one = trainer("auto", log_every=2)
    steps = one.loop.steps(STEPS)
    for update in steps:
        one.between.record(update)
        if update.step == 6:
            assert replays(one) == 2
            one.model.parameters()[0].data[...] = np.nan
        if update.step == 7:
            break
    with pytest.raises(NonFiniteError, match=r"step 8 or shortly before: the (loss|gradient's norm) was NaN"):
        one.between.record(next(steps))


def test_a_token_out_of_range_in_a_replay_is_found():
    data = tokens(STEPS)
    data[6][0][0, 0] = 11
    one = trainer("auto", data=data, log_every=3)
    with pytest.raises(TokenError, match="11"):
        one.train()
    assert replays(one) == 4


class OwnRule(AdamW):
    """An update of somebody else, whose numbers are those of the host."""

    def update(self, weight, grad, moments, **rates):
        weight -= self.lr * rates["grad_scale"] * grad


def test_a_rule_of_your_own_is_launched_behind_the_graph():
    found = {}
    for graphs in ("off", "auto"):
        one = trainer(graphs)
        one.setup.optimizer = OwnRule(one.model, lr=1e-2)
        assert not one.setup.optimizer.capturable
        for _ in one.loop.steps(STEPS):
            pass
        assert (replays(one) > 0) is (graphs == "auto")
        found[graphs] = b"".join(to_numpy(p.data).tobytes() for p in one.model.parameters())
    assert found["auto"] == found["off"]


CHANGES = {
    "weights": lambda one: setattr(one.model.parameters()[0], "trainable", False),
    "settings of the update": lambda one: setattr(one.optimizer, "betas", (0.5, 0.9)),
    "the longest gradient": lambda one: setattr(one.setup, "max_grad_norm", 1e-3),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_graph_would_freeze_begins_another_one(what):
    runs = {}
    for graphs in ("off", "auto"):
        one = runs[graphs] = trainer(graphs, log_every=1000, max_steps=12)
        for update in one.loop.steps(12):
            if update.step == 6:
                CHANGES[what](one)
        assert replays(one) == (0 if graphs == "off" else 4)  # of the second graph, which step 7 begins
    assert bytes_of(runs["auto"]) == bytes_of(runs["off"])


class OwnCallback(Callback):
    def on_epoch_begin(self, view):
        """It might change what a graph freezes."""


@pytest.mark.parametrize(("graphs", "expected"), [("auto", 0), ("on", 4)])
def test_callbacks_of_your_own_are_trusted_on_request(graphs, expected):
    one = trainer(graphs, said=(said := []), callbacks=[OwnCallback()])
    one.train()
    assert replays(one) == expected
    assert ["OwnCallback is code of your own" in text for text in said] == ([True] if graphs == "auto" else [])
