"""One test for each row of the modular package, through public names, from end to end in a small way."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import numpy as np
import pytest

import minitrain as mt
from minitrain import training
from minitrain.compat import modular
from minitrain.errors import CheckpointError
from minitrain.runs import TokenWindows
from minitrain.training import CallbackList, Evaluator, TrainingConfig, TrainingLoop
from tests.mission.mission_parts import TOKENIZER, TOKENS, gpt, loader, make


def test_s1_1_parts_with_one_responsibility_each() -> None:
    trainer = make()
    loop = TrainingLoop(trainer.setup, trainer.state, trainer.view, CallbackList())  # the loop alone
    assert [update.step for update in loop.steps(2)] == [1, 2]
    assert trainer.state.step == 2
    measured = Evaluator(trainer.model, TokenWindows(TOKENS[600:], 8, 4)).run()  # the evaluation alone
    assert 0 < measured["val_loss"] < 2 * math.log(TOKENIZER.vocab_size)
    text = mt.generate(trainer.model, TOKENS[None, :3], 5, key=mt.Key.from_seed(0))  # generation alone
    assert text.shape == (1, 8)


def test_s1_2_the_trainer_takes_the_documents_names(tmp_path: Path) -> None:
    model = gpt()
    optimizer = mt.AdamW(model)
    told: list[str] = []
    trainer = modular.Trainer(
        model=model,
        train_dataloader=loader(),
        val_dataloader=TokenWindows(TOKENS[600:], 8, 4),
        optimizer=optimizer,
        scheduler=mt.WarmupCosine(1e-2, 1e-3, 1, 4),
        config=TrainingConfig(max_steps=4),
        checkpoint_dir=tmp_path / "run",
        use_amp=True,
        tokenizer=TOKENIZER,
        progress=False,
        warn=told.append,
    )
    assert trainer.setup.arithmetic.precision == "bfloat16"
    assert [line for line in told if line.startswith("precision=bfloat16")] == told
    assert trainer.train().step == 4
    assert len(trainer.generate_text(prompt="the ", max_new_tokens=7, temperature=0.8)) == 7
    assert trainer.generate_text("the ", 5, 0.8, top_k=1) == trainer.generate_text("the ", 5, 0.8, top_p=1e-6)
    assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()


def test_s1_2_positions_names_and_our_own_class_agree() -> None:
    ends = []
    for arrange in range(3):
        model, val, config = gpt(), TokenWindows(TOKENS[600:], 8, 4), TrainingConfig(max_steps=3)
        optimizer, scheduler = mt.AdamW(model), mt.Constant(1e-2)
        data: mt.TokenLoader = loader()
        if arrange == 0:
            trainer: training.Trainer = modular.Trainer(
                model, data, val, optimizer, scheduler, config, None, False, progress=False
            )
        else:
            batches = [{"train_dataloader": data, "val_dataloader": val}, {"train_data": data, "val_data": val}]
            parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "config": config}
            trainer = training.Trainer(**parts, **batches[arrange - 1], progress=False)
        trainer.train()
        ends.append(trainer.model.state_dict()["tok_emb.weight"])
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], ends[2])


def test_s1_3_save_resume_and_a_plain_fallback_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(run_dir=tmp_path / "run", progress=True).train()
    lines = capsys.readouterr().out.splitlines()  # pytest's output is no terminal
    assert lines[0].startswith("step 1/6  loss ")
    assert "tokens/s" in lines[0]
    assert lines[-1].startswith("step 6/6") and lines[-1].endswith("left")
    assert not any("\x1b" in line for line in lines)
    resumed = make(run_dir=tmp_path / "run")
    assert resumed.resume() == 6
    with pytest.raises(CheckpointError, match="already holds a run"):
        make(run_dir=tmp_path / "run").train()


def test_s1_3_type_hints_and_docstrings_throughout() -> None:
    public = {name: thing for name, thing in vars(training).items() if callable(thing) and not name.startswith("_")}
    assert len(public) > 50
    for name, thing in public.items():
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            assert "return" in inspect.get_annotations(thing), name
