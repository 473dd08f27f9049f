"""The programs that ``time_to_quality`` compares, each a child: ``python -m benchmarks.quality_programs eager ...``.

A program greets when its model is built, and answers ``train STEP``: it trains until that many updates are done, and
says how long it trained and how good the model is then. The first step is on its clock, so what a program loads or
compiles then is counted; reading the text, building the model and measuring the loss are not.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minitrain.benchmark.tokens import Batch, Tokens
from minitrain.benchmark.turns import Reply, serve
from minitrain.cli.compose import compose_config
from minitrain.data import TokenLoader
from minitrain.optim.schedules import WarmupCosine
from minitrain.runs import start_run
from minitrain.runs.config import RunConfig

from .shakespeare import read_split, windows

RECIPES = {"char": "shakespeare_char", "fast": "shakespeare_fast"}
PROGRAMS = (*RECIPES, "eager", "compiled")
# Records are kept as usual; the program that measures says when to evaluate.
QUIET = ("trainer.validation_frequency=0", "trainer.save_every=0")


def settings(recipe: str, text: Path, seed: int, run_dir: Path) -> RunConfig:
    """The settings of a recipe, as the command line composes them."""
    fixed = (f"recipe={recipe}", f"data.path={text}", f"seed={seed}", f"run_dir={run_dir}")
    return compose_config([*fixed, *QUIET])


class Program:
    """A training that goes on step by step.

    Attributes:
        held_out: the validation text in the program's ids.
        total_steps: updates of the whole training.
    """

    held_out: Tokens
    total_steps: int

    def train(self, last_step: int) -> None:
        """Go on until ``last_step`` updates are done."""
        raise NotImplementedError

    def total_loss(self, batch: Batch) -> float:
        """The summed loss of a batch in nats, without dropout."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""

    def evaluate(self) -> float:
        """The mean loss in nats over the whole validation text."""
        return sum(map(self.total_loss, windows(self.held_out))) / (len(self.held_out) - 1)


class Minitrain(Program):
    """A recipe of minitrain in its own training loop, with the records that every run keeps."""

    def __init__(self, config: RunConfig) -> None:
        run = start_run(config)
        self.trainer, self.held_out = run.trainer, run.prepared.data.val[:]
        self.total_steps = self.trainer.total_steps
        self.trainer.callbacks.fire("on_train_begin", self.trainer.view, self.trainer.setup, self.trainer.run)

    def train(self, last_step: int) -> None:
        """See the base class."""
        for update in self.trainer.loop.steps(last_step):
            self.trainer.between.record(update)
            self.trainer.between.keep(0)

    def total_loss(self, batch: Batch) -> float:
        """With the weights that a validation of the run would take: averages where the recipe keeps some."""
        with self.trainer.run.weights.applied():
            loss, _ = self.trainer.model.loss(Batch(*(ids.astype("int32") for ids in batch)))
        return float(loss.total)

    def close(self) -> None:
        """Close the files of the records."""
        self.trainer.callbacks.close()


class Torch(Program):
    """nanoGPT's loop in PyTorch with the settings of a recipe of GPT, on the same batches in the same order."""

    def __init__(self, config: RunConfig, text: Path, compiled: bool) -> None:
        import torch

        from minitrain.benchmark.torch_gpt import GPT, adamw

        torch.manual_seed(config.seed)
        split, self.torch = read_split(text), torch
        self.held_out, self.total_steps = split.held_out, config.trainer.total_steps(None)
        model, optimizer, schedule = (asdict(part) for part in (config.model, config.optimizer, config.scheduler))
        shape = {name: model[name] for name in ("n_layer", "n_head", "n_embd", "dropout", "bias", "tie_weights")}
        self.model = GPT(vocab_size=split.vocab_size, block_size=config.data.block_size, **shape)
        self.loss = torch.compile(self.model.loss) if compiled else self.model.loss
        top, betas = optimizer["learning_rate"], (optimizer["beta1"], optimizer["beta2"])
        self.optimizer = adamw(self.model, lr=top, betas=betas, weight_decay=optimizer["weight_decay"], fused=True)
        self.max_grad_norm = config.trainer.max_grad_norm
        self.rate = WarmupCosine(top, schedule["min_lr"], schedule["warmup_steps"], self.total_steps)
        self.loader = TokenLoader(split.train, config.data.block_size, config.trainer.batch_size, config.seed)
        self.step = 0

    def train(self, last_step: int) -> None:
        """See the base class."""
        self.model.train()
        for step in range(self.step, last_step):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(*self._tensors(self.loader.batch(step)))
            loss.backward()  # type: ignore[no-untyped-call]
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
            self.optimizer.step()
        self.step = last_step

    def total_loss(self, batch: Batch) -> float:
        """See the base class; never compiled, since the last windows have another shape."""
        self.model.eval()
        with self.torch.no_grad():
            return float(self.model.loss(*self._tensors(batch)).item()) * batch.targets.size

    def _tensors(self, batch: Any) -> list[Any]:
        return [self.torch.from_numpy(ids).long() for ids in batch]


def build(name: str, text: Path, seed: int, run_dir: Path) -> Program:
    """The program called ``name``, one of ``PROGRAMS``; ``run_dir`` is for those of minitrain."""
    config = settings(RECIPES.get(name, RECIPES["char"]), text, seed, run_dir)
    return Minitrain(config) if name in RECIPES else Torch(config, text, compiled=name == "compiled")


def main() -> None:
    """Build the program named on the command line and serve it."""
    parser = argparse.ArgumentParser(prog="benchmarks.quality_programs")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    arguments = parser.parse_args()
    program: Program

    def greet() -> Reply:
        nonlocal program
        program = build(arguments.program, arguments.text, arguments.seed, arguments.run_dir)
        return {"total_steps": program.total_steps}

    def train(last_step: str) -> Reply:
        began = time.perf_counter()
        program.train(int(last_step))
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "val_loss": program.evaluate()}

    serve(greet, {"train": train})
    program.close()


if __name__ == "__main__":
    main()
