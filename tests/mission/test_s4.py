"""One test for each row of craft, through public names, from end to end in a small way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import minitrain as mt
from minitrain import nn, optim
from minitrain.compat import craft
from minitrain.data import CharTokenizer
from minitrain.generation import SamplingParams
from minitrain.models import GPT, GPTConfig
from minitrain.training import EMA, Callback
from tests.mission.mission_parts import TEXT, gpt, loader, make


def test_s4_1_everything_can_be_imported_from_the_package() -> None:
    names = (
        "Trainer TrainingLoop TrainingConfig create_optimizer create_scheduler Callback CallbackList JsonlLogger "
        "EarlyStopping CheckpointManager Evaluator ProgressTracker"
    )
    assert [name for name in names.split() if not hasattr(craft, name)] == []
    optimizer = craft.create_optimizer({"name": "adamw", "lr": 0.5}, gpt())
    scheduler = craft.create_scheduler({"name": "warmup_cosine", "warmup_steps": 2}, optimizer, 10)
    assert scheduler(2) == 0.5


def test_s4_2_texts_are_sampled_one_at_a_time_and_in_batches() -> None:
    tokenizer = CharTokenizer.from_text(TEXT)
    model = GPT(GPTConfig(vocab_size=len(tokenizer.characters), block_size=8, n_layer=1, n_head=2, n_embd=8), seed=0)
    text = craft.sample_text(model, tokenizer, "the ", 10, temperature=0.8, top_k=5, top_p=0.9)
    params = SamplingParams(max_new_tokens=10, temperature=0.8, top_k=5, top_p=0.9)
    assert craft.generate_text_sampling(model, tokenizer, ["a", "the "], params)[1] == [text]
    (result,) = craft.batch_generate(model, [tokenizer.encode("the ")], params)
    assert tokenizer.decode(result.tokens) == text
    writer = craft.TextGenerator(model, tokenizer)
    settings = {"max_length": 10, "temperature": 0.8, "top_k": 5, "top_p": 0.9}
    assert writer.generate(prompt="the ", **settings) == "the " + text
    assert writer.batch_generate(["a", "the "], **settings)[1] == "the " + text


def test_s4_2_a_generator_wraps_any_model_with_its_own_generate() -> None:
    class Upper:
        def generate(self, tokens: Any, max_new_tokens: int, temperature: float) -> Any:
            return np.concatenate([tokens, tokens - 32], axis=1)[:, : tokens.shape[1] + max_new_tokens]

    assert craft.TextGenerator(Upper(), mt.data.ByteTokenizer()).generate("abc", max_length=2) == "abcAB"


def test_s4_3_activation_checkpointing_recomputes_the_same_gradients() -> None:
    plain, recomputed = gpt(dropout=0.3), gpt(dropout=0.3)
    nn.checkpoint_activations(recomputed)
    for model in (plain, recomputed):
        _, cache = model.loss(loader().batch(0), key=mt.Key.from_seed(4))
        model.loss_backward(cache)
    for a, b in zip(plain.parameters(), recomputed.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


def test_s4_3_kernels_are_compiled_ahead_and_nothing_else_changes() -> None:
    """What is compiled in an empty cache is tested in ``test_warm_up.py``."""
    model, told = gpt(dropout=0.1), list[str]()
    before = {path: weights.copy() for path, weights in model.state_dict().items()}
    compiled = craft.compile_kernels(model, loader().batch(0), tell=told.append)
    assert told == [f"compiling {name}" for name in compiled]
    assert craft.compile_kernels(model, loader().batch(0), tell=told.append) == []
    for path, weights in model.state_dict().items():
        np.testing.assert_array_equal(weights, before[path])


class Hooks(Callback):
    """Notes when it is called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_step_begin(self, view: Any) -> None:
        self.called.append(f"step {view.step}")

    def on_epoch_end(self, view: Any) -> None:
        self.called.append(f"epoch {view.epoch}")


def test_s4_4_hooks_and_a_script_with_a_configuration(tmp_path: Path) -> None:
    from minitrain.cli.compose import compose_config
    from minitrain.runs import RunConfig, start_run

    hooks = Hooks()
    batches = [loader().batch(step) for step in range(2)]
    make(train_data=batches, callbacks=[hooks, EMA(0.5)], config={"max_steps": 4}).train()
    assert hooks.called == ["step 0", "step 1", "epoch 1", "step 2", "step 3", "epoch 2"]

    (tmp_path / "text.txt").write_text(TEXT)
    settings = [
        "recipe=tiny",
        f"data.path={tmp_path / 'text.txt'}",
        f"run_dir={tmp_path / 'run'}",
        "trainer.max_steps=6",
    ]
    config = compose_config([*settings, "model=llama", "optimizer=lion", "scheduler=constant", "data.block_size=8"])
    run = start_run(config)
    assert (type(run.trainer.model), type(run.trainer.optimizer)) == (mt.Llama, optim.Lion)
    assert RunConfig.load(run.run_dir / "config.yaml") == config
